/** The two kinds of ends of a relay: a socket (or another Duplex), and the stream of a tunnel without a Duplex in between. */
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { errorCode } from '../http2/codes.js';
import type { Http2Stream, StreamListener, StreamReset } from '../http2/http2.js';
import { StreamDuplex, type DetachedStream } from '../http2/stream-duplex.js';
import { keepReadable, type StreamEnd } from './stream-end.js';

export interface RelayEndListener {
  onData(bytes: Buffer): void;
  /** After a `write` that returned false. */
  onDrain(): void;
  /** The peer of this end has ended its direction in order. */
  onEnd(): void;
  /** The last event. False: one direction was not complete. */
  onClosed(inOrder: boolean): void;
}

export interface RelayEnd {
  /** Writes no longer reach the peer. */
  readonly discardsWrites: boolean;
  readonly isClosed: boolean;
  /** Events begin, none of them within this call. */
  start(listener: RelayEndListener): void;
  /** False: the buffer is full; `onDrain` follows. */
  write(bytes: Buffer): boolean;
  end(): void;
  pause(): void;
  resume(): void;
  /** Resets at once. `onClosed` follows. */
  reset(): void;
  /** Runs `call` when all written data is flushed; at once if nothing is pending. Not if the end closes first. */
  whenFlushed(call: () => void): void;
  /** The relay is over: the other end holds nothing that this end received. */
  release?(): void;
}

/** The relay owns the stream from the call on. */
export const relayEndOf = (stream: Duplex): RelayEnd =>
  stream instanceof StreamDuplex ? new TunnelEnd(stream.detach()) : new DuplexEnd(stream);

/** Bytes in a socket's own buffer from which reading from the other end pauses. Above any high-water mark of Node.js, so that `drain` follows. */
const backlogBytesMax = 128 << 10;
/** Writes of this size wait for the end of the event loop's turn: one read of a tunnel's socket has several of them. */
const bulkBytesMin = 8 << 10;

/** A socket, or another Duplex. */
class DuplexEnd implements RelayEnd {
  readonly #stream: Duplex;
  readonly #end: StreamEnd;
  #isPaused = false;
  #isCorked = false;

  constructor(stream: Duplex) {
    this.#stream = stream;
    this.#end = keepReadable(stream);
    // Each direction ends separately, whichever side opened the socket.
    if (stream instanceof net.Socket) stream.allowHalfOpen = true;
  }

  get discardsWrites(): boolean {
    return this.#end.discardsWrites;
  }
  get isClosed(): boolean {
    return this.#stream.destroyed;
  }

  start(listener: RelayEndListener): void {
    const stream = this.#stream;
    stream.on('data', (bytes: Buffer) => listener.onData(bytes));
    stream.on('drain', () => listener.onDrain());
    // A reset stream also emits 'end', before the 'close' that reports the reset. No FIN may be sent to the other side in between.
    const end = (): void => {
      if (!this.#end.wasReset) listener.onEnd();
    };
    // If the end comes from a reset, a pending write fails within this turn of the event loop.
    stream.once('end', () => (stream.writableLength > 0 ? setImmediate(end) : end()));
    // The following 'close' handles the failure. An error without a listener would end the process.
    stream.on('error', () => undefined);
    const closed = (): void => listener.onClosed(this.#end.inOrder);
    if (stream.destroyed) setImmediate(closed);
    else stream.once('close', closed);
    stream.resume();
  }

  write(bytes: Buffer): boolean {
    const stream = this.#stream;
    if (bytes.length >= bulkBytesMin && !this.#isCorked) {
      this.#isCorked = true;
      stream.cork();
      setImmediate(() => {
        this.#isCorked = false;
        stream.uncork();
      });
    }
    stream.write(bytes);
    return stream.writableLength < backlogBytesMax;
  }
  end(): void {
    if (!this.#stream.destroyed && !this.#stream.writableEnded) this.#stream.end();
  }
  pause(): void {
    this.#isPaused = true;
    this.#stream.pause();
  }
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#stream.resume();
  }
  reset(): void {
    if (this.#stream.destroyed) return;
    if (this.#stream instanceof net.Socket) this.#stream.resetAndDestroy();
    else this.#end.destroy(new Error('reset'));
  }
  whenFlushed(call: () => void): void {
    this.#end.whenFlushed(call);
  }
}

/** The stream of a tunnel. */
class TunnelEnd implements RelayEnd, StreamListener {
  readonly #stream: Http2Stream;
  #first: DetachedStream | undefined;
  readonly #unread: DetachedStream['unread'];
  #listener: RelayEndListener | undefined;
  #isPaused = false;
  #isRemoteEnded = false;
  #isEnded = false;
  /** The own end was handed to the transport. */
  #isEndSent = false;
  #isReset = false;
  /** Bytes that the reset left to a side that does not read them. */
  #left = 0;
  isClosed = false;

  constructor(detached: DetachedStream) {
    this.#stream = detached.stream;
    this.#first = detached;
    this.#unread = detached.unread;
    if (!detached.stream.isClosed) detached.stream.listener = this;
    if (detached.isWritableEnded) this.#ended();
  }

  get discardsWrites(): boolean {
    return this.#isReset || this.#isEnded || this.isClosed;
  }

  start(listener: RelayEndListener): void {
    this.#listener = listener;
    process.nextTick(() => this.#begin());
  }

  #begin(): void {
    if (!this.#isPaused) this.#passFirst();
  }

  /** Passes on what was received before; a later event of the stream comes after it. */
  #passFirst(): void {
    const first = this.#first;
    if (!first || !this.#listener) return;
    this.#first = undefined;
    for (const bytes of first.received) this.#listener.onData(bytes);
    if (first.isEnded) this.onEnd();
    if (first.reset || this.#stream.isClosed) this.#resetByPeer();
    else if (!this.#isPaused) this.#stream.resume();
  }

  write(bytes: Buffer): boolean {
    return this.discardsWrites || this.#stream.write(bytes);
  }

  end(): void {
    if (this.discardsWrites) return;
    this.#stream.end();
    this.#ended();
  }

  #ended(): void {
    this.#isEnded = true;
    this.#stream.whenFlushed(() => {
      this.#isEndSent = true;
      this.#closeIfComplete();
    });
  }

  pause(): void {
    this.#isPaused = true;
    if (!this.#first && !this.discardsReads) this.#stream.pause();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    if (this.#first) process.nextTick(() => this.#begin());
    else if (!this.discardsReads) this.#stream.resume();
  }

  /** No data follows. */
  private get discardsReads(): boolean {
    return this.isClosed || this.#isReset;
  }

  reset(): void {
    if (this.discardsReads) return;
    this.#isReset = true;
    if (!this.#stream.isClosed) this.#stream.reset(errorCode.cancel);
    this.#close(false);
  }

  whenFlushed(call: () => void): void {
    this.#stream.whenFlushed(call);
  }

  onData(bytes: Buffer): void {
    if (this.#first) this.#passFirst();
    if (this.#isPaused) {
      // The stream was reset, and this data was buffered before. It waits in the other end's buffer.
      if (!this.#unread.take(bytes.length)) return;
      this.#left += bytes.length;
    }
    this.#listener?.onData(bytes);
  }

  onEnd(): void {
    if (this.#first) this.#passFirst();
    this.#isRemoteEnded = true;
    this.#listener?.onEnd();
    this.#closeIfComplete();
  }

  onDrain(): void {
    this.#listener?.onDrain();
  }

  onReset(_reset: StreamReset): void {
    if (this.#first) this.#passFirst();
    this.#resetByPeer();
  }

  #resetByPeer(): void {
    if (this.discardsReads) return;
    this.#isReset = true;
    this.#close(false);
  }

  release(): void {
    this.#unread.release(this.#left);
    this.#left = 0;
  }

  onInterim(): void {}
  onHead(): void {}

  #closeIfComplete(): void {
    if (this.#isRemoteEnded && this.#isEndSent) this.#close(true);
  }

  #close(inOrder: boolean): void {
    if (this.isClosed) return;
    this.isClosed = true;
    // Not within a call of the relay.
    process.nextTick(() => this.#listener?.onClosed(inOrder));
  }
}
