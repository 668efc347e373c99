/** A stream as the transport of an inner connection: bytes pass without a Node.js stream between the two connections. */
import { errorCode } from './codes.js';
import type {
  Fields,
  Http2Stream,
  StreamListener,
  StreamReset,
  Transport,
  TransportListener,
} from './http2.js';
import type { DetachedStream } from './stream-duplex.js';

export class StreamTransport implements Transport, StreamListener {
  listener: TransportListener | undefined;
  readonly #stream: Http2Stream;
  /** Received before this transport took the stream over; undefined once it was passed on. */
  #first: DetachedStream | undefined;
  #isPaused = false;
  #isRemoteEnded = false;
  #isEnded = false;
  #isClosed = false;

  /** @param depth one more than the depth of the transport under the stream's connection */
  constructor(
    detached: DetachedStream,
    readonly depth = 1,
  ) {
    this.#stream = detached.stream;
    this.#first = detached;
    this.#isEnded = detached.isWritableEnded;
    if (!detached.stream.isClosed) detached.stream.listener = this;
    // Not at once: the owner sets its listener first.
    process.nextTick(() => this.#begin());
  }

  get isOpen(): boolean {
    return !this.#isClosed;
  }

  write(buffers: readonly Buffer[]): boolean {
    if (this.#isClosed || this.#isEnded) return true;
    let isRoom = true;
    for (const bytes of buffers) isRoom = this.#stream.write(bytes);
    return isRoom;
  }

  end(): void {
    if (this.#isClosed || this.#isEnded) return;
    this.#isEnded = true;
    this.#stream.end();
    if (this.#isRemoteEnded) this.#closeOnceFlushed();
  }

  destroy(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (!this.#stream.isClosed) this.#stream.reset(errorCode.cancel);
    process.nextTick(() => this.listener?.onClose('the stream was reset by its owner'));
  }

  pause(): void {
    this.#isPaused = true;
    if (!this.#first && !this.#isClosed) this.#stream.pause();
  }

  resume(): void {
    this.#isPaused = false;
    if (this.#first) process.nextTick(() => this.#begin());
    else if (!this.#isClosed) this.#stream.resume();
  }

  #begin(): void {
    if (this.#first && !this.#isPaused && !this.#isClosed) this.#passFirst();
  }

  /** Passes on what was received before; a later event of the stream comes after it. */
  #passFirst(): void {
    const first = this.#first;
    if (!first) return;
    this.#first = undefined;
    for (const bytes of first.received) this.listener?.onData(bytes);
    if (first.isEnded) this.onEnd();
    if (first.reset) this.onReset(first.reset);
    // Reset before the Duplex or this transport was its listener: no event follows.
    else if (this.#stream.isClosed && !first.isEnded) this.#close('the stream was reset');
    else if (this.isOpen && !this.#isPaused) this.#stream.resume();
  }

  onInterim(): void {
    // Only before the response's head, which precedes this object.
  }

  onHead(): void {
    // See onInterim.
  }

  onData(bytes: Buffer): void {
    if (this.#first) this.#passFirst();
    this.listener?.onData(bytes);
  }

  onEnd(_trailers?: Fields): void {
    if (this.#first) this.#passFirst();
    this.#isRemoteEnded = true;
    this.listener?.onEnd();
    if (this.#isEnded) this.#closeOnceFlushed();
  }

  onDrain(): void {
    this.listener?.onDrain();
  }

  onReset({ why }: StreamReset): void {
    if (this.#first) this.#passFirst();
    this.#close(why);
  }

  #closeOnceFlushed(): void {
    this.#stream.whenFlushed(() => process.nextTick(() => this.#close(undefined)));
  }

  #close(why: string | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.listener?.onClose(why);
  }
}
