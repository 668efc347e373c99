/**
 * A lock that one process of the machine holds at a time. The kernel releases it when its holder ends, however it ends. Only the agent that
 * holds an instance's lock writes in the kernel for that instance.
 */
import { closeFd, lockFile, peerPid } from '../../native/index.js';

export { peerPid };

export class Lock {
  #fd: number | undefined;

  constructor(private readonly path: string) {}

  get isHeld(): boolean {
    return this.#fd !== undefined;
  }

  /** False where another process holds it. Error: NativeError, the file cannot be opened or locked. */
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
