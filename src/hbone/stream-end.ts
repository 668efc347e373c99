/**
 * Keeps data readable that the peer of a socket sent before it reset the connection, as in a kernel socket's receive queue. A server that
 * responds before it has read the upload and then closes resets the connection right after its response. Plain Node.js loses that response
 * in two ways: a failed write destroys the stream, and so does a reset, together with all data received and not yet read.
 */
import type { Duplex } from 'node:stream';
import { StreamDuplex } from '../http2/stream-duplex.js';
import { deliveryMsMax } from '../http2/unread-bytes.js';

type Write = NonNullable<Duplex['_write']>;
type Writev = NonNullable<Duplex['_writev']>;
type Done = (error?: Error | null) => void;

const nothing = Buffer.alloc(0);
const ends = new WeakMap<Duplex, StreamEnd>();

/** How a stream ends. A StreamDuplex implements it itself. */
export interface StreamEnd {
  /** The peer reset the stream: a following 'end' event is not an orderly end by the peer. */
  readonly wasReset: boolean;
  /** Writes no longer reach the peer. */
  readonly discardsWrites: boolean;
  /** All data up to the peer's end was read, and all data was written. */
  readonly inOrder: boolean;
  /** Destroys the stream at once and drops unread data. */
  destroy(error?: Error): void;
  /**
   * Runs `call` when all written data is flushed, including the end; at once if nothing is pending. `call` does not run if the stream
   * closes first.
   */
  whenFlushed(call: () => void): void;
}

/**
 * From this call on, a failed write or a reset ends the stream only after all received data was read. Idempotent: one StreamEnd per
 * stream.
 */
export function keepReadable(stream: Duplex): StreamEnd {
  if (stream instanceof StreamDuplex) return stream;
  let end = ends.get(stream);
  if (!end) ends.set(stream, (end = new SocketEnd(stream)));
  return end;
}

/** The end of a socket or of another Duplex. */
class SocketEnd implements StreamEnd {
  readonly #stream: Duplex;
  readonly #destroy: Duplex['destroy'];
  /** Writes are discarded because the peer accepts no more data. */
  #failed = false;
  /** The peer reset the stream. */
  #reset = false;
  #holding = false;
  #timer: NodeJS.Timeout | undefined;
  #onFlushed: (() => void) | undefined;

  constructor(stream: Duplex) {
    this.#stream = stream;
    this.#destroy = stream.destroy.bind(stream) as Duplex['destroy'];
    this.#keepWrites();
    stream.destroy = (error?: Error) => this.#onDestroy(error);
    stream.once('end', () => this.#probe());
    stream.once('close', () => clearTimeout(this.#timer));
  }

  get wasReset(): boolean {
    return this.#reset;
  }

  get discardsWrites(): boolean {
    return this.#failed || this.#stream.destroyed || this.#stream.writableEnded;
  }

  get inOrder(): boolean {
    const stream = this.#stream;
    return stream.readableEnded && stream.writableFinished && !this.#failed && !this.#reset;
  }

  destroy(error?: Error): void {
    this.#destroy(error);
  }

  whenFlushed(call: () => void): void {
    if (this.#isFlushed()) return call();
    this.#onFlushed = call;
    this.#stream.once('finish', () => this.#flushed());
  }

  #isFlushed(): boolean {
    const stream = this.#stream;
    return stream.destroyed || (stream.writableEnded ? stream.writableFinished : stream.writableLength === 0);
  }

  #flushed(): void {
    const call = this.#onFlushed;
    if (!call || !this.#isFlushed()) return;
    this.#onFlushed = undefined;
    call();
  }

  #keepWrites(): void {
    const stream = this.#stream as Duplex & { _write: Write; _writev: Writev };
    const write = stream._write;
    const writev = stream._writev as Writev | undefined;
    stream._write = (chunk: unknown, encoding, done) => {
      if (this.#failed) done();
      else write.call(stream, chunk, encoding, (error) => this.#written(error, done));
    };
    if (!writev) return;
    stream._writev = (chunks, done) => {
      if (this.#failed) done();
      else writev.call(stream, chunks, (error) => this.#written(error, done));
    };
  }

  #written(error: Error | null | undefined, done: Done): void {
    if (error && !this.#stream.destroyed) {
      this.#onWriteFailed(error);
      done();
    } else done(error);
    if (this.#onFlushed) this.#flushed();
  }

  #onWriteFailed(error: Error): void {
    if (this.#failed) return;
    this.#failed = true;
    // Linux: EPIPE means that the reset followed the peer's FIN, so the end was orderly. A reset without a FIN is reported once as
    // ECONNRESET; reads return an end afterwards.
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') this.#reset = true;
    const stream = this.#stream;
    if (stream.readableEnded) this.#destroy(error);
    else stream.once('end', () => this.#destroy(error));
  }

  /**
   * libuv reports a reset that arrives together with the last bytes as an end (it sees the hang-up and stops reading). An empty write
   * distinguishes the two: it sends nothing and fails if the socket was reset. Residual risk: a socket that has already sent its own end
   * cannot be probed.
   */
  #probe(): void {
    const stream = this.#stream;
    if (!stream.destroyed && !stream.writableEnded && stream.writableLength === 0) stream.write(nothing);
  }

  /** Replaces `destroy`, which Node calls for events from the peer as well as on behalf of the owner. Only the former are deferred. */
  #onDestroy(error?: Error): Duplex {
    const stream = this.#stream;
    if (this.#holding || stream.destroyed) return this.#destroy(error);
    if ((error as NodeJS.ErrnoException | undefined)?.syscall !== 'read') return this.#destroy(error);
    this.#failed = true;
    this.#reset = true;
    if (stream.readableLength === 0) return this.#destroy(error);
    this.#holding = true;
    stream.once('end', () => this.#destroy(error));
    // The owner may stay paused forever by a reader that stopped reading.
    this.#timer = setTimeout(() => this.#destroy(error), deliveryMsMax);
    this.#timer.unref();
    stream.push(null);
    return stream;
  }
}
