import type { Endpoint } from '../endpoint.js';
import type { Balancer, RandomSource } from './balancer.js';
import { Weights } from './weights.js';

/** Chooses an endpoint at random, by weight. */
export class Random implements Balancer {
  constructor(
    private readonly weights: Weights = new Weights(undefined),
    private readonly random: RandomSource = Math.random,
  ) {}

  choose(endpoints: readonly Endpoint[]): Endpoint | undefined {
    return this.weights.areEven(endpoints)
      ? endpoints[Math.floor(this.random() * endpoints.length)]
      : this.weights.draw(endpoints, this.random);
  }
}
