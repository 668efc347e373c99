/** A client of a test that writes its own bytes. */
import net from 'node:net';
import type { TestContext } from 'node:test';

/** A client whose bytes are all written by the test. */
export class RawClient {
  text = '';
  /** How the connection ended; undefined while it is open. */
  closed: 'end' | 'reset' | undefined;
  #changed: (() => void) | undefined;

  private constructor(readonly socket: net.Socket) {
    socket.on('data', (bytes: Buffer) => {
      this.text += bytes.toString('latin1');
      this.#changed?.();
    });
    socket.on('end', () => {
      this.closed ??= 'end';
      this.#changed?.();
    });
    socket.on('error', () => {
      this.closed = 'reset';
      this.#changed?.();
    });
  }

  static open(port: number): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = net.connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.removeListener('error', reject);
        resolve(new RawClient(socket));
      });
    });
  }

  write(text: string | Buffer): this {
    this.socket.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text);
    return this;
  }

  async until(holds: (text: string) => boolean, what = 'what was awaited'): Promise<string> {
    const end = Date.now() + 30_000;
    while (!holds(this.text)) {
      if (this.closed !== undefined)
        throw new Error(`closed (${this.closed}) ahead of ${what}; so far: ${this.text.slice(0, 500)}`);
      if (Date.now() > end) throw new Error(`${what} did not come; so far: ${this.text.slice(0, 500)}`);
      await this.#change();
    }
    return this.text;
  }

  async untilClosed(what = 'it'): Promise<'end' | 'reset'> {
    const end = Date.now() + 30_000;
    while (this.closed === undefined) {
      if (Date.now() > end) throw new Error(`${what} was not closed; so far: ${this.text.slice(0, 500)}`);
      await this.#change();
    }
    return this.closed;
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, 50);
      this.#changed = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** Writes data on a new connection and reads until the connection ends. */
export async function converse(t: TestContext, port: number, text: string): Promise<string> {
  const client = await RawClient.open(port);
  t.after(() => client.socket.destroy());
  client.write(text);
  await client.untilClosed();
  client.socket.destroy();
  return client.text;
}
