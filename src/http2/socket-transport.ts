import type { Duplex } from 'node:stream';
import { errorText } from '../base/errors.js';
import type { Transport, TransportListener } from './http2.js';

/**
 * Bytes in the socket's own buffer from which `write` returns false, at least; the socket's high-water mark (16 or 64 KiB by default) would
 * stop every larger write although the kernel has taken it. `drain` follows, since it is above that mark.
 */
const backlogBytesMin = 256 << 10;

/** A socket (net.Socket, tls.TLSSocket or any Duplex of bytes) as a transport. The socket belongs to it from now on. */
export class SocketTransport implements Transport {
  listener: TransportListener | undefined = undefined;
  readonly depth = 0;
  #why: string | undefined;
  #isEnded = false;

  constructor(readonly socket: Duplex) {
    socket.on('data', (bytes: Buffer) => this.listener?.onData(bytes));
    socket.on('drain', () => this.listener?.onDrain());
    socket.on('end', () => this.listener?.onEnd());
    socket.on('error', (error) => {
      this.#why ??= errorText(error);
    });
    socket.on('close', () => {
      const { listener } = this;
      this.listener = undefined;
      listener?.onClose(this.#why);
    });
  }

  get isOpen(): boolean {
    return !this.#isEnded && !this.socket.destroyed && this.socket.writable;
  }

  write(buffers: readonly Buffer[]): boolean {
    const { socket } = this;
    if (this.#isEnded || socket.destroyed) return true;
    if (buffers.length === 1) socket.write(buffers[0] as Buffer);
    else {
      socket.cork();
      for (let i = 0; i < buffers.length; i++) socket.write(buffers[i] as Buffer);
      socket.uncork();
    }
    return socket.writableLength < Math.max(backlogBytesMin, socket.writableHighWaterMark);
  }

  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.socket.end();
  }

  destroy(): void {
    this.#isEnded = true;
    this.socket.destroy();
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }
}
