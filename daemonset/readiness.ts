/** The agent's state in its run directory, for `weft status` and the testbed. */
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

  /** Writes the file if the state has changed; the file appears whole. An error does not stop the agent: the file is only a report. */
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

  /** For an uninstall: removes the file, and its directory if nothing else is in it. */
  remove(): void {
    rmSync(this.#path, { force: true });
    rmSync(`${this.#path}.new`, { force: true });
    try {
      rmdirSync(this.run);
    } catch {
      // The directory holds other files or is a mount point: it stays.
    }
  }
}

/**
 * For a probe that must tell this agent from another on the same node's network (native/ready): a file that is rewritten each second while
 * this agent is ready, and that does not exist otherwise.
 */
export class ReadyMark {
  readonly #path: string;

  /** Throws if the file of a previous process of this container cannot be removed. */
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
