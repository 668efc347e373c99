/**
 * The common part of the balancers that map keys to endpoints by a table. A table is made of all endpoints of a level. The key of an endpoint
 * that may not be used goes to the next place of the table, so that ejections and retries move only the keys of their endpoint. All workers
 * and replicas make the same table, because it depends on nothing but the endpoints' names and weights.
 */
import { performance } from 'node:perf_hooks';
import { hash32, mix32 } from '../../../base/hash.js';
import type { Endpoint } from '../endpoint.js';
import type { Balancer, RandomSource } from './balancer.js';

/** Places of a table that are tried for one key. */
const placesMax = 1024;
/** A table is made again after this many times of the time that it took: tables take at most a twentieth of the worker's time. */
const restTimes = 20;

export interface Named {
  readonly endpoint: Endpoint;
  readonly hash: number;
}

export abstract class HashTable implements Balancer {
  /** The endpoints that the table is made of. */
  #of: readonly Endpoint[] | undefined;
  #nextBuildMs = 0;
  readonly #sets = new WeakMap<readonly Endpoint[], ReadonlySet<Endpoint>>();

  constructor(
    private readonly random: RandomSource = Math.random,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** Makes the table. `endpoints`: sorted. */
  protected abstract build(endpoints: readonly Named[]): void;
  /** The endpoint at a key's `place`: 0 is its first one. */
  protected abstract at(hash: number, place: number): Endpoint | undefined;

  choose(
    endpoints: readonly Endpoint[],
    hash?: number,
    members: readonly Endpoint[] = endpoints,
  ): Endpoint | undefined {
    if (endpoints.length < 2) return endpoints[0];
    // Without a key: any endpoint, as Envoy does.
    const key = hash ?? Math.floor(this.random() * 2 ** 32);
    if (this.#of !== members) this.#rebuild(members);
    const first = this.at(key, 0);
    if (endpoints === members && this.#of === members) return first;
    const usable = this.#setOf(endpoints);
    if (first && usable.has(first)) return first;
    for (let place = 1; place < placesMax; place++) {
      const one = this.at(key, place);
      if (one && usable.has(one)) return one;
    }
    return endpoints[mix32(key) % endpoints.length];
  }

  #rebuild(members: readonly Endpoint[]): void {
    const beganMs = this.now();
    if (beganMs < this.#nextBuildMs) return;
    this.build(members.map(named).sort(byHash));
    this.#of = members;
    const endMs = this.now();
    this.#nextBuildMs = endMs + restTimes * (endMs - beganMs);
  }

  #setOf(endpoints: readonly Endpoint[]): ReadonlySet<Endpoint> {
    let set = this.#sets.get(endpoints);
    if (!set) this.#sets.set(endpoints, (set = new Set(endpoints)));
    return set;
  }
}

/** The workload's name and the port: a pod of a StatefulSet gets its keys back after a restart. */
const nameOf = ({ workload, target }: Endpoint): string => `${workload.uid} ${target.port}`;

const named = (endpoint: Endpoint): Named => ({ endpoint, hash: hash32(nameOf(endpoint)) });

function byHash(a: Named, b: Named): number {
  if (a.hash !== b.hash) return a.hash - b.hash;
  return a.endpoint.key < b.endpoint.key ? -1 : 1;
}
