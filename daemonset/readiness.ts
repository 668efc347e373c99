/** What the agent says of itself in its run directory, for `weft status` and the testbed. */
import { renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export class ReadyFile {
  readonly #path: string;
  #written = '';
  #last: object = {};

  constructor(
    private readonly run: string,
    private readonly onError: (error: unknown) => void,
  ) {
    this.#path = join(run, 'ready');
  }

  get last(): object {
    return this.#last;
  }

  /** Appears whole, and only where it says something else. It is a report: where it cannot be written, all else goes on. */
  write(state: object): void {
    this.#last = state;
    const text = JSON.stringify(state);
    if (text === this.#written) return;
    try {
      writeFileSync(`${this.#path}.new`, text);
      renameSync(`${this.#path}.new`, this.#path);
      this.#written = text;
    } catch (error) {
      this.onError(error);
    }
  }

  /** In an uninstall: removes the file, and its directory where that holds nothing else. */
  remove(): void {
    rmSync(this.#path, { force: true });
    rmSync(`${this.#path}.new`, { force: true });
    try {
      rmdirSync(this.run);
    } catch {
      // Somebody's files are in it, or it is mounted: it stays.
    }
  }
}

/**
 * For a probe that must tell this agent from another on the same node's network (native/ready): a file that is written again each second
 * while this agent is ready, and is not there otherwise.
 */
export class ReadyMark {
  readonly #path: string;

  /** Throws where what a former process of this container has left cannot be removed. */
  constructor(
    dir: string,
    private readonly onError: (error: unknown) => void,
  ) {
    this.#path = join(dir, 'ready');
    rmSync(this.#path, { force: true });
  }

  write(isReady: boolean): void {
    try {
      if (isReady) writeFileSync(this.#path, '');
      else rmSync(this.#path, { force: true });
    } catch (error) {
      this.onError(error);
    }
  }
}
