/**
 * How a stream ends. What the peer sent before it reset the connection stays readable, as it does in a socket's receive queue. A server
 * that responds before it has read the upload, and then closes, resets the connection behind its response. Node.js by itself loses that
 * response in two ways: a write that fails destroys the stream, and so does a reset, with all that was received and not yet read.
 */
import type http2 from 'node:http2';
import type { Duplex } from 'node:stream';

/** Once one side is reset, how long data waits for a slow reader on the other side before it is dropped. */
export const deliveryMsMax = 30_000;

/**
 * Bytes that streams of one session may hold together behind their resets. A reset gives its place among the session's streams to the
 * next, so that nothing else bounds them. What is more is lost, as it is by Node alone.
 */
export const heldBytesMax = 16 << 20;
const heldBytes = new WeakMap<http2.Http2Session, number>();

type Write = NonNullable<Duplex['_write']>;
type Writev = NonNullable<Duplex['_writev']>;
type Done = (error?: Error | null) => void;

const nothing = Buffer.alloc(0);
const ends = new WeakMap<Duplex, StreamEnd>();

/** From here on a write that fails, or a reset, ends the stream only when all that was received is read. Once per stream; idempotent. */
export function keepReadable(stream: Duplex): StreamEnd {
  let end = ends.get(stream);
  if (!end) ends.set(stream, (end = new StreamEnd(stream)));
  return end;
}

export class StreamEnd {
  readonly #stream: Duplex;
  readonly #destroy: Duplex['destroy'];
  readonly #http2: http2.Http2Stream | undefined;
  /** Writes are discarded: the peer takes no more. */
  #failed = false;
  /** The peer broke the stream off. */
  #reset = false;
  /** HTTP/2: END_STREAM came, which a reset that follows does not undo. */
  #endCame = false;
  #closedHere = false;
  #holding = false;
  #timer: NodeJS.Timeout | undefined;
  #onFlushed: (() => void) | undefined;

  constructor(stream: Duplex) {
    this.#stream = stream;
    this.#destroy = stream.destroy.bind(stream) as Duplex['destroy'];
    this.#http2 = 'rstCode' in stream ? (stream as http2.Http2Stream) : undefined;
    this.#keepWrites();
    stream.destroy = (error?: Error) => this.#onDestroy(error);
    if (this.#http2) this.#watch(this.#http2);
    else stream.once('end', () => this.#probe());
    stream.once('close', () => clearTimeout(this.#timer));
  }

  /** The peer reset the stream: an 'end' that follows is not the peer's end. */
  get wasReset(): boolean {
    if (this.#http2) return this.#http2.closed && !this.#endCame && !this.#closedHere;
    return this.#reset;
  }

  /** The peer takes no more of what is written. */
  get discardsWrites(): boolean {
    return this.#failed || this.#stream.destroyed || this.#stream.writableEnded;
  }

  /**
   * All was read up to the peer's end, and all was written. Residual risk: a peer of HTTP/2 that resets a stream without an error behind
   * its own end, while our last bytes are on their way behind ours, is told as an end in order.
   */
  get inOrder(): boolean {
    const stream = this.#stream;
    if (!stream.readableEnded || this.#failed || this.wasReset) return false;
    // Node may call back for the write that carried our END_STREAM only after it closed the stream.
    if (this.#http2) return this.#http2.rstCode === 0 && !this.#http2.aborted;
    return stream.writableFinished;
  }

  /** Ends it now, whatever it still holds. */
  destroy(error?: Error): void {
    this.#destroy(error);
  }

  /** Calls once all that was written is on its way, END_STREAM or FIN included; at once where nothing waits. Not after a close. */
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
    // A session whose connection broke ends its streams by itself, once it has read what came.
    if (this.#http2) return;
    // Linux: EPIPE is a reset behind the peer's FIN, whose end was meant; a reset alone is ECONNRESET first, and reads as an end after.
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') this.#reset = true;
    const stream = this.#stream;
    if (stream.readableEnded) this.#destroy(error);
    else stream.once('end', () => this.#destroy(error));
  }

  /**
   * libuv tells a reset that comes together with the last bytes as an end (it sees the hang-up, and reads no more). A write of nothing
   * tells: it sends nothing, and fails where the socket was reset. Residual risk: one whose own end was sent cannot be asked.
   */
  #probe(): void {
    const stream = this.#stream;
    if (!stream.destroyed && !stream.writableEnded && stream.writableLength === 0) stream.write(nothing);
  }

  #watch(stream: http2.Http2Stream): void {
    const push = stream.push.bind(stream);
    stream.push = (chunk: unknown, encoding?: BufferEncoding) => {
      // Node says an end in the same way where a reset came without one; the stream is closed then.
      if (chunk === null && !stream.closed && !stream.destroyed) this.#endCame = true;
      return push(chunk, encoding);
    };
    // Node waits for writes that nobody will take any more where the peer reset the stream without an error.
    stream.once('end', () =>
      setImmediate(() => {
        if (stream.closed && !stream.destroyed) this.#destroy();
      }),
    );
    const close = stream.close.bind(stream);
    stream.close = (code, callback) => {
      this.#closedHere = true;
      close(code, callback);
    };
  }

  /** Node destroys a stream for what the peer did as well as for what its owner asked. */
  #onDestroy(error?: Error): Duplex {
    const stream = this.#stream;
    if (this.#holding || stream.destroyed) return this.#destroy(error);
    const failed = (error as NodeJS.ErrnoException | undefined)?.syscall;
    if (this.#http2 && failed === 'write') {
      this.#onWriteFailed(error as Error);
      return stream;
    }
    const byPeer = this.#http2
      ? this.#http2.closed && !this.#closedHere && this.#http2.rstCode !== 0
      : failed === 'read';
    if (!byPeer) return this.#destroy(error);
    this.#failed = true;
    this.#reset = true;
    if (stream.readableLength === 0 || !this.#mayHold(stream.readableLength)) return this.#destroy(error);
    this.#holding = true;
    stream.once('end', () => this.#destroy(error));
    // Its owner may be paused by a reader that never comes back.
    this.#timer = setTimeout(() => this.#destroy(error), deliveryMsMax);
    this.#timer.unref();
    stream.push(null);
    return stream;
  }

  #mayHold(bytes: number): boolean {
    const session = this.#http2?.session;
    if (!session) return true;
    const sum = (heldBytes.get(session) ?? 0) + bytes;
    if (sum > heldBytesMax) return false;
    heldBytes.set(session, sum);
    this.#stream.once('close', () => heldBytes.set(session, (heldBytes.get(session) ?? bytes) - bytes));
    return true;
  }
}
