/**
 * An HTTP/2 stream as a Node.js Duplex: for codecs and relays that need one. As with a kernel socket's receive queue, data that the peer
 * sent before it reset the stream can still be read; only then does the stream end.
 */
import { Duplex } from 'node:stream';
import { errorCode } from './codes.js';
import type { Fields, Http2Stream, StreamListener, StreamReset } from './http2.js';
import { deliveryMsMax, type UnreadBytes } from './unread-bytes.js';

/** So many bytes may be written before `write` returns false: several reads of a socket. */
const writableHighWaterMark = 256 << 10;

type Done = (error?: Error | null) => void;

/** A stream that was taken out of its Duplex. It has no listener and is paused. */
export interface DetachedStream {
  readonly stream: Http2Stream;
  /** Bytes that were received and not read. */
  readonly received: readonly Buffer[];
  /** The peer's direction is complete: nothing follows `received`. */
  readonly isEnded: boolean;
  /** The stream was reset: nothing follows `received`. */
  readonly reset: StreamReset | undefined;
  /** `end` was called: END_STREAM was sent, or follows the queued bytes. */
  readonly isWritableEnded: boolean;
  /** Of the stream's connection. */
  readonly unread: UnreadBytes;
}

/**
 * Errors are never unhandled: a reset by the peer other than NO_ERROR and CANCEL is reported by `error`, and in any case by `close`.
 * `destroy` resets a stream that is not complete, and drops unread data.
 */
export class StreamDuplex extends Duplex implements StreamListener {
  readonly #stream: Http2Stream;
  readonly #unread: UnreadBytes;
  /** The peer's end was received, after all data that precedes it. */
  #isEnded = false;
  #reset: StreamReset | undefined;
  #isDetached = false;
  /** `end` of the stream was called. */
  #isEnding = false;
  /** Callback of the write that waits for the stream's backlog. */
  #written: Done | undefined;
  #ended: Done | undefined;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param unread shared by the streams of one connection
   * @param endStream the peer's direction was complete with its head
   */
  constructor(stream: Http2Stream, unread: UnreadBytes, endStream = false) {
    super({ writableHighWaterMark });
    this.#stream = stream;
    this.#unread = unread;
    stream.listener = this;
    // The owner adds its own listener if it wants the error. Without any, an error would end the process.
    this.on('error', ignore);
    if (stream.isClosed) this.destroy();
    else if (endStream) this.onEnd(undefined);
  }

  /** The peer reset the stream before its end: a following 'end' event is not an orderly end by the peer. */
  get wasReset(): boolean {
    return this.#reset !== undefined && !this.#isEnded;
  }

  /** Writes no longer reach the peer. */
  get discardsWrites(): boolean {
    return this.#reset !== undefined || this.destroyed || this.writableEnded;
  }

  /** All data up to the peer's end was read, and all data was written. */
  get inOrder(): boolean {
    return this.readableEnded && this.writableFinished && this.#reset === undefined;
  }

  /**
   * Runs `call` when all written data was handed to the connection's transport, including the end; at once if nothing is pending. `call`
   * does not run if the stream closes first.
   */
  whenFlushed(call: () => void): void {
    if (this.destroyed) return call();
    if (this.#reset) return;
    if (this.writableEnded ? this.writableFinished : this.writableLength === 0)
      this.#stream.whenFlushed(call);
    else this.once(this.writableEnded ? 'finish' : 'drain', () => this.whenFlushed(call));
  }

  /** Takes the stream out, with what was received and not read. The Duplex must not be used afterwards. */
  detach(): DetachedStream {
    this.#isDetached = true;
    const stream = this.#stream;
    const { writableEnded: isWritableEnded } = this;
    if (!stream.isClosed) stream.pause();
    stream.listener = undefined;
    this.removeAllListeners('data').pause();
    const received: Buffer[] = [];
    for (let bytes = this.read() as Buffer | null; bytes; bytes = this.read() as Buffer | null)
      received.push(bytes);
    // Node.js calls `_final` in a later turn.
    if (isWritableEnded && !this.#isEnding) stream.end();
    this.destroy();
    return {
      stream,
      received,
      isEnded: this.#isEnded,
      reset: this.#reset,
      isWritableEnded,
      unread: this.#unread,
    };
  }

  onInterim(): void {
    // Only before the response's head, which precedes this object.
  }

  onHead(): void {
    // See onInterim.
  }

  onData(bytes: Buffer): void {
    if (!this.destroyed && !this.push(bytes)) this.#stream.pause();
  }

  onEnd(_trailers: Fields | undefined): void {
    this.#isEnded = true;
    if (!this.destroyed) this.push(null);
  }

  onDrain(): void {
    const done = this.#written;
    this.#written = undefined;
    done?.();
  }

  onReset(reset: StreamReset): void {
    if (this.#isDetached || this.destroyed) return;
    this.#reset = reset;
    // Writes are discarded from now on, pending ones too.
    this.onDrain();
    this.#onEnded();
    const error = isQuiet(reset) ? undefined : new Error(reset.why);
    const bytes = this.readableLength;
    const isRead = bytes === 0 && (this.readableEnded || !this.#isEnded);
    if (isRead || !this.#unread.take(bytes)) return void this.destroy(error);
    this.once('close', () => this.#unread.release(bytes));
    this.once('end', () => this.destroy(error));
    // The owner may stay paused forever by a reader that stopped reading.
    this.#timer = setTimeout(() => this.destroy(error), deliveryMsMax);
    this.#timer.unref();
    if (!this.#isEnded) this.push(null);
  }

  #onEnded(): void {
    const done = this.#ended;
    this.#ended = undefined;
    done?.();
  }

  override _read(): void {
    if (!this.#isDetached && this.#stream.isPaused) this.#stream.resume();
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: Done): void {
    if (this.#reset || this.#stream.write(bytes)) done();
    else this.#written = done;
  }

  override _writev(chunks: readonly { chunk: Buffer }[], done: Done): void {
    if (this.#reset) return done();
    let isRoom = true;
    for (const { chunk } of chunks) isRoom = this.#stream.write(chunk);
    if (isRoom) done();
    else this.#written = done;
  }

  override _final(done: Done): void {
    if (this.#reset) return done();
    this.#ended = done;
    this.#isEnding = true;
    this.#stream.end();
    this.#stream.whenFlushed(() => this.#onEnded());
  }

  override _destroy(error: Error | null, done: Done): void {
    clearTimeout(this.#timer);
    if (!this.#isDetached && !this.#stream.isClosed) this.#stream.reset(errorCode.cancel);
    this.onDrain();
    done(error);
  }
}

const ignore = (): void => undefined;

const isQuiet = ({ code }: StreamReset): boolean => code === errorCode.none || code === errorCode.cancel;
