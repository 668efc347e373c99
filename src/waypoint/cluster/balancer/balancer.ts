/** What a load balancer is: it chooses one of the endpoints that a cluster offers (Envoy: load balancer). One object for each level. */
import type { Endpoint } from '../endpoint.js';
import type { Outcome } from '../outcome.js';

export interface Balancer {
  /**
   * Chooses one of the endpoints; undefined only if there are none.
   * @param endpoints those that may be used now. While nothing about them changes, it is the same array. A retry passes an array of its own
   * @param hash what the request is to be balanced by, of a policy that balances by a property of requests
   * @param members all endpoints of the level, the same array until one is added or removed. Hash tables are made of them, so that the state
   * of one endpoint does not move the keys of others
   */
  choose(
    endpoints: readonly Endpoint[],
    hash: number | undefined,
    members?: readonly Endpoint[],
  ): Endpoint | undefined;
}

/** Observes how attempts end. */
export type Observe = (endpoint: Endpoint, outcome: Outcome, latencyMs: number) => void;

/** In [0, 1). */
export type RandomSource = () => number;
