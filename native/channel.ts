/** Packets and descriptors over a Unix socket of type SOCK_SEQPACKET (src/channel.cc). */
import {
  addon,
  bytes as packetBytes,
  integer,
  NativeError,
  refuse,
  run,
  text,
  type RawChannel,
} from './addon.js';

/** Limits of one packet. */
export const packetBytesMax = 128 * 1024;
export const packetDescriptorsMax = 64;

const errnos = { brokenPipe: 32, connectionReset: 104 };
const closed = new Set([errnos.brokenPipe, errnos.connectionReset]);

function closeAll(fds: readonly number[]): void {
  for (const fd of fds) run(() => addon().closeFd(fd));
}

/**
 * The client's end of a connection. Callbacks come from the event loop, never from within a call. The channel does not keep the event
 * loop alive.
 */
export class Channel {
  /** The callee owns the descriptors. */
  onPacket: (bytes: Buffer, fds: number[]) => void = (_, fds) => closeAll(fds);
  /** The packet that send() refused may be sent again. */
  onWritable: () => void = () => undefined;
  /** The channel ended, and close() was not called. Called once. All packets that the peer sent before were delivered. */
  onClosed: (why: string) => void = () => undefined;
  readonly #raw: RawChannel;
  #isOpen = true;

  constructor(path: string) {
    text(path, 'path');
    this.#raw = run(
      () =>
        new (addon().Channel)(
          path,
          (packets) => this.#deliver(packets),
          () => this.onWritable(),
          (why) => this.#end(why),
        ),
    );
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** The process that listens on the socket, in this process's PID namespace; 0 if it has none there. Error: NativeError. */
  get peerPid(): number {
    return run(() => this.#raw.peerPid());
  }

  /**
   * Sends one packet. False: nothing was sent, and onWritable or onClosed follows, unless the channel was closed before. The descriptors
   * stay the caller's. Error: NATIVE_ARGUMENT.
   */
  send(bytes: Uint8Array, fds: readonly number[] = []): boolean {
    const { length } = packetBytes(bytes, 'bytes');
    if (length === 0 || length > packetBytesMax) refuse(`bytes (1 to ${packetBytesMax})`);
    if (fds.length > packetDescriptorsMax) refuse(`fds (at most ${packetDescriptorsMax})`);
    for (const fd of fds) integer(fd, 0, 0x7fff_ffff, 'fd');
    if (!this.#isOpen) return false;
    try {
      return run(() => this.#raw.send(bytes, fds));
    } catch (error) {
      // If the peer is gone, the event loop says so after the packets that the peer sent before.
      if (error instanceof NativeError && closed.has(error.errno)) return false;
      this.#raw.close();
      const why = `cannot send: ${error instanceof Error ? error.message : String(error)}`;
      queueMicrotask(() => this.#end(why));
      return false;
    }
  }

  /** Whether the channel keeps the event loop alive. */
  keepAlive(on: boolean): void {
    this.#raw.keepAlive(on === true);
  }

  /** Idempotent. No callback follows. */
  close(): void {
    this.#isOpen = false;
    this.#raw.close();
  }

  #deliver(packets: readonly (readonly [bytes: Buffer, fds: number[]])[]): void {
    let done = 0;
    try {
      // The callee may close the channel.
      for (; this.#isOpen && done < packets.length; done++) {
        const [bytes, fds] = packets[done]!;
        this.onPacket(bytes, fds);
      }
    } catch (error) {
      // Later packets would be processed without this one.
      done++;
      this.close();
      throw error;
    } finally {
      for (const [, fds] of packets.slice(done)) closeAll(fds);
    }
  }

  #end(why: string): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.onClosed(why);
  }
}

/** Connects. Errors: NATIVE_NOT_FOUND (nothing at this path), NATIVE_SYSTEM (errno 111: nobody listens; 11: the listener is busy). */
export function connectChannel(path: string): Channel {
  return new Channel(path);
}
