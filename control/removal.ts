/**
 * The way off the cluster, in stages. All replicas take each step at one moment, which the uninstall sets: nodes hear of it from several of
 * them. Between two steps there is time for what was begun under the former one.
 */
import type { Removal } from './compile/compile.js';

/** From the first word without tunnels to the release: what was dialed by tunnel has arrived by then. */
export const untunneledMs = 3_000;

export class RemovalStages {
  #stage: Removal = 'open';
  #timers: readonly NodeJS.Timeout[] = [];

  constructor(private readonly onStage: () => void) {}

  get stage(): Removal {
    return this.#stage;
  }

  /** @param atMs epoch, of the release; a later call takes the place of an earlier one, a stage that has begun stays */
  releaseAt(atMs: number): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers = [this.#at(atMs - untunneledMs, 'untunneled'), this.#at(atMs, 'release')];
  }

  #at(atMs: number, stage: Removal): NodeJS.Timeout {
    const timer = setTimeout(
      () => {
        if (this.#stage === 'release' || this.#stage === stage) return;
        this.#stage = stage;
        this.onStage();
      },
      Math.max(0, atMs - Date.now()),
    );
    return timer.unref();
  }
}
