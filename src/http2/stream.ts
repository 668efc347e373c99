import type { ByteQueue } from './byte-queue.js';
import type { Fields, Http2Stream, StreamListener } from './http2.js';
import { anyLength } from './message-length.js';

/** The part of a connection that a stream uses. */
export interface StreamOwner {
  sendHead(stream: Stream, fields: Fields, endStream: boolean): void;
  sendData(stream: Stream, bytes: Buffer): boolean;
  sendEnd(stream: Stream, trailers: Fields | undefined): void;
  sendReset(stream: Stream, code: number): void;
  discardInput(stream: Stream): void;
  resumeInput(stream: Stream): void;
}

/** The state of one stream. Its connection's receiver and writer change it; the owner sees `Http2Stream`. */
export class Stream implements Http2Stream {
  listener: StreamListener | undefined = undefined;
  isClosed = false;
  isRemoteEnded = false;
  isPaused = false;
  /** Client: a final response has arrived. Server: the request has. */
  hasHead = false;
  /** A head of this side is in the output. */
  isHeadSent = false;
  /** Server: a final response was sent. */
  hasResponded = false;
  /** `end` was called, or the head had END_STREAM. */
  isEnding = false;
  /** END_STREAM is in the output. */
  isLocalEnded = false;
  /** The owner knows that the peer's direction is complete. */
  isEndDelivered = false;
  isDiscarding = false;
  /** `write` has returned false. */
  needsDrain = false;
  /** Calls of `whenFlushed` that wait. */
  flushCalls: (() => void)[] | undefined = undefined;
  /** In the sender's list of streams that have data and a window (sender.ts). */
  isQueued = false;
  isResuming = false;
  /** Trailers that follow the queued bytes. */
  trailers: Fields | undefined = undefined;
  queue: ByteQueue | undefined = undefined;
  /** Data received while paused. */
  buffered: ByteQueue | undefined = undefined;
  bufferedTrailers: Fields | undefined = undefined;
  /** Bytes of DATA that the peer's message still has to have; negative: any number. */
  bodyLeft = anyLength;
  /** Client: the request's method, on which the length of the response depends. */
  method = '';
  /** Bytes that were consumed and are not in a WINDOW_UPDATE yet. */
  consumed = 0;
  /** Neighbors in the sender's list. */
  next: Stream | undefined = undefined;
  previous: Stream | undefined = undefined;

  constructor(
    private readonly owner: StreamOwner,
    readonly id: number,
    /** Bytes that may be sent; negative after a smaller SETTINGS_INITIAL_WINDOW_SIZE. */
    public sendWindow: number,
    /** Bytes that the peer may send. */
    public receiveWindow: number,
  ) {}

  interim(fields: Fields): void {
    if (this.isClosed || this.hasResponded || this.isEnding) return;
    this.owner.sendHead(this, fields, false);
  }

  respond(fields: Fields, endStream: boolean): void {
    if (this.isClosed || this.hasResponded || this.isEnding) return;
    this.hasResponded = true;
    this.isEnding = endStream;
    this.owner.sendHead(this, fields, endStream);
  }

  write(bytes: Buffer): boolean {
    if (this.isClosed || this.isEnding || bytes.length === 0) return true;
    return this.owner.sendData(this, bytes);
  }

  end(trailers?: Fields): void {
    if (this.isClosed || this.isEnding) return;
    this.isEnding = true;
    this.owner.sendEnd(this, trailers);
  }

  /** Everything that was written is in the output. */
  get isFlushed(): boolean {
    return (this.queue === undefined || this.queue.bytes === 0) && (!this.isEnding || this.isLocalEnded);
  }

  whenFlushed(call: () => void): void {
    if (this.isClosed && !this.isLocalEnded) return;
    if (this.isClosed || this.isFlushed) return call();
    (this.flushCalls ??= []).push(call);
  }

  discard(): void {
    if (this.isClosed || this.isDiscarding) return;
    this.isDiscarding = true;
    this.owner.discardInput(this);
  }

  reset(code: number): void {
    if (!this.isClosed) this.owner.sendReset(this, code);
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    this.owner.resumeInput(this);
  }
}
