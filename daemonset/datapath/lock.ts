/**
 * A lock that one process of the machine holds at a time. The kernel releases it when the holder exits, also when it is killed. Only the
 * agent that holds an instance's lock writes that instance's maps and hooks.
 */
import { closeFd, lockFile, peerPid } from '../../native/index.js';

export { peerPid };

export class Lock {
  #fd: number | undefined;

  constructor(private readonly path: string) {}

  get isHeld(): boolean {
    return this.#fd !== undefined;
  }

  /** False if another process holds the lock. Error: NativeError, the file cannot be opened or locked. */
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
