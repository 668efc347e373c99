/**
 * A limit of requests under way that adapts to the latency of responses (Envoy: adaptive concurrency, gradient controller). From time to time
 * the limit is lowered to a minimum, to measure the latency without load (minRTT). In between, the limit rises while latencies stay near
 * that, and falls when they grow. Times are by one monotonic clock. No timers: each request advances the state.
 */
import type { AdaptiveConcurrency } from '../../discovery/gen/weft.js';

/** Latencies of one window that are kept. Of more, each has the same chance to be kept. */
const samplesMax = 1024;
/** Windows in a row at the minimum after which the latency without load is measured again, because it may be wrong. */
const minimumsMax = 5;
/**
 * Time for which requests are refused because the latency without load is being measured. Envoy has no such limit: there, requests that stay
 * open for long, for instance watches, refuse all others until enough of them have ended.
 */
const measuringMsMax = 2_000;

export interface ControllerState {
  readonly limit: number;
  readonly outstanding: number;
  readonly minRttMs: number;
  readonly sampleRttMs: number;
  readonly gradient: number;
  readonly headroom: number;
  readonly isMeasuring: boolean;
  readonly blocked: number;
}

export class GradientController {
  #limit: number;
  #outstanding = 0;
  #minRttMs = 0;
  #sampleRttMs = 0;
  #gradient = 0;
  #headroom = 0;
  #blocked = 0;
  /** The limit to return to after minRTT was measured; undefined: it is not being measured. */
  #deferred: number | undefined;
  /** Requests that began before this time belong to an earlier window. */
  #epochMs: number;
  #nextMinRttMs = Infinity;
  #nextUpdateMs = 0;
  #minimums = 0;
  readonly #samples = new Float64Array(samplesMax);
  #seen = 0;

  constructor(
    private config: AdaptiveConcurrency,
    nowMs: number,
    private readonly random: () => number = Math.random,
  ) {
    this.#limit = config.minConcurrency;
    this.#deferred = config.minConcurrency;
    this.#epochMs = nowMs;
  }

  get state(): ControllerState {
    return {
      limit: this.#limit,
      outstanding: this.#outstanding,
      minRttMs: this.#minRttMs,
      sampleRttMs: this.#sampleRttMs,
      gradient: this.#gradient,
      headroom: this.#headroom,
      isMeasuring: this.#deferred !== undefined,
      blocked: this.#blocked,
    };
  }

  /** Applies another configuration. Requests under way and what was measured stay. */
  configure(config: AdaptiveConcurrency): void {
    if (config === this.config) return;
    const before = this.config;
    this.config = config;
    if (this.#deferred === undefined) this.#limit = this.#clamped(this.#limit);
    else {
      this.#deferred = this.#clamped(this.#deferred);
      this.#limit = config.minConcurrency;
    }
    // A shorter interval does not wait for the end of a longer one.
    if (config.minRttIntervalMs < before.minRttIntervalMs && this.#nextMinRttMs !== Infinity)
      this.#nextMinRttMs = Math.min(this.#nextMinRttMs, this.#epochMs + config.minRttIntervalMs);
  }

  /** Whether a request may go on now. Counts nothing but refusals. */
  admits(nowMs: number): boolean {
    this.#advance(nowMs);
    if (this.#outstanding < this.#limit) return true;
    if (this.#deferred !== undefined && nowMs - this.#epochMs > measuringMsMax) {
      this.#endMeasuring(this.#deferred, nowMs);
      if (this.#outstanding < this.#limit) return true;
    }
    this.#blocked++;
    return false;
  }

  /** Counts a request that goes on. The caller ends it once, by `record` or `cancel`. */
  begin(): void {
    this.#outstanding++;
  }

  /** A request has ended with a response, or by its timeout. */
  record(beganMs: number, nowMs: number): void {
    this.#outstanding--;
    if (beganMs < this.#epochMs) return;
    this.#keep(Math.max(0.001, nowMs - beganMs));
    if (this.#deferred !== undefined && this.#seen >= this.config.minRttRequests)
      this.#endMeasuring(this.#deferred, nowMs);
    else this.#advance(nowMs);
  }

  /** A request has ended without a latency that says something about the endpoints. */
  cancel(): void {
    this.#outstanding--;
  }

  /** Ends the intervals that are over. */
  #advance(nowMs: number): void {
    if (this.#deferred !== undefined) return;
    if (nowMs >= this.#nextMinRttMs) return this.#beginMeasuring(nowMs);
    if (nowMs < this.#nextUpdateMs) return;
    this.#nextUpdateMs = nowMs + this.config.updateIntervalMs;
    if (this.#seen === 0) return;
    this.#sampleRttMs = this.#percentile();
    // No latency could be measured without load yet.
    this.#minRttMs ||= this.#sampleRttMs;
    this.#setLimit(this.#nextLimit());
    if (this.#minimums >= minimumsMax) this.#beginMeasuring(nowMs);
  }

  #beginMeasuring(nowMs: number): void {
    this.#deferred = this.#limit;
    this.#limit = this.config.minConcurrency;
    this.#minimums = 0;
    this.#seen = 0;
    this.#epochMs = nowMs;
  }

  #endMeasuring(limit: number, nowMs: number): void {
    const { minRttIntervalMs, jitterPercent, updateIntervalMs } = this.config;
    if (this.#seen > 0) this.#minRttMs = this.#percentile();
    this.#deferred = undefined;
    this.#limit = limit;
    this.#minimums = 0;
    this.#nextMinRttMs = nowMs + minRttIntervalMs * (1 + (this.random() * jitterPercent) / 100);
    this.#nextUpdateMs = nowMs + updateIntervalMs;
  }

  #nextLimit(): number {
    const allowedMs = this.#minRttMs * (1 + this.config.bufferPercent / 100);
    this.#gradient = Math.max(0.5, Math.min(2, allowedMs / this.#sampleRttMs));
    const limit = this.#limit * this.#gradient;
    this.#headroom = Math.sqrt(limit);
    return this.#clamped(Math.floor(limit + this.#headroom));
  }

  #clamped(limit: number): number {
    const { minConcurrency, concurrencyMax } = this.config;
    return Math.max(minConcurrency, Math.min(concurrencyMax, limit));
  }

  #setLimit(limit: number): void {
    const { minConcurrency } = this.config;
    this.#minimums = this.#limit === minConcurrency && limit === minConcurrency ? this.#minimums + 1 : 0;
    this.#limit = limit;
  }

  #keep(ms: number): void {
    const at = this.#seen < samplesMax ? this.#seen : Math.floor(this.random() * (this.#seen + 1));
    if (at < samplesMax) this.#samples[at] = ms;
    this.#seen++;
  }

  /** The percentile of the kept latencies, which are then forgotten. */
  #percentile(): number {
    const kept = this.#samples.subarray(0, Math.min(this.#seen, samplesMax)).sort();
    this.#seen = 0;
    const at = Math.ceil((kept.length * this.config.samplePercentile) / 100) - 1;
    return kept[Math.max(0, at)] ?? 0;
  }
}
