/** Reads the ClientHello of a connection before anything of it is sent on. */
import type { Duplex } from 'node:stream';
import { clientHelloOf, type ClientHello } from './client-hello.js';
import { LaterHello } from './later-hello.js';

const noBytes = Buffer.alloc(0);

/** The first bytes of a client, and what they say. */
export class FirstBytes {
  #wasRead = false;
  #hello: ClientHello | undefined;
  #later: LaterHello | undefined;

  /**
   * @param bytes those that were read before
   * @param timeoutMs for a ClientHello; 0: no limit
   */
  constructor(
    private readonly stream: Duplex,
    public bytes: Buffer,
    private readonly timeoutMs: number,
  ) {}

  /** Whether a ClientHello was looked for. */
  get wasRead(): boolean {
    return this.#wasRead;
  }
  /** The name that routes are chosen by. Empty: none was read. */
  get sni(): string {
    return this.#hello?.sni ?? '';
  }
  /** The name that policies are evaluated with. Undefined: none was read. */
  get serverName(): string | undefined {
    return this.#hello?.serverName;
  }

  /** Reads the ClientHello. The stream is paused then. False: the stream was destroyed meanwhile. */
  async read(): Promise<boolean> {
    this.#wasRead = true;
    const read = await readHello(this.stream, this.bytes, this.timeoutMs);
    this.bytes = read.bytes;
    this.#hello = read.hello;
    if (this.serverName !== undefined) this.#later = new LaterHello(this.bytes, this.serverName);
    return !this.stream.destroyed;
  }

  /** Checks the first bytes behind the ClientHello. Returns why the connection is forbidden; undefined: it is not. */
  checkRest(): string | undefined {
    return this.#later?.check(noBytes);
  }

  /** Checks bytes that follow, before they are sent on. Undefined: they need no check. */
  get check(): ((bytes: Buffer) => string | undefined) | undefined {
    const later = this.#later;
    return later && ((bytes) => later.check(bytes));
  }
}

interface Read {
  /** Undefined: the first bytes are no ClientHello, or it did not arrive in time. */
  readonly hello: ClientHello | undefined;
  readonly bytes: Buffer;
}

function readHello(stream: Duplex, first: Buffer, timeoutMs: number): Promise<Read> {
  return new Promise((resolve) => {
    let all = first;
    const finish = (hello?: ClientHello): void => {
      clearTimeout(timer);
      stream.removeListener('data', onData);
      stream.removeListener('end', end);
      stream.removeListener('close', end);
      stream.pause();
      resolve({ hello, bytes: all });
    };
    const decide = (): boolean => {
      const found = clientHelloOf(all);
      if (found === 'more') return false;
      finish(found);
      return true;
    };
    const end = (): void => finish();
    const onData = (bytes: Buffer): void => {
      all = all.length === 0 ? bytes : Buffer.concat([all, bytes]);
      decide();
    };
    const timer = timeoutMs > 0 ? setTimeout(end, timeoutMs) : undefined;
    timer?.unref();
    if (decide()) return;
    // The client may have ended its side during protocol detection: the stream does not emit `end` again.
    if (stream.readableEnded || stream.destroyed) return finish();
    stream.once('end', end);
    stream.once('close', end);
    stream.on('data', onData);
    stream.resume();
  });
}
