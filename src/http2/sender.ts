import { ByteQueue } from './byte-queue.js';
import { frameBytesMin, initialWindowBytes } from './codes.js';
import { Output } from './output.js';
import type { Stream } from './stream.js';

/** Bytes after which a flush writes no further DATA. The rest waits in the streams' queues, so that other streams get their turn. */
const flushBytesMax = 256 << 10;
/** DATA that one stream sends in its turn of the round robin: one frame of the size that every peer accepts (RFC 9113, section 4.2). */
const turnBytesMax = 16 << 10;

/** The sending half's flow control. Streams with queued data send by round robin. */
export class Sender {
  readonly output = new Output();
  /** The connection's window. */
  window = initialWindowBytes;
  /** The peer's SETTINGS_MAX_FRAME_SIZE. */
  frameBytesMax = frameBytesMin;
  /** The transport has refused more. */
  isBlocked = false;
  /** DATA frames that were sent. */
  dataFrames = 0;
  /** Bytes of DATA that were sent. */
  dataBytes = 0;
  #first: Stream | undefined;
  #last: Stream | undefined;
  /** Streams whose owners wait for `onDrain`. */
  drained: Stream[] = [];
  /** Streams whose owners wait until everything is in the output. */
  flushed: Stream[] = [];

  constructor(
    private readonly backlogBytesMax: number,
    /** The last byte of the stream has left its queue, and END_STREAM or the trailers are to be sent. */
    private readonly onQueueEnd: (stream: Stream) => void,
  ) {}

  /** Streams wait, and the window and the transport are open. */
  get canPump(): boolean {
    return this.#first !== undefined && this.window > 0 && !this.isBlocked;
  }

  write(stream: Stream, bytes: Buffer): boolean {
    const { length } = bytes;
    const { queue } = stream;
    if (
      (queue === undefined || queue.bytes === 0) &&
      this.#first === undefined &&
      !this.isBlocked &&
      length <= stream.sendWindow &&
      length <= this.window &&
      length <= turnBytesMax &&
      this.output.pending < flushBytesMax
    ) {
      stream.sendWindow -= length;
      this.window -= length;
      this.dataFrames++;
      this.dataBytes += length;
      this.output.data(stream.id, bytes, false);
      return true;
    }
    const into = (stream.queue ??= new ByteQueue());
    into.push(bytes);
    this.enqueue(stream);
    if (into.bytes <= this.backlogBytesMax) return true;
    stream.needsDrain = true;
    return false;
  }

  /** Adds the stream to the round robin, if it has data and a window. */
  enqueue(stream: Stream): void {
    if (stream.isQueued || stream.sendWindow <= 0 || !stream.queue || stream.queue.bytes === 0) return;
    stream.isQueued = true;
    stream.previous = this.#last;
    if (this.#last) this.#last.next = stream;
    else this.#first = stream;
    this.#last = stream;
  }

  /** Removes the stream from the round robin. */
  remove(stream: Stream): void {
    if (!stream.isQueued) return;
    const { next, previous } = stream;
    if (previous) previous.next = next;
    else this.#first = next;
    if (next) next.previous = previous;
    else this.#last = previous;
    stream.next = stream.previous = undefined;
    stream.isQueued = false;
  }

  /** Writes DATA frames by round robin, until the windows, the flush or the queues are exhausted. */
  pump(): void {
    const { output } = this;
    while (this.window > 0 && !this.isBlocked && output.pending < flushBytesMax) {
      const stream = this.#first;
      if (!stream) return;
      this.remove(stream);
      const { queue } = stream;
      // A smaller SETTINGS_INITIAL_WINDOW_SIZE closed its window.
      if (!queue || queue.bytes === 0 || stream.sendWindow <= 0) continue;
      const chunk = queue.shift(Math.min(turnBytesMax, this.window, stream.sendWindow));
      stream.sendWindow -= chunk.length;
      this.window -= chunk.length;
      this.dataFrames++;
      this.dataBytes += chunk.length;
      output.data(stream.id, chunk, false);
      if (stream.needsDrain && queue.bytes <= this.backlogBytesMax >> 1) {
        stream.needsDrain = false;
        this.drained.push(stream);
      }
      if (queue.bytes > 0) {
        this.enqueue(stream);
        continue;
      }
      if (stream.isEnding) this.onQueueEnd(stream);
      if (stream.flushCalls) this.flushed.push(stream);
    }
  }
}
