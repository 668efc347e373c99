import type { Endpoint } from '../endpoint.js';
import type { Balancer, RandomSource } from './balancer.js';
import { Weights } from './weights.js';

/**
 * Takes some endpoints at random and chooses the one with the fewest requests under way (Envoy: LEAST_REQUEST). With weights, each is taken in
 * proportion to its weight, and its requests count in proportion to it too.
 */
export class LeastRequest implements Balancer {
  constructor(
    private readonly choices = 2,
    private readonly weights: Weights = new Weights(undefined),
    private readonly random: RandomSource = Math.random,
  ) {}

  choose(endpoints: readonly Endpoint[]): Endpoint | undefined {
    if (endpoints.length < 2) return endpoints[0];
    if (!this.weights.areEven(endpoints)) return this.#byWeight(endpoints);
    let best = this.#any(endpoints);
    for (let i = 1; i < this.choices; i++) {
      const other = this.#any(endpoints);
      if (best && other && other.active < best.active) best = other;
    }
    return best;
  }

  #any(endpoints: readonly Endpoint[]): Endpoint | undefined {
    return endpoints[Math.floor(this.random() * endpoints.length)];
  }

  #byWeight(endpoints: readonly Endpoint[]): Endpoint | undefined {
    const { weights } = this;
    let best = weights.draw(endpoints, this.random);
    for (let i = 1; i < this.choices; i++) {
      const other = weights.draw(endpoints, this.random);
      if (best && other && other.active * weights.of(best) < best.active * weights.of(other)) best = other;
    }
    return best;
  }
}
