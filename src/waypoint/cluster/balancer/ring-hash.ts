import { mix32 } from '../../../base/hash.js';
import type { Endpoint } from '../endpoint.js';
import { HashTable, type Named } from './hash-table.js';

/** Points of one ring. More would stop the worker for too long when a ring is made. */
export const ringPointsMax = 1 << 17;

const pointRange = 2 ** 21;

/**
 * Consistent hashing on a ring (Envoy: RING_HASH, ketama). Each endpoint has points on the ring, in proportion to its weight. A key goes to
 * the next point.
 */
export class RingHash extends HashTable {
  /** Positions of the points, ascending. */
  #positions = new Uint32Array(0);
  #endpoints: Endpoint[] = [];

  constructor(
    private readonly sizeMin: number,
    private readonly sizeMax: number,
    ...sources: ConstructorParameters<typeof HashTable>
  ) {
    super(...sources);
  }

  /** Number of points. */
  get size(): number {
    return this.#positions.length;
  }

  /** The number of points for each endpoint is computed as Envoy does. */
  protected build(all: readonly Named[]): void {
    let sum = 0;
    let least = Infinity;
    for (const { endpoint } of all) {
      sum += endpoint.weight;
      least = Math.min(least, endpoint.weight);
    }
    const sizeMax = Math.max(all.length, Math.min(this.sizeMax, ringPointsMax));
    const part = least / sum;
    const scale = Math.min(Math.ceil(part * Math.min(this.sizeMin, sizeMax)) / part, sizeMax);
    // Position and endpoint in one number, so that the engine sorts numbers.
    const points = new Float64Array(Math.ceil(scale) + all.length);
    let size = 0;
    let target = 0;
    for (let index = 0; index < all.length; index++) {
      const { endpoint, hash } = all[index] as Named;
      target += (scale * endpoint.weight) / sum;
      for (let i = 1; size < target; i++) points[size++] = mix32(hash ^ mix32(i)) * pointRange + index;
    }
    const sorted = points.subarray(0, size).sort();
    const positions = new Uint32Array(size);
    const endpoints = new Array<Endpoint>(size);
    for (let i = 0; i < size; i++) {
      const point = sorted[i] as number;
      const position = Math.floor(point / pointRange);
      positions[i] = position;
      endpoints[i] = (all[point - position * pointRange] as Named).endpoint;
    }
    this.#positions = positions;
    this.#endpoints = endpoints;
  }

  protected at(hash: number, place: number): Endpoint | undefined {
    const positions = this.#positions;
    let low = 0;
    let high = positions.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((positions[middle] ?? 0) < hash) low = middle + 1;
      else high = middle;
    }
    return this.#endpoints[(low + place) % positions.length];
  }
}
