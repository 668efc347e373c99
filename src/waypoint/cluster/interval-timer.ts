/** One timer for all periodic work of a worker's clusters. */
import { performance } from 'node:perf_hooks';

export interface PeriodicWork {
  /** When it is to run next, by the monotonic clock. */
  readonly dueMs: number;
  /** Runs it. `dueMs` must be later than `nowMs` afterwards. */
  run(nowMs: number): void;
}

/** Work is run together: at most once in this time. */
const gridMs = 100;

export class IntervalTimer {
  readonly #work = new Set<PeriodicWork>();
  #timer: NodeJS.Timeout | undefined;
  #timerDueMs = Infinity;

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** Adds work, or notices that its `dueMs` is another. */
  add(work: PeriodicWork): void {
    this.#work.add(work);
    if (work.dueMs < this.#timerDueMs) this.#arm(work.dueMs);
  }

  remove(work: PeriodicWork): void {
    this.#work.delete(work);
    if (this.#work.size === 0) this.close();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerDueMs = Infinity;
  }

  #arm(dueMs: number): void {
    clearTimeout(this.#timer);
    this.#timerDueMs = dueMs;
    this.#timer = setTimeout(() => this.#run(), Math.max(0, dueMs - this.now()));
    this.#timer.unref();
  }

  #run(): void {
    const nowMs = this.now();
    let nextMs = Infinity;
    for (const work of this.#work) {
      if (work.dueMs <= nowMs) work.run(nowMs);
      nextMs = Math.min(nextMs, work.dueMs);
    }
    this.close();
    if (nextMs < Infinity) this.#arm(Math.max(nextMs, nowMs + gridMs));
  }
}
