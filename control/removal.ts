/**
 * The way off the cluster, in stages. All replicas take each step at one moment, which the uninstall sets: nodes hear of it from several of
 * them. Between two steps there is time for what was begun under the former one.
 */
import { timerMsMax } from '../src/model/duration.js';
import type { Removal } from './compile/settings.js';

/** From the first word without tunnels to the release: what was dialed by tunnel has arrived by then. */
export const untunneledMs = 3_000;

export class RemovalStages {
  #stage: Removal = 'open';
  /** Of the two stages. */
  readonly #timers: [NodeJS.Timeout?, NodeJS.Timeout?] = [];

  constructor(private readonly onStage: () => void) {}

  get stage(): Removal {
    return this.#stage;
  }

  /** @param atMs epoch, of the release; a later call takes the place of an earlier one, a stage that has begun stays */
  releaseAt(atMs: number): void {
    this.#at(atMs - untunneledMs, 'untunneled', 0);
    this.#at(atMs, 'release', 1);
  }

  #at(atMs: number, stage: Removal, index: 0 | 1): void {
    // A longer timer would fire at once: by a clock that is ahead every pod would be released.
    const waitMs = Math.max(0, atMs - Date.now());
    clearTimeout(this.#timers[index]);
    this.#timers[index] = setTimeout(
      () => {
        if (waitMs > timerMsMax) return this.#at(atMs, stage, index);
        if (this.#stage === 'release' || this.#stage === stage) return;
        this.#stage = stage;
        this.onStage();
      },
      Math.min(waitMs, timerMsMax),
    ).unref();
  }
}
