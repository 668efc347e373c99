/** Combines all that one turn of the event loop writes to a connection into one write, because the system call is the main cost. */
import type { Duplex } from 'node:stream';

/** Up to this size, parts are copied into one buffer. Larger writes use one writev without a copy, unless they consist of many small parts. */
const copiedBytesMax = 16 << 10;
const smallPartBytes = 512;

export class Outbox {
  #parts: (string | Buffer)[] = [];
  #bytes = 0;
  #scheduled = false;
  #ended = false;
  /** Bytes were written to the connection since this was last set to false. */
  hasWritten = false;

  constructor(
    private readonly stream: Duplex,
    private readonly backlogBytesMax: number,
  ) {}

  /** Queues text as Latin-1. */
  text(text: string): void {
    this.#parts.push(text);
    this.#bytes += text.length;
    this.#schedule();
  }

  bytes(bytes: Buffer): void {
    this.#parts.push(bytes);
    this.#bytes += bytes.length;
    this.#schedule();
  }

  /** Ends the connection's writable side after the queued bytes. */
  end(): void {
    this.#ended = true;
    this.#schedule();
  }

  /** More bytes are waiting than the backlog allows. */
  get full(): boolean {
    return this.#bytes + this.stream.writableLength > this.backlogBytesMax;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    process.nextTick(flush, this);
  }

  flush(): void {
    this.#scheduled = false;
    const { stream } = this;
    if (stream.destroyed || stream.writableEnded) {
      this.#parts = [];
      this.#bytes = 0;
      return;
    }
    if (this.#bytes > 0) {
      this.hasWritten = true;
      const parts = this.#parts;
      if (this.#bytes <= copiedBytesMax || this.#bytes < parts.length * smallPartBytes) {
        stream.write(
          parts.length === 1 && parts[0] instanceof Buffer ? parts[0] : joined(parts, this.#bytes),
        );
      } else {
        stream.cork();
        for (const part of parts) stream.write(typeof part === 'string' ? Buffer.from(part, 'latin1') : part);
        stream.uncork();
      }
      parts.length = 0;
      this.#bytes = 0;
    }
    if (this.#ended) stream.end();
  }
}

function flush(outbox: Outbox): void {
  outbox.flush();
}

function joined(parts: readonly (string | Buffer)[], size: number): Buffer {
  const all = Buffer.allocUnsafe(size);
  let at = 0;
  for (const part of parts) {
    if (typeof part === 'string') at += all.write(part, at, 'latin1');
    else at += part.copy(all, at);
  }
  return all;
}
