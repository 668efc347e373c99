/** Gathers what one turn of the event loop writes to a connection into one write: a system call is what costs here. */
import type { Duplex } from 'node:stream';

/** Small writes are copied together; larger ones go as they are, in one writev, unless they are of many small parts. */
const copiedBytesMax = 16 << 10;
const smallPartBytes = 512;

export class Outbox {
  #parts: (string | Buffer)[] = [];
  #bytes = 0;
  #scheduled = false;
  #ended = false;
  /** Something was handed to the connection since this was last set to false. */
  hasWritten = false;

  constructor(
    private readonly stream: Duplex,
    private readonly backlogBytesMax: number,
  ) {}

  /** Latin-1. */
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

  /** Nothing follows. */
  end(): void {
    this.#ended = true;
    this.#schedule();
  }

  /** More waits than may wait. */
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
