import { ByteQueue } from './byte-queue.js';
import type { StreamReset } from './http2.js';
import type { ReceiveWindow } from './receive-window.js';
import type { Sender } from './sender.js';
import type { Stream } from './stream.js';

/** Buffered bytes are passed on in chunks of this size at most. */
const chunkBytesMax = 64 << 10;

/** The part of the connection that stream events use. */
interface EventsOwner {
  readonly streams: Map<number, Stream>;
  readonly sender: Sender;
  schedule(): void;
  /** The peer must not send anything more on the stream. */
  onRemoteEnded(id: number): void;
  onStreamClosed(stream: Stream): void;
}

/**
 * The ends of streams, and the events that an owner's call causes: they wait for the flush, since no event may occur within an owner's
 * call.
 */
export class StreamEvents {
  #closed: Stream[] = [];
  #resuming: Stream[] = [];
  #resets: { stream: Stream; reset: StreamReset }[] = [];

  constructor(
    private readonly owner: EventsOwner,
    private readonly window: ReceiveWindow,
  ) {}

  /** Both directions are complete, or the stream was reset. No event but `onReset` follows for the stream. */
  close(stream: Stream): void {
    if (stream.isClosed) return;
    const { owner } = this;
    stream.isClosed = true;
    owner.sender.remove(stream);
    stream.queue = undefined;
    stream.trailers = undefined;
    this.dropBuffered(stream);
    owner.streams.delete(stream.id);
    if (stream.isRemoteEnded) owner.onRemoteEnded(stream.id);
    this.#closed.push(stream);
    owner.schedule();
  }

  /** The stream ends for a reason that its owner does not know. Not within an owner's call. */
  reset(stream: Stream, reset: StreamReset): void {
    if (stream.isClosed) return;
    this.#deliverBeforeReset(stream);
    if (stream.isClosed) return;
    if (reset.by === 'peer') this.owner.onRemoteEnded(stream.id);
    this.close(stream);
    // Nothing is missing.
    if (stream.isEndDelivered && stream.isLocalEnded) return;
    stream.listener?.onReset(reset);
  }

  /** The same within an owner's call. */
  resetLater(stream: Stream, reset: StreamReset): void {
    this.close(stream);
    this.#resets.push({ stream, reset });
  }

  /** Delivers data that was received before a reset, even if the stream is paused: a reset that waited for `resume` might never be reported. */
  #deliverBeforeReset(stream: Stream): void {
    if (stream.isDiscarding || stream.isEndDelivered) return;
    const { buffered, bufferedTrailers } = stream;
    stream.buffered = undefined;
    stream.bufferedTrailers = undefined;
    if (buffered) this.window.removeBuffered(buffered.bytes);
    while (buffered && buffered.bytes > 0 && !stream.isClosed)
      stream.listener?.onData(buffered.shift(chunkBytesMax));
    if (stream.isClosed || !stream.isRemoteEnded) return;
    stream.isEndDelivered = true;
    stream.listener?.onEnd(bufferedTrailers);
  }

  /** Data for a paused stream, or for one with buffered data that is not delivered yet. */
  buffer(stream: Stream, bytes: Buffer): void {
    (stream.buffered ??= new ByteQueue()).push(bytes);
    if (this.window.addBuffered(bytes.length)) this.owner.schedule();
  }

  /** Drops buffered data that nobody will read. */
  dropBuffered(stream: Stream): void {
    const { buffered } = stream;
    stream.buffered = undefined;
    stream.bufferedTrailers = undefined;
    if (buffered && this.window.removeBuffered(buffered.bytes)) this.owner.schedule();
  }

  /** Buffered data is delivered by the next flush. */
  resume(stream: Stream): void {
    if (stream.isResuming || stream.isEndDelivered || (!stream.buffered && !stream.isRemoteEnded)) return;
    stream.isResuming = true;
    this.#resuming.push(stream);
    this.owner.schedule();
  }

  /** Before the flush writes. */
  deliverBuffered(): void {
    if (this.#resuming.length === 0) return;
    const resuming = this.#resuming;
    this.#resuming = [];
    for (const stream of resuming) this.#deliverBufferedOf(stream);
  }

  #deliverBufferedOf(stream: Stream): void {
    stream.isResuming = false;
    const { window } = this;
    while (!stream.isPaused && !stream.isClosed && stream.buffered) {
      const { buffered } = stream;
      const chunk = buffered.shift(chunkBytesMax);
      if (buffered.bytes === 0) stream.buffered = undefined;
      window.removeBuffered(chunk.length);
      stream.listener?.onData(chunk);
      window.creditStream(stream, chunk.length);
    }
    if (stream.isPaused || stream.isClosed || !stream.isRemoteEnded || stream.isEndDelivered) return;
    stream.isEndDelivered = true;
    const { bufferedTrailers } = stream;
    stream.bufferedTrailers = undefined;
    stream.listener?.onEnd(bufferedTrailers);
    if (stream.isLocalEnded) this.close(stream);
  }

  /** After the flush has written. */
  deliver(): void {
    const { sender } = this.owner;
    const { drained, flushed } = sender;
    if (drained.length > 0) {
      sender.drained = [];
      for (const stream of drained) if (!stream.isClosed && !stream.isEnding) stream.listener?.onDrain();
    }
    if (flushed.length > 0) {
      sender.flushed = [];
      for (const stream of flushed) deliverFlushed(stream);
    }
    if (this.#resets.length > 0) {
      const resets = this.#resets;
      this.#resets = [];
      for (const { stream, reset } of resets) stream.listener?.onReset(reset);
    }
    this.deliverClosed();
  }

  /** Reports closed streams to the connection's owner. */
  deliverClosed(): void {
    while (this.#closed.length > 0) {
      const closed = this.#closed;
      this.#closed = [];
      for (const stream of closed) this.owner.onStreamClosed(stream);
    }
  }
}

function deliverFlushed(stream: Stream): void {
  const { flushCalls } = stream;
  if (!flushCalls || !stream.isFlushed || (stream.isClosed && !stream.isLocalEnded)) return;
  stream.flushCalls = undefined;
  for (const call of flushCalls) call();
}
