import { initialWindowBytes } from './codes.js';
import { keptBytes, type KeptBytesHolder } from './kept-bytes.js';
import type { Output } from './output.js';
import type { Stream } from './stream.js';

/**
 * What the peer may send. Windows are opened again, at least half of a window at a time, for bytes that the owner has consumed.
 *
 * A paused stream gives no credit of its own. On the connection, kept bytes are credited at once up to a limit: otherwise a few paused
 * streams would stop all others. Beyond that they are credited when they are consumed. So a connection keeps at most the limit and its
 * window. What the limit allows beyond one window is shared by all connections of the process (kept-bytes.ts).
 */
export class ReceiveWindow implements KeptBytesHolder {
  /** The window of new streams. Until the peer has acknowledged SETTINGS it may use the protocol's initial window. */
  ofStreams: number;
  readonly #max: number;
  readonly #creditBytes: number;
  readonly #streamCreditBytes: number;
  /** Bytes that the peer may send on the connection. */
  #left: number;
  #consumed = 0;
  kept = 0;
  /** Kept bytes that were credited. */
  #credited = 0;
  readonly #keptMax: number;

  constructor(
    private readonly output: Output,
    connectionBytes: number,
    private readonly streamBytes: number,
    keptBytesMax: number | undefined,
    readonly shed: () => void,
    private readonly schedule: () => void,
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

  /** Bytes are kept for a paused stream, which may be closed then. */
  keep(bytes: number): boolean {
    this.kept += bytes;
    const isWritten = this.#creditKept(bytes);
    keptBytes.add(this, bytes);
    return isWritten;
  }

  /** Credits as many kept bytes as there is room for, at most this many. */
  #creditKept(bytes: number): boolean {
    const ownRoom = Math.max(0, this.#max - this.#credited);
    const allowed = this.#keptMax - this.#credited;
    const room = Math.min(allowed, ownRoom + keptBytes.room(this.#shared));
    const credited = Math.min(bytes, Math.max(0, room));
    this.#setCredited(this.#credited + credited);
    if (credited < bytes && credited < allowed) keptBytes.wait(this);
    return this.credit(credited);
  }

  offer(): void {
    if (this.#creditKept(this.kept - this.#credited)) this.schedule();
  }

  /** Kept bytes were consumed or dropped. */
  unkeep(bytes: number): boolean {
    const released = Math.min(bytes, this.kept - this.#credited);
    this.kept -= bytes;
    this.#setCredited(this.#credited - (bytes - released));
    keptBytes.remove(this, bytes);
    return released > 0 && this.credit(released);
  }

  /** Credited bytes beyond one window. */
  get #shared(): number {
    return Math.max(0, this.#credited - this.#max);
  }

  #setCredited(bytes: number): void {
    const before = this.#shared;
    this.#credited = bytes;
    keptBytes.share(this.#shared - before);
  }
}
