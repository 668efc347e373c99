import { errorCode, flagEndHeaders, flagEndStream } from './codes.js';
import { requestFault, responseFault, trailersFault } from './fields.js';
import type { Floods } from './floods.js';
import { payloadWhole } from './frame-reader.js';
import { dependencyOf, fragmentOf, HeaderBlocks } from './header-blocks.js';
import { HpackDecoder } from './hpack/decoder.js';
import type { ConnectionListener, ConnectionOptions, Fields } from './http2.js';
import { badLength, requestLength, responseLength } from './message-length.js';
import type { ReceiveWindow } from './receive-window.js';
import type { PeerSettings } from './settings.js';
import type { StreamEvents } from './stream-events.js';
import type { StreamWriter } from './stream-writer.js';
import { Stream } from './stream.js';

/** HPACK's table: the protocol's default, which is not announced. */
const headerTableBytes = 4096;

/** The part of the receiver and of its connection that `Heads` uses. */
interface HeadsOwner {
  readonly owner: {
    readonly streams: Map<number, Stream>;
    readonly peer: PeerSettings;
    readonly listener: ConnectionListener;
    /** Streams above it are ignored. */
    readonly goAwayId: number;
    readonly events: StreamEvents;
    readonly writer: StreamWriter;
  };
  readonly floods: Floods;
  readonly window: ReceiveWindow;
  isIdle(id: number): boolean;
  wasEnded(id: number): boolean;
  /** The stream's frame is invalid: the stream is reset. */
  invalid(stream: Stream, code: number, why: string): void;
  endRemote(stream: Stream, trailers: Fields | undefined): void;
  fault(code: number, why: string): number;
  flood(why: string): number;
}

/** HEADERS and CONTINUATION: heads of requests and responses, and trailers. */
export class Heads {
  /** Server: the last stream that was accepted or refused; GOAWAY states it. */
  lastId = 0;
  /** Server: the last stream that the peer has opened, also after GOAWAY. */
  openedId = 0;
  /** Blocks that were completed. */
  completed = 0;
  readonly blocks: HeaderBlocks;
  readonly #decoder = new HpackDecoder(headerTableBytes);
  readonly #isServer: boolean;

  constructor(
    private readonly receiver: HeadsOwner,
    private readonly options: ConnectionOptions,
  ) {
    this.blocks = new HeaderBlocks(options);
    this.#isServer = options.role === 'server';
  }

  /** A HEADERS frame begins. Returns what is to be done with its payload (frame-reader.ts). */
  onFrame(id: number, length: number): number {
    const { receiver } = this;
    if (id === 0) return receiver.fault(errorCode.protocol, 'HEADERS without a stream');
    if (this.#isServer) {
      if ((id & 1) === 0) return receiver.fault(errorCode.protocol, 'HEADERS on an even stream');
    } else if (receiver.isIdle(id)) return receiver.fault(errorCode.protocol, 'HEADERS on an idle stream');
    const stream = receiver.owner.streams.get(id);
    if (stream === undefined ? this.#wasEnded(id) : stream.isRemoteEnded)
      return receiver.fault(errorCode.streamClosed, 'HEADERS after the end of the stream');
    return this.blocks.admit(length) ? payloadWhole : receiver.flood(this.blocks.why);
  }

  /** A server's new streams, which are the usual case, are not looked up. */
  #wasEnded(id: number): boolean {
    return (!this.#isServer || id <= this.openedId) && this.receiver.wasEnded(id);
  }

  /** A CONTINUATION frame begins. */
  onContinuationFrame(length: number): number {
    if (this.blocks.id === 0) return this.receiver.fault(errorCode.protocol, 'CONTINUATION without HEADERS');
    return this.blocks.admit(length) ? payloadWhole : this.receiver.flood(this.blocks.why);
  }

  /** The payload of a HEADERS frame. */
  onHeaders(flags: number, id: number, payload: Buffer): void {
    const { receiver } = this;
    const fragment = fragmentOf(flags, payload);
    if (fragment === undefined) return void receiver.fault(errorCode.protocol, 'padding exceeds the frame');
    if (dependencyOf(flags, payload) === id)
      return void receiver.fault(errorCode.protocol, 'a stream that depends on itself');
    if ((flags & flagEndHeaders) === 0) return this.blocks.begin(id, flags, fragment);
    this.#onBlock(id, (flags & flagEndStream) !== 0, fragment);
  }

  /** The payload of a CONTINUATION frame. */
  onContinuation(flags: number, id: number, payload: Buffer): void {
    const { blocks } = this;
    blocks.append(payload);
    if ((flags & flagEndHeaders) === 0) return;
    const isEnd = (blocks.flags & flagEndStream) !== 0;
    this.#onBlock(id, isEnd, blocks.take());
  }

  #onBlock(id: number, isEnd: boolean, block: Buffer): void {
    const { receiver } = this;
    const fields: Fields = [];
    this.completed++;
    const result = this.#decoder.decode(block, fields, this.options);
    if (result === 'compressionError') return void receiver.fault(errorCode.compression, this.#decoder.why);
    receiver.floods.work++;
    const fault = result === 'ok' ? undefined : this.#decoder.why;
    const code = result === 'tooLarge' ? errorCode.enhanceYourCalm : errorCode.protocol;
    const stream = receiver.owner.streams.get(id);
    if (stream === undefined) {
      if (this.#isServer && id > this.openedId) this.#onRequest(id, isEnd, fields, fault, code);
      // The peer did not know yet that the stream was reset.
      else if (!receiver.floods.useless()) receiver.flood('frames on closed streams');
    } else if (fault !== undefined) receiver.invalid(stream, code, fault);
    else if (stream.hasHead) this.#onTrailers(stream, isEnd, fields);
    else this.#onResponse(stream, isEnd, fields);
  }

  #onTrailers(stream: Stream, isEnd: boolean, fields: Fields): void {
    const fault = isEnd ? trailersFault(fields) : 'trailers without END_STREAM';
    if (fault !== undefined) this.receiver.invalid(stream, errorCode.protocol, fault);
    else this.receiver.endRemote(stream, fields);
  }

  #onResponse(stream: Stream, isEnd: boolean, fields: Fields): void {
    const { receiver } = this;
    const fault = responseFault(fields);
    if (fault !== undefined) return receiver.invalid(stream, errorCode.protocol, fault);
    if ((fields[1] as string).charCodeAt(0) === 0x31) {
      if (isEnd) return receiver.invalid(stream, errorCode.protocol, 'an interim response with END_STREAM');
      if (responseLength(fields, stream.method) === badLength)
        return receiver.invalid(stream, errorCode.protocol, 'content-length in an interim response');
      return stream.listener?.onInterim(fields);
    }
    const length = responseLength(fields, stream.method);
    // END_STREAM with the head: the message has no body. `length` is 0 for a response to HEAD, so a larger one is wrong.
    if (length === badLength || (isEnd && length > 0))
      return receiver.invalid(stream, errorCode.protocol, 'content-length is invalid');
    stream.bodyLeft = length;
    stream.hasHead = true;
    stream.isRemoteEnded = stream.isEndDelivered = isEnd;
    stream.listener?.onHead(fields, isEnd);
    if (isEnd && stream.isLocalEnded) receiver.owner.events.close(stream);
  }

  #onRequest(id: number, isEnd: boolean, fields: Fields, invalid: string | undefined, code: number): void {
    const { floods, owner, window } = this.receiver;
    this.openedId = id;
    // After the last GOAWAY: the client opens it again elsewhere.
    if (id > owner.goAwayId) return;
    this.lastId = id;
    if (this.#isFull()) {
      if (floods.refused.take()) owner.writer.reset(id, errorCode.refusedStream);
      else this.receiver.flood('streams beyond the announced maximum');
      return;
    }
    let fault = invalid ?? requestFault(fields);
    const length = requestLength(fields);
    if (length === badLength || (isEnd && length > 0)) fault ??= 'content-length is invalid';
    if (fault !== undefined) {
      if (floods.resets.take()) owner.writer.reset(id, code);
      else this.receiver.flood('streams that were reset');
      return;
    }
    const stream = new Stream(owner.writer, id, owner.peer.initialWindowBytes, window.newStreamBytes);
    stream.bodyLeft = length;
    stream.hasHead = true;
    stream.isRemoteEnded = stream.isEndDelivered = isEnd;
    owner.streams.set(id, stream);
    owner.listener.onStream(stream, fields, isEnd);
  }

  /**
   * The peer has as many streams as were announced. Streams whose frames are complete, and whose owner is paused, are closed for the peer:
   * they do not count, up to as many again.
   */
  #isFull(): boolean {
    const { streams } = this.receiver.owner;
    const { maxConcurrentStreams } = this.options;
    if (streams.size < maxConcurrentStreams) return false;
    if (streams.size >= 2 * maxConcurrentStreams) return true;
    let open = 0;
    for (const stream of streams.values()) if (!stream.isRemoteEnded || !stream.isLocalEnded) open++;
    return open >= maxConcurrentStreams;
  }
}
