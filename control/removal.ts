/**
 * The stages of an uninstall (compile/settings.ts). All replicas begin each stage at the same moment, which the uninstall sets, because
 * different nodes are connected to different replicas. Between two stages, connections that were opened in the former one can be completed.
 */
import { timerMsMax } from '../src/model/duration.js';
import type { Removal } from './compile/settings.js';

/** Time from the stage `untunneled` to the release. Tunnels that were dialed before are established by then. */
export const untunneledMs = 3_000;

export class RemovalStages {
  #stage: Removal = 'open';
  /** Timers of the stages `untunneled` and `release`. */
  readonly #timers: [NodeJS.Timeout?, NodeJS.Timeout?] = [];

  constructor(private readonly onStage: () => void) {}

  get stage(): Removal {
    return this.#stage;
  }

  /**
   * Schedules the two stages. A later call replaces an earlier one. A stage that has begun is not undone.
   * @param atMs time of the release, in milliseconds since the epoch
   */
  releaseAt(atMs: number): void {
    this.#at(atMs - untunneledMs, 'untunneled', 0);
    this.#at(atMs, 'release', 1);
  }

  #at(atMs: number, stage: Removal, index: 0 | 1): void {
    // A longer timeout would fire at once: a caller whose clock is far ahead would release every pod immediately.
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
