/**
 * The way off the cluster, in stages. All replicas take each step at one moment, which the uninstall sets: nodes hear of it from several of
 * them. Between two steps there is time for what was begun under the former one.
 */
import type { Removal } from './compile/compile.js';

/** From the first word without tunnels to the release: what was dialed by tunnel has arrived by then. */
export const untunneledMs = 3_000;

/** Node takes a longer one for none: by a clock that is ahead every pod would be released at once. */
const timerMsMax = 2 ** 31 - 1;

export class RemovalStages {
  #stage: Removal = 'open';

  constructor(private readonly onStage: () => void) {}

  get stage(): Removal {
    return this.#stage;
  }

  /** @param atMs epoch, of the release; said once, or again where the moment has changed */
  releaseAt(atMs: number): void {
    this.#at(atMs - untunneledMs, 'untunneled');
    this.#at(atMs, 'release');
  }

  #at(atMs: number, stage: Removal): void {
    const waitMs = Math.max(0, atMs - Date.now());
    setTimeout(
      () => {
        if (waitMs > timerMsMax) return this.#at(atMs, stage);
        if (this.#stage === 'release') return;
        this.#stage = stage;
        this.onStage();
      },
      Math.min(waitMs, timerMsMax),
    ).unref();
  }
}
