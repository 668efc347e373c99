import { performance } from 'node:perf_hooks';
import type { Endpoint } from '../endpoint.js';
import type { Outcome } from '../outcome.js';
import type { Balancer, RandomSource } from './balancer.js';
import { Weights } from './weights.js';

/** The cost of an endpoint that has requests under way and has not responded yet (Finagle: Penalty). */
const penalty = 2 ** 47;

/**
 * Takes two endpoints at random and chooses the one with the lower cost: its latency times its requests under way (Finagle's and Linkerd's
 * peak EWMA). The latency is a moving average that a slower response raises at once, and faster ones lower over the decay time.
 */
export class PeakEwma implements Balancer {
  constructor(
    private readonly decayMs: number,
    private readonly weights: Weights = new Weights(undefined),
    private readonly random: RandomSource = Math.random,
    private readonly now: () => number = () => performance.now(),
  ) {}

  choose(endpoints: readonly Endpoint[]): Endpoint | undefined {
    const { weights, random } = this;
    if (endpoints.length < 2) return endpoints[0];
    const isEven = weights.areEven(endpoints);
    const a = isEven ? any(endpoints, random) : weights.draw(endpoints, random);
    const b = isEven ? any(endpoints, random) : weights.draw(endpoints, random);
    if (!a || !b || a === b) return a;
    const nowMs = this.now();
    return this.#cost(b, nowMs) * weights.of(a) < this.#cost(a, nowMs) * weights.of(b) ? b : a;
  }

  /** An attempt has ended. A failure never lowers the latency: an endpoint that fails fast must not attract requests. */
  observe(endpoint: Endpoint, outcome: Outcome, latencyMs: number): void {
    if (outcome === 'connected' || outcome === 'overflow') return;
    const nowMs = this.now();
    const known = endpoint.latencyMs;
    const isFailure = typeof outcome === 'string' || outcome >= 500;
    if (isFailure && latencyMs <= known) return;
    const kept = Math.exp(-(nowMs - endpoint.latencyAtMs) / this.decayMs);
    endpoint.latencyMs = latencyMs > known ? latencyMs : known * kept + latencyMs * (1 - kept);
    endpoint.latencyAtMs = nowMs;
  }

  /** The cost decays while nothing is observed, so that a slow endpoint is tried again. */
  #cost(endpoint: Endpoint, nowMs: number): number {
    const { latencyMs, active } = endpoint;
    if (latencyMs === 0) return active === 0 ? 0 : penalty + active;
    return latencyMs * Math.exp(-(nowMs - endpoint.latencyAtMs) / this.decayMs) * (active + 1);
  }
}

const any = (endpoints: readonly Endpoint[], random: RandomSource): Endpoint | undefined =>
  endpoints[Math.floor(random() * endpoints.length)];
