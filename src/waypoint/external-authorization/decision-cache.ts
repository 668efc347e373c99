/**
 * Decisions that are kept for the time that a policy states. The key is all that the service was sent. Clients choose keys, so that the
 * number of decisions is bounded, and shared fairly: a client that makes up requests takes no place of another.
 */
import { createHash } from 'node:crypto';
import { FairLimit } from '../../base/fair-limit.js';
import type { Client } from '../listener/client.js';
import type { Call } from './asked-request.js';
import type { Decision } from './decision.js';

/** Decisions of a worker. */
const cachedDecisionsMax = 16_384;
/** Bytes of one decision; larger ones are not kept. */
const bytesMax = 4 << 10;
/** Decisions that one sweep looks at. */
const sweepSteps = 4_096;

interface Kept {
  readonly decision: Decision;
  readonly untilMs: number;
  readonly name: string;
  readonly group: string;
}

export class DecisionCache {
  readonly #kept = new Map<string, Kept>();
  readonly #shares: FairLimit;
  #cursor = this.#kept.entries();

  constructor(
    private readonly onFull: () => void,
    max = cachedDecisionsMax,
  ) {
    this.#shares = new FairLimit(max);
  }

  get size(): number {
    return this.#kept.size;
  }

  get(key: string, nowMs: number): Decision | undefined {
    const found = this.#kept.get(key);
    if (!found) return undefined;
    if (nowMs < found.untilMs) return found.decision;
    this.#delete(key, found);
    return undefined;
  }

  add(
    key: string,
    decision: Decision,
    untilMs: number,
    { name, group }: Pick<Client, 'name' | 'group'>,
  ): void {
    if (sizeOf(decision) > bytesMax) return;
    const before = this.#kept.get(key);
    if (before) this.#delete(key, before);
    if (this.#shares.take(name, group) !== undefined) return this.onFull();
    this.#kept.set(key, { decision, untilMs, name, group });
  }

  /** Drops decisions whose time is up. One call looks at a bounded number of them, the next one goes on from there. */
  sweep(nowMs: number): void {
    for (let step = 0; step < sweepSteps; step++) {
      const next = this.#cursor.next();
      if (next.done === true) {
        this.#cursor = this.#kept.entries();
        return;
      }
      const [key, kept] = next.value;
      if (nowMs >= kept.untilMs) this.#delete(key, kept);
    }
  }

  #delete(key: string, { name, group }: Kept): void {
    if (this.#kept.delete(key)) this.#shares.release(name, group);
  }
}

function sizeOf(decision: Decision): number {
  if (decision.kind === 'denied')
    return decision.body.length + decision.headers.reduce((sum, text) => sum + text.length, 0);
  let sum = 0;
  for (const { name, value } of [...decision.set, ...decision.responseHeaders])
    sum += name.length + value.length;
  for (const [name, value] of decision.parameters) sum += name.length + value.length;
  for (const name of [...decision.remove, ...decision.parametersToRemove]) sum += name.length;
  return sum;
}

/**
 * The key of a call: a digest of all that the service is sent. The client is part of it in any case, because the service may know the client
 * from somewhere else than the call.
 * @param scope names the policy's compiled form
 */
export function cacheKey(
  scope: string,
  { method, path, authority, headers, body }: Call,
  { name }: Pick<Client, 'name'>,
): string {
  const hash = createHash('sha256');
  const isGrpc = body !== undefined;
  hash.update(JSON.stringify([scope, name, method, path, authority, isGrpc ? [] : headers]));
  if (body) hash.update(body);
  return hash.digest('base64');
}
