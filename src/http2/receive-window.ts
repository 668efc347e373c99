import { initialWindowBytes } from './codes.js';
import type { Output } from './output.js';
import type { Stream } from './stream.js';

/**
 * What the peer may send. Windows are opened again, at least half of a window at a time, for bytes that the owner has consumed.
 *
 * A paused stream gives no credit of its own. On the connection, kept bytes are credited at once up to a limit: otherwise a few paused
 * streams would stop all others. Beyond that they are credited when they are consumed. So a connection keeps at most the limit and its
 * window.
 */
export class ReceiveWindow {
  /** The window of new streams. Until the peer has acknowledged SETTINGS it may use the protocol's initial window. */
  ofStreams: number;
  readonly #max: number;
  readonly #creditBytes: number;
  readonly #streamCreditBytes: number;
  /** Bytes that the peer may send on the connection. */
  #left: number;
  #consumed = 0;
  #kept = 0;
  readonly #keptMax: number;

  constructor(
    private readonly output: Output,
    connectionBytes: number,
    private readonly streamBytes: number,
    keptBytesMax?: number,
  ) {
    this.#max = Math.max(initialWindowBytes, connectionBytes);
    this.#left = this.#max;
    this.#keptMax = keptBytesMax ?? this.#max;
    this.#creditBytes = this.#max >> 1;
    this.#streamCreditBytes = streamBytes >> 1;
    this.ofStreams = Math.max(initialWindowBytes, streamBytes);
    if (this.#max > initialWindowBytes) output.windowUpdate(0, this.#max - initialWindowBytes);
  }

  /** The peer has acknowledged SETTINGS. */
  onAcknowledged(streams: Iterable<Stream>): void {
    const less = this.ofStreams - this.streamBytes;
    if (less === 0) return;
    this.ofStreams = this.streamBytes;
    for (const stream of streams) stream.receiveWindow -= less;
  }

  /** A DATA frame arrives. False: it exceeds the connection's window. */
  take(bytes: number): boolean {
    this.#left -= bytes;
    return this.#left >= 0;
  }

  /** True: a WINDOW_UPDATE was written. */
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

  /** Bytes are kept for a paused stream. */
  keep(bytes: number): boolean {
    const before = this.#uncredited();
    this.#kept += bytes;
    return this.credit(bytes - (this.#uncredited() - before));
  }

  /** Kept bytes were consumed or dropped. */
  unkeep(bytes: number): boolean {
    const before = this.#uncredited();
    this.#kept -= bytes;
    const released = before - this.#uncredited();
    return released > 0 && this.credit(released);
  }

  #uncredited(): number {
    return Math.max(0, this.#kept - this.#keptMax);
  }
}
