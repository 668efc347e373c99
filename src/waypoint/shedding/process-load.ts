/**
 * The load of a worker's process: the delay of its event loop, and its resident memory. Measured while some policy asks for it. The delay is
 * the mean of the last window, so that one long task, for instance of the garbage collector, sheds nothing.
 */
import { monitorEventLoopDelay, type IntervalHistogram } from 'node:perf_hooks';

const windowMs = 250;
const resolutionMs = 10;
/** Windows without a question, after which nothing is measured. */
const idleWindowsMax = 240;

/** What process-load reads, for tests. */
export interface LoadSource {
  rssBytes(): number;
}

export class ProcessLoad {
  #delayMs = 0;
  #rssBytes = 0;
  #histogram: IntervalHistogram | undefined;
  #timer: NodeJS.Timeout | undefined;
  #idleWindows = 0;

  constructor(private readonly source: LoadSource = { rssBytes: () => process.memoryUsage.rss() }) {}

  /** Mean delay of the event loop in the last window. */
  get delayMs(): number {
    this.#watch();
    return this.#delayMs;
  }

  get rssBytes(): number {
    this.#watch();
    return this.#rssBytes;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#histogram?.disable();
    this.#histogram = undefined;
    this.#delayMs = 0;
  }

  #watch(): void {
    this.#idleWindows = 0;
    if (this.#timer) return;
    this.#rssBytes = this.source.rssBytes();
    this.#histogram = monitorEventLoopDelay({ resolution: resolutionMs });
    this.#histogram.enable();
    this.#timer = setInterval(() => this.#read(), windowMs);
    this.#timer.unref();
  }

  #read(): void {
    if (++this.#idleWindows > idleWindowsMax) return this.stop();
    this.#rssBytes = this.source.rssBytes();
    const histogram = this.#histogram;
    if (!histogram) return;
    // The histogram has the time between two ticks, in nanoseconds. Without a tick in the window, the loop stood still for all of it.
    const betweenMs = histogram.count === 0 ? windowMs : histogram.mean / 1e6;
    this.#delayMs = Math.max(0, betweenMs - resolutionMs);
    histogram.reset();
  }
}
