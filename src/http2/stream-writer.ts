import { errorCode } from './codes.js';
import { listBytes } from './fields.js';
import { HpackEncoder } from './hpack/encoder.js';
import type { Fields } from './http2.js';
import type { Sender } from './sender.js';
import type { PeerSettings } from './settings.js';
import type { StreamEvents } from './stream-events.js';
import type { Stream, StreamOwner } from './stream.js';

const noBytes = Buffer.alloc(0);

/** The part of the connection that the writer uses. */
interface WriterOwner {
  readonly sender: Sender;
  readonly peer: PeerSettings;
  readonly events: StreamEvents;
  schedule(): void;
}

/** Writes what the owners of streams send, and ends streams whose two directions are complete. */
export class StreamWriter implements StreamOwner {
  /** Acknowledgments and resets in the output since the last write to the transport. */
  controlFrames = 0;
  readonly #encoder = new HpackEncoder();

  constructor(
    private readonly owner: WriterOwner,
    private readonly isClient: boolean,
  ) {}

  /** The peer's SETTINGS have arrived. */
  applySettings(): void {
    const { peer, sender } = this.owner;
    sender.frameBytesMax = peer.frameBytesMax;
    for (const bytes of peer.headerTableSizes) this.#encoder.setTableBytesMax(bytes);
  }

  sendHead(stream: Stream, fields: Fields, endStream: boolean): void {
    const { sender, peer } = this.owner;
    const { headerListBytesMax } = peer;
    if (headerListBytesMax !== undefined && listBytes(fields) > headerListBytesMax)
      return this.#fail(stream, `the peer accepts at most ${headerListBytesMax} bytes of header fields`);
    const { output } = sender;
    output.beginHeaders();
    this.#encoder.encode(fields, output);
    output.finishHeaders(stream.id, endStream, sender.frameBytesMax);
    stream.isHeadSent = true;
    if (endStream) this.#endLocal(stream);
    this.owner.schedule();
  }

  /** The fields cannot be sent. */
  #fail(stream: Stream, why: string): void {
    const isUnprocessed = this.isClient && !stream.isHeadSent;
    const code = errorCode.internal;
    if (!isUnprocessed) this.reset(stream.id, code);
    this.owner.events.resetLater(stream, { code, by: 'protocol', isUnprocessed, why });
  }

  sendData(stream: Stream, bytes: Buffer): boolean {
    this.owner.schedule();
    return this.owner.sender.write(stream, bytes);
  }

  sendEnd(stream: Stream, trailers: Fields | undefined): void {
    stream.trailers = trailers && trailers.length > 0 ? trailers : undefined;
    if (stream.queue && stream.queue.bytes > 0) return;
    this.finish(stream);
    this.owner.schedule();
  }

  /** Everything before END_STREAM is in the output. */
  finish(stream: Stream): void {
    const { trailers } = stream;
    if (trailers) {
      stream.trailers = undefined;
      return this.sendHead(stream, trailers, true);
    }
    const { output } = this.owner.sender;
    if (!output.endLast(stream.id)) output.data(stream.id, noBytes, true);
    this.#endLocal(stream);
  }

  #endLocal(stream: Stream): void {
    stream.isLocalEnded = true;
    if (stream.isEndDelivered) this.owner.events.close(stream);
    else if (stream.isDiscarding) this.#endDiscarded(stream);
  }

  sendReset(stream: Stream, code: number): void {
    this.reset(stream.id, code);
    this.owner.events.close(stream);
  }

  /** Writes RST_STREAM. The stream's own state does not change. */
  reset(id: number, code: number): void {
    this.owner.sender.output.rst(id, code);
    this.controlFrames++;
    this.owner.schedule();
  }

  discardInput(stream: Stream): void {
    this.owner.events.dropBuffered(stream);
    if (stream.isRemoteEnded) stream.isEndDelivered = true;
    if (stream.isLocalEnded) this.#endDiscarded(stream);
  }

  /** The response is complete, and the rest of the request is not wanted (RFC 9113, section 8.1). */
  #endDiscarded(stream: Stream): void {
    if (!stream.isRemoteEnded) this.reset(stream.id, errorCode.none);
    this.owner.events.close(stream);
  }

  resumeInput(stream: Stream): void {
    this.owner.events.resume(stream);
  }
}
