import { ByteQueue } from './byte-queue.js';
import type { StreamReset } from './http2.js';
import type { ReceiveWindow } from './receive-window.js';
import type { Sender } from './sender.js';
import type { Stream } from './stream.js';

/** Kept bytes that were joined are passed on in chunks of this size at most. */
const chunkBytesMax = 64 << 10;

/** What the events ask of the connection. */
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
    this.dropKept(stream);
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

  /** What was received before a reset is the owner's, even if it is paused: nothing reports the end of a stream that nobody resumes. */
  #deliverBeforeReset(stream: Stream): void {
    if (stream.isDiscarding || stream.isEndDelivered) return;
    const { kept, keptTrailers } = stream;
    stream.kept = undefined;
    stream.keptTrailers = undefined;
    if (kept) this.window.unkeep(kept.bytes);
    while (kept && kept.bytes > 0 && !stream.isClosed) stream.listener?.onData(kept.shift(chunkBytesMax));
    if (stream.isClosed || !stream.isRemoteEnded) return;
    stream.isEndDelivered = true;
    stream.listener?.onEnd(keptTrailers);
  }

  keep(stream: Stream, bytes: Buffer): void {
    (stream.kept ??= new ByteQueue()).push(bytes);
    if (this.window.keep(bytes.length)) this.owner.schedule();
  }

  dropKept(stream: Stream): void {
    const { kept } = stream;
    stream.kept = undefined;
    stream.keptTrailers = undefined;
    if (kept && this.window.unkeep(kept.bytes)) this.owner.schedule();
  }

  /** What is kept follows with the flush. */
  resume(stream: Stream): void {
    if (stream.isResuming || stream.isEndDelivered || (!stream.kept && !stream.isRemoteEnded)) return;
    stream.isResuming = true;
    this.#resuming.push(stream);
    this.owner.schedule();
  }

  /** Before the flush writes. */
  deliverKept(): void {
    if (this.#resuming.length === 0) return;
    const resuming = this.#resuming;
    this.#resuming = [];
    for (const stream of resuming) this.#deliverKeptOf(stream);
  }

  #deliverKeptOf(stream: Stream): void {
    stream.isResuming = false;
    const { window } = this;
    while (!stream.isPaused && !stream.isClosed && stream.kept) {
      const { kept } = stream;
      const chunk = kept.shift(chunkBytesMax);
      if (kept.bytes === 0) stream.kept = undefined;
      window.unkeep(chunk.length);
      stream.listener?.onData(chunk);
      window.creditStream(stream, chunk.length);
    }
    if (stream.isPaused || stream.isClosed || !stream.isRemoteEnded || stream.isEndDelivered) return;
    stream.isEndDelivered = true;
    const { keptTrailers } = stream;
    stream.keptTrailers = undefined;
    stream.listener?.onEnd(keptTrailers);
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
