import { initialWindowBytes } from './codes.js';
import type { Output } from './output.js';
import type { Stream } from './stream.js';

/**
 * Flow control of received data (RFC 9113, section 5.2). WINDOW_UPDATE is sent once half of a window is consumed.
 *
 * The window of a paused stream is not opened. The connection's window is opened at once for bytes that are buffered for paused streams, up
 * to a limit: otherwise a few paused streams would block all others. Beyond the limit it is opened when the bytes are consumed. So a
 * connection buffers at most the limit and one window.
 */
export class ReceiveWindow {
  /** The window of new streams. Until the peer has acknowledged SETTINGS it may use the protocol's initial window. */
  newStreamBytes: number;
  readonly #max: number;
  readonly #creditBytes: number;
  readonly #streamCreditBytes: number;
  /** Bytes that the peer may send on the connection. */
  #left: number;
  #consumed = 0;
  #buffered = 0;
  readonly #bufferedMax: number;

  constructor(
    private readonly output: Output,
    connectionBytes: number,
    private readonly streamBytes: number,
    bufferedBytesMax?: number,
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

  /** Bytes were buffered for a paused stream. True: a WINDOW_UPDATE was written. */
  addBuffered(bytes: number): boolean {
    const before = this.#uncredited();
    this.#buffered += bytes;
    return this.credit(bytes - (this.#uncredited() - before));
  }

  /** Buffered bytes were consumed or dropped. True: a WINDOW_UPDATE was written. */
  removeBuffered(bytes: number): boolean {
    const before = this.#uncredited();
    this.#buffered -= bytes;
    const released = before - this.#uncredited();
    return released > 0 && this.credit(released);
  }

  #uncredited(): number {
    return Math.max(0, this.#buffered - this.#bufferedMax);
  }
}
