/**
 * Shares of a limit, so that no client takes what others need. A client identity gets one more while it holds less than is free, its
 * namespace while it holds less than twice of what is free: alone an identity gets half of the limit and a namespace two thirds; the
 * more take part, the less each may hold, and something is always left for who comes next (dynamic thresholds as switches share their
 * buffers by: Choudhury and Hahne, 1998).
 */
import type { Client } from './client.js';

export class Shares {
  readonly #identities = new Map<string, number>();
  readonly #namespaces = new Map<string, number>();
  #total = 0;

  constructor(readonly max: number) {}

  get size(): number {
    return this.#total;
  }

  /** Undefined: taken, and to be released once. Else which limit it reached: all of it, or the client's share. */
  take(client: Client): 'all' | 'share' | undefined {
    const free = this.max - this.#total;
    if (free <= 0) return 'all';
    const identity = client.identity ?? '';
    const namespace = client.namespace ?? '';
    const ofIdentity = this.#identities.get(identity) ?? 0;
    const ofNamespace = this.#namespaces.get(namespace) ?? 0;
    if (ofIdentity >= free || ofNamespace >= 2 * free) return 'share';
    this.#identities.set(identity, ofIdentity + 1);
    this.#namespaces.set(namespace, ofNamespace + 1);
    this.#total++;
    return undefined;
  }

  release(client: Client): void {
    this.#total--;
    lower(this.#identities, client.identity ?? '');
    lower(this.#namespaces, client.namespace ?? '');
  }
}

function lower(counts: Map<string, number>, key: string): void {
  const left = (counts.get(key) ?? 1) - 1;
  if (left > 0) counts.set(key, left);
  else counts.delete(key);
}
