import { initialWindowBytes } from './codes.js';
import { bufferedBytes, type BufferedBytesHolder } from './buffered-bytes.js';
import type { Output } from './output.js';
import type { Stream } from './stream.js';

/**
 * Flow control of received data (RFC 9113, section 5.2). WINDOW_UPDATE is sent once half of a window is consumed.
 *
 * A paused stream gives no credit of its own. On the connection, buffered bytes are credited at once up to a limit: otherwise a few paused
 * streams would stop all others. Beyond that they are credited when they are consumed. So a connection buffers at most the limit and its
 * window. What the limit allows beyond one window is shared by all connections of the process (buffered-bytes.ts).
 */
export class ReceiveWindow implements BufferedBytesHolder {
  /** The window of new streams. Until the peer has acknowledged SETTINGS it may use the protocol's initial window. */
  newStreamBytes: number;
  readonly #max: number;
  readonly #creditBytes: number;
  readonly #streamCreditBytes: number;
  /** Bytes that the peer may send on the connection. */
  #left: number;
  #consumed = 0;
  buffered = 0;
  /** Buffered bytes that were credited. */
  #credited = 0;
  readonly #bufferedMax: number;

  constructor(
    private readonly output: Output,
    connectionBytes: number,
    private readonly streamBytes: number,
    bufferedBytesMax: number | undefined,
    readonly shed: () => void,
    private readonly schedule: () => void,
  ) {
    this.#max = Math.max(initialWindowBytes, connectionBytes);
    this.#left = this.#max;
    this.#bufferedMax = bufferedBytesMax ?? this.#max;
    this.#creditBytes = this.#max >> 1;
    this.#streamCreditBytes = streamBytes >> 1;
    this.newStreamBytes = Math.max(initialWindowBytes, streamBytes);
    if (this.#max > initialWindowBytes) output.windowUpdate(0, this.#max - initialWindowBytes);
  }

  /** The peer has acknowledged SETTINGS. */
  onAcknowledged(streams: Iterable<Stream>): void {
    const less = this.newStreamBytes - this.streamBytes;
    if (less === 0) return;
    this.newStreamBytes = this.streamBytes;
    for (const stream of streams) stream.receiveWindow -= less;
  }

  /** A DATA frame arrives. False: it exceeds the connection's window. */
  take(bytes: number): boolean {
    this.#left -= bytes;
    return this.#left >= 0;
  }

  /** Bytes of the connection were consumed. True: a WINDOW_UPDATE was written. */
  credit(bytes: number): boolean {
    this.#consumed += bytes;
    if (this.#consumed < this.#creditBytes) return false;
    this.output.windowUpdate(0, this.#consumed);
    this.#left += this.#consumed;
    this.#consumed = 0;
    return true;
  }

  /** The owner has consumed bytes of a stream. True: a WINDOW_UPDATE was written. */
  creditStream(stream: Stream, bytes: number): boolean {
    if (stream.isRemoteEnded || stream.isClosed || stream.isDiscarding) return false;
    stream.consumed += bytes;
    if (stream.consumed < this.#streamCreditBytes) return false;
    this.output.windowUpdate(stream.id, stream.consumed);
    stream.receiveWindow += stream.consumed;
    stream.consumed = 0;
    return true;
  }

  /** Bytes are buffered for a paused stream, which may be closed then. */
  addBuffered(bytes: number): boolean {
    this.buffered += bytes;
    const isWritten = this.#creditBuffered(bytes);
    bufferedBytes.add(this, bytes);
    return isWritten;
  }

  /** Credits as many buffered bytes as there is room for, at most this many. */
  #creditBuffered(bytes: number): boolean {
    const ownRoom = Math.max(0, this.#max - this.#credited);
    const allowed = this.#bufferedMax - this.#credited;
    const room = Math.min(allowed, ownRoom + bufferedBytes.room(this.#shared));
    const credited = Math.min(bytes, Math.max(0, room));
    this.#setCredited(this.#credited + credited);
    if (credited < bytes && credited < allowed) bufferedBytes.wait(this);
    return this.credit(credited);
  }

  offer(): void {
    if (this.#creditBuffered(this.buffered - this.#credited)) this.schedule();
  }

  /** Buffered bytes were consumed or dropped. */
  removeBuffered(bytes: number): boolean {
    const released = Math.min(bytes, this.buffered - this.#credited);
    this.buffered -= bytes;
    this.#setCredited(this.#credited - (bytes - released));
    bufferedBytes.remove(this, bytes);
    return released > 0 && this.credit(released);
  }

  /** Credited bytes beyond one window. */
  get #shared(): number {
    return Math.max(0, this.#credited - this.#max);
  }

  #setCredited(bytes: number): void {
    const before = this.#shared;
    this.#credited = bytes;
    bufferedBytes.share(this.#shared - before);
  }
}
