/** A connection between two agents as a queue of messages. */
import net from 'node:net';
import { Lines } from './protocol.js';

export class Channel<Out, In> {
  #waiting: ((message: In | undefined) => void) | undefined;
  readonly #queue: In[] = [];
  #isClosed = false;

  constructor(readonly socket: net.Socket) {
    const lines = new Lines();
    socket.setEncoding('utf8');
    socket.on('error', () => socket.destroy());
    socket.on('data', (part: string) => {
      try {
        for (const line of lines.push(part)) this.#on(JSON.parse(line) as In);
      } catch {
        socket.destroy(); // the peer does not speak this protocol
      }
    });
    socket.on('close', () => {
      this.#isClosed = true;
      this.#waiting?.(undefined);
    });
    // The protocol needs both directions: a half-closed connection is of no use.
    socket.on('end', () => socket.destroy());
  }

  send(message: Out): void {
    if (!this.#isClosed) this.socket.write(`${JSON.stringify(message)}\n`);
  }

  /** The next message; undefined once the peer has closed, `'silent'` if no message came within `timeoutMs`. */
  async next(timeoutMs: number): Promise<In | undefined | 'silent'> {
    const queued = this.#queue.shift();
    if (queued !== undefined) return queued;
    if (this.#isClosed) return undefined;
    let timer: NodeJS.Timeout | undefined;
    const message = await new Promise<In | undefined | 'silent'>((resolve) => {
      this.#waiting = resolve;
      // After the event loop was blocked, timers run first. Two immediates let the loop process data and then closings that arrived
      // meanwhile.
      timer = setTimeout(() => setImmediate(() => setImmediate(() => resolve('silent'))), timeoutMs);
    });
    clearTimeout(timer);
    this.#waiting = undefined;
    return message;
  }

  close(): void {
    this.socket.end();
  }

  #on(message: In): void {
    if (this.#waiting) {
      const waiting = this.#waiting;
      this.#waiting = undefined;
      waiting(message);
    } else this.#queue.push(message);
  }
}

/** Connects to a Unix socket; undefined if nothing listens there. */
export function connectTo(path: string): Promise<net.Socket | undefined> {
  return new Promise((resolve) => {
    const socket = net.connect(path);
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      resolve(socket);
    });
    socket.once('error', () => {
      socket.destroy();
      resolve(undefined);
    });
  });
}
