import { mix32 } from '../../../base/hash.js';
import type { Endpoint } from '../endpoint.js';
import { HashTable, type Named } from './hash-table.js';

/** A prime number. A larger table would stop the worker for too long when it is made. */
export const maglevSizeMax = 131_071;

/** The greatest weight of an endpoint, as a multiple of the smallest one. */
const weightRatioMax = 128;

/**
 * Consistent hashing by a table in which each endpoint has places in proportion to its weight (Envoy: MAGLEV; Eisenbud and others, "Maglev: A
 * Fast and Reliable Software Network Load Balancer", 2016).
 */
export class Maglev extends HashTable {
  /** An index into `#endpoints` for each place. */
  #table = new Int32Array(0);
  #endpoints: Endpoint[] = [];
  readonly #size: number;

  constructor(size: number, ...sources: ConstructorParameters<typeof HashTable>) {
    super(...sources);
    this.#size = primeUpTo(Math.min(size, maglevSizeMax));
  }

  get size(): number {
    return this.#size;
  }

  protected build(all: readonly Named[]): void {
    const size = this.#size;
    const count = all.length;
    const table = new Int32Array(size).fill(-1);
    const next = new Uint32Array(count);
    const skip = new Uint32Array(count);
    const weights = new Float64Array(count);
    const targets = new Float64Array(count);
    let most = 0;
    all.forEach(({ hash, endpoint }, i) => {
      next[i] = hash % size;
      skip[i] = (mix32(hash ^ 0x9e3779b9) % (size - 1)) + 1;
      weights[i] = endpoint.weight;
      most = Math.max(most, endpoint.weight);
    });
    // Bounds the number of turns.
    for (let i = 0; i < count; i++) weights[i] = Math.max(weights[i] as number, most / weightRatioMax);
    // Each turn, an endpoint takes the next free place of its permutation; one of a lower weight leaves turns out.
    let taken = 0;
    for (let turn = 1; taken < size; turn++) {
      for (let i = 0; i < count && taken < size; i++) {
        if (turn * (weights[i] as number) < (targets[i] as number)) continue;
        targets[i] = (targets[i] as number) + most;
        let place = next[i] as number;
        while ((table[place] as number) >= 0) place = (place + (skip[i] as number)) % size;
        table[place] = i;
        next[i] = (place + (skip[i] as number)) % size;
        taken++;
      }
    }
    this.#table = table;
    this.#endpoints = all.map(({ endpoint }) => endpoint);
  }

  protected at(hash: number, place: number): Endpoint | undefined {
    const key = place === 0 ? hash : mix32(hash + Math.imul(place, 0x9e3779b9));
    return this.#endpoints[this.#table[key % this.#size] ?? -1];
  }
}

/** The largest prime number up to this one, at least 3. */
function primeUpTo(max: number): number {
  for (let candidate = max; candidate > 3; candidate--) if (isPrime(candidate)) return candidate;
  return 3;
}

function isPrime(value: number): boolean {
  for (let i = 2; i * i <= value; i++) if (value % i === 0) return false;
  return true;
}
