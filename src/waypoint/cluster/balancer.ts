/** Load balancers: each chooses one of the endpoints that a cluster offers (Envoy: load balancer). */
import type { Endpoint } from './endpoint.js';

export interface Balancer {
  /**
   * Chooses one of the endpoints; undefined only if there are none. `endpoints`: those that may be used now. While nothing about them
   * changes, it is the same array. `hash`: what the request is to be balanced by, of a policy that balances by a property of requests.
   */
  choose(endpoints: readonly Endpoint[], hash: number | undefined): Endpoint | undefined;
}

/** Takes two endpoints at random and chooses the one with fewer requests under way (Envoy: LEAST_REQUEST with 2 choices). */
export class LeastRequest implements Balancer {
  constructor(private readonly random: () => number = Math.random) {}

  choose(endpoints: readonly Endpoint[]): Endpoint | undefined {
    const a = endpoints[Math.floor(this.random() * endpoints.length)];
    if (endpoints.length < 2) return a;
    const b = endpoints[Math.floor(this.random() * endpoints.length)];
    return a && b && b.active < a.active ? b : a;
  }
}

/** Chooses each endpoint in turn. It begins at a random one, so that many waypoints and workers do not begin at the same. */
export class RoundRobin implements Balancer {
  #next: number;

  constructor(random: () => number = Math.random) {
    this.#next = Math.floor(random() * 0x7fff_ffff);
  }

  choose(endpoints: readonly Endpoint[]): Endpoint | undefined {
    this.#next = (this.#next + 1) % 0x7fff_ffff;
    return endpoints[this.#next % endpoints.length];
  }
}

/** Chooses an endpoint at random. */
export class Random implements Balancer {
  constructor(private readonly random: () => number = Math.random) {}

  choose(endpoints: readonly Endpoint[]): Endpoint | undefined {
    return endpoints[Math.floor(this.random() * endpoints.length)];
  }
}

export type BalancerKind = 'least-request' | 'round-robin' | 'random';

export function newBalancer(kind: BalancerKind): Balancer {
  switch (kind) {
    case 'least-request':
      return new LeastRequest();
    case 'round-robin':
      return new RoundRobin();
    case 'random':
      return new Random();
  }
}
