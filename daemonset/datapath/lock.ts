/**
 * A lock that one process of the machine can have, kept by the kernel: it is free once its holder has ended, however it ended. The agent
 * that has the lock of an instance is the only one that writes in the kernel for it.
 */
import { closeFd, lockFile, peerPid } from '../../native/index.js';

export { peerPid };

export class Lock {
  #fd: number | undefined;

  constructor(private readonly path: string) {}

  get isHeld(): boolean {
    return this.#fd !== undefined;
  }

  /** False where another process has it. Throws NativeError where that cannot be known. */
  tryTake(): boolean {
    this.#fd ??= lockFile(this.path);
    return this.isHeld;
  }

  release(): void {
    if (this.#fd === undefined) return;
    const fd = this.#fd;
    this.#fd = undefined;
    closeFd(fd);
  }
}
