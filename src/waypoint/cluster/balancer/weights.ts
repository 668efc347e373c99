/**
 * The shares of endpoints: their weights, and slow start, by which the share of a new endpoint grows over a window (Envoy:
 * Cluster.SlowStartConfig).
 */
import { performance } from 'node:perf_hooks';
import type { Endpoint } from '../endpoint.js';
import type { RandomSource } from './balancer.js';

export interface SlowStartConfig {
  readonly windowMs: number;
  /** 1: the share grows linearly. Above 1 it grows faster at first. */
  readonly aggression: number;
  readonly minWeightPercent: number;
}

/** Endpoints that are drawn by rejection before all weights are added up. */
const drawsMax = 16;

/** The part of its weight that an endpoint has after some time, by Envoy's formula. */
export function slowStartFactor(sinceMs: number, config: SlowStartConfig): number {
  const { windowMs, aggression, minWeightPercent } = config;
  if (sinceMs >= windowMs) return 1;
  const passed = Math.max(sinceMs, 1) / windowMs;
  return Math.max(minWeightPercent / 100, aggression === 1 ? passed : passed ** (1 / aggression));
}

export class Weights {
  /** The endpoints that the next fields are of. */
  #of: readonly Endpoint[] | undefined;
  #isEven = true;
  #max = 1;
  /** The weights added up. */
  #sums: Float64Array | undefined;
  /** From this time on none of the endpoints is in slow start. */
  #warmMs = 0;
  #nowMs = 0;

  constructor(
    private readonly slowStart: SlowStartConfig | undefined,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** Whether all have the same share now. Called before `of` and `draw`, for the same endpoints: it reads the clock for them. */
  areEven(endpoints: readonly Endpoint[]): boolean {
    if (endpoints !== this.#of) this.#read(endpoints);
    if (this.#warmMs === 0) return this.#isEven;
    this.#nowMs = this.now();
    if (this.#nowMs < this.#warmMs) return false;
    this.#warmMs = 0;
    return this.#isEven;
  }

  /** The weight of an endpoint now. */
  of(endpoint: Endpoint): number {
    if (!this.slowStart || this.#warmMs === 0) return endpoint.weight;
    return endpoint.weight * slowStartFactor(this.#nowMs - endpoint.warmingSinceMs, this.slowStart);
  }

  /** Draws an endpoint at random, each in proportion to its weight now. */
  draw(endpoints: readonly Endpoint[], random: RandomSource): Endpoint | undefined {
    if (this.#warmMs === 0) return this.#drawBySums(endpoints, random);
    // Weights change all the time in slow start, so no sums are kept: endpoints are drawn by rejection.
    for (let i = 0; i < drawsMax; i++) {
      const one = endpoints[Math.floor(random() * endpoints.length)];
      if (!one || random() * this.#max < this.of(one)) return one;
    }
    let sum = 0;
    for (const one of endpoints) sum += this.of(one);
    let left = random() * sum;
    for (const one of endpoints) {
      left -= this.of(one);
      if (left < 0) return one;
    }
    return endpoints.at(-1);
  }

  #drawBySums(endpoints: readonly Endpoint[], random: RandomSource): Endpoint | undefined {
    if (this.#sums === undefined) {
      let sum = 0;
      this.#sums = Float64Array.from(endpoints, ({ weight }) => (sum += weight));
    }
    const sums = this.#sums;
    const part = random() * (sums.at(-1) ?? 0);
    let low = 0;
    let high = sums.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((sums[middle] ?? 0) <= part) low = middle + 1;
      else high = middle;
    }
    return endpoints[low];
  }

  #read(endpoints: readonly Endpoint[]): void {
    this.#of = endpoints;
    this.#sums = undefined;
    const first = endpoints[0]?.weight ?? 1;
    this.#isEven = true;
    this.#max = first;
    let warmMs = 0;
    for (const { weight, warmingSinceMs } of endpoints) {
      if (weight !== first) this.#isEven = false;
      if (weight > this.#max) this.#max = weight;
      if (this.slowStart) warmMs = Math.max(warmMs, warmingSinceMs + this.slowStart.windowMs);
    }
    this.#warmMs = warmMs > this.now() ? warmMs : 0;
  }
}
