/** Chooses a rule's backend and an endpoint of it. Pure, except that it reads the counts and the health of endpoints. */
import { createHash } from 'node:crypto';
import type { RouteBackend } from '../../model/route.js';
import type { Endpoint } from './endpoint.js';
import { isEjected } from './endpoint-health.js';

/** Chooses a backend by weight; undefined if all weights are 0. `random` in [0, 1). */
export function chooseBackend(backends: readonly RouteBackend[], random: number): RouteBackend | undefined {
  if (backends.length === 1) return backends[0]?.weight === 0 ? undefined : backends[0];
  let total = 0;
  for (const { weight } of backends) total += weight;
  let left = random * total;
  for (const backend of backends) {
    left -= backend.weight;
    if (left < 0) return backend;
  }
  return undefined;
}

export interface Tried {
  readonly endpoints: ReadonlySet<Endpoint>;
  /** Whether one of these may be chosen if there is no other endpoint. */
  readonly mayRepeat: boolean;
}

/**
 * Takes two endpoints at random and chooses the one with fewer requests under way. The two are taken from the best group that has any:
 * endpoints that are not ejected and were not tried; those that were tried; those that are ejected. If all are ejected, those with the fewest
 * failures are chosen from.
 */
export function chooseEndpoint(
  endpoints: readonly Endpoint[],
  tried: Tried | undefined,
  nowMs: number,
  random: () => number,
): Endpoint | undefined {
  const pool =
    tried === undefined && !isAnyEjected(endpoints, nowMs) ? endpoints : best(endpoints, tried, nowMs);
  const a = pool[Math.floor(random() * pool.length)];
  if (pool.length < 2) return a;
  const b = pool[Math.floor(random() * pool.length)];
  return a && b && b.active < a.active ? b : a;
}

function isAnyEjected(endpoints: readonly Endpoint[], nowMs: number): boolean {
  for (const { health } of endpoints) if (isEjected(health, nowMs)) return true;
  return false;
}

function best(endpoints: readonly Endpoint[], tried: Tried | undefined, nowMs: number): Endpoint[] {
  let found: Endpoint[] = [];
  let lowest = Infinity;
  for (const endpoint of endpoints) {
    const isTried = tried?.endpoints.has(endpoint) === true;
    if (isTried && !tried.mayRepeat) continue;
    const { health } = endpoint;
    const rank = (isEjected(health, nowMs) ? 2 * health.failures : 0) + (isTried ? 1 : 0);
    if (rank > lowest) continue;
    if (rank < lowest) found = [];
    lowest = rank;
    found.push(endpoint);
  }
  return found;
}

/** An opaque name of an endpoint for its clients: it reveals nothing about the endpoint. */
export function sessionToken(endpoint: Endpoint): string {
  let token = tokens.get(endpoint);
  if (token === undefined) {
    token = createHash('sha256').update(endpoint.key).digest('base64url').slice(0, 22);
    tokens.set(endpoint, token);
  }
  return token;
}
const tokens = new WeakMap<Endpoint, string>();
