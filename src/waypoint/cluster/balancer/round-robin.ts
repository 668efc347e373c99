import type { Endpoint } from '../endpoint.js';
import type { Balancer, RandomSource } from './balancer.js';
import { Weights } from './weights.js';

/**
 * Chooses each endpoint in turn; with weights, by earliest deadline first, as Envoy does. It begins at a random one, so that many waypoints
 * and workers do not begin at the same.
 */
export class RoundRobin implements Balancer {
  #next: number;
  /** The endpoints of the schedule. */
  #scheduled: readonly Endpoint[] | undefined;
  /** Endpoints that were seen once without a schedule. A retry has endpoints of its own, which are not worth a schedule. */
  #seen: readonly Endpoint[] | undefined;
  /** A heap of indexes, the earliest deadline first. */
  #heap = new Int32Array(0);
  #deadlines = new Float64Array(0);

  constructor(
    private readonly weights: Weights = new Weights(undefined),
    private readonly random: RandomSource = Math.random,
  ) {
    this.#next = Math.floor(random() * 0x7fff_ffff);
  }

  choose(endpoints: readonly Endpoint[]): Endpoint | undefined {
    if (!this.weights.areEven(endpoints)) return this.#byDeadline(endpoints);
    this.#next = (this.#next + 1) % 0x7fff_ffff;
    return endpoints[this.#next % endpoints.length];
  }

  #byDeadline(endpoints: readonly Endpoint[]): Endpoint | undefined {
    if (this.#scheduled !== endpoints) {
      if (this.#seen !== endpoints) {
        this.#seen = endpoints;
        return this.weights.draw(endpoints, this.random);
      }
      this.#schedule(endpoints);
    }
    const first = this.#heap[0] ?? 0;
    const endpoint = endpoints[first];
    if (!endpoint) return undefined;
    this.#deadlines[first] = (this.#deadlines[first] ?? 0) + 1 / this.weights.of(endpoint);
    this.#sink(0);
    return endpoint;
  }

  /** Deadlines begin at random within the first turn of each endpoint. */
  #schedule(endpoints: readonly Endpoint[]): void {
    this.#scheduled = endpoints;
    this.#heap = Int32Array.from(endpoints, (_, i) => i);
    this.#deadlines = Float64Array.from(endpoints, (one) => this.random() / this.weights.of(one));
    for (let i = (endpoints.length >> 1) - 1; i >= 0; i--) this.#sink(i);
  }

  #sink(from: number): void {
    const heap = this.#heap;
    const deadlines = this.#deadlines;
    const item = heap[from] ?? 0;
    const deadline = deadlines[item] ?? 0;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      const right = child + 1;
      if (right < heap.length && at0(deadlines, heap, right) < at0(deadlines, heap, child)) child = right;
      if (at0(deadlines, heap, child) >= deadline) break;
      heap[at] = heap[child] ?? 0;
      at = child;
    }
    heap[at] = item;
  }
}

const at0 = (deadlines: Float64Array, heap: Int32Array, at: number): number => deadlines[heap[at] ?? 0] ?? 0;
