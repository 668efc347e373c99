/** Which backend of a rule, and which of its endpoints. Pure, but for the counts that endpoints carry themselves. */
import { createHash } from 'node:crypto';
import type { RouteBackend } from '../model/route.js';
import type { Endpoint } from './state.js';

/** By weight; undefined where all weights are 0. `random` in [0, 1). */
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

/**
 * Of two at random the one with fewer requests under way. Those that connections to just failed are left out while there are
 * others; `tried` are never chosen again.
 */
export function chooseEndpoint(
  endpoints: readonly Endpoint[],
  tried: ReadonlySet<Endpoint> | undefined,
  nowMs: number,
  random: () => number,
): Endpoint | undefined {
  if (endpoints.length === 1) return tried?.has(endpoints[0] as Endpoint) ? undefined : endpoints[0];
  let pool = endpoints;
  if (tried !== undefined || endpoints.some(({ awayUntilMs }) => awayUntilMs > nowMs)) {
    const left = tried ? endpoints.filter((one) => !tried.has(one)) : endpoints;
    const there = left.filter(({ awayUntilMs }) => awayUntilMs <= nowMs);
    pool = there.length > 0 ? there : left;
  }
  const a = pool[Math.floor(random() * pool.length)];
  const b = pool[Math.floor(random() * pool.length)];
  return a && b && b.active < a.active ? b : a;
}

const awayMsMin = 500;
const awayMsMax = 30_000;

export function connectFailed(endpoint: Endpoint, nowMs: number): void {
  endpoint.failures++;
  endpoint.awayUntilMs = nowMs + Math.min(awayMsMax, awayMsMin * 2 ** (endpoint.failures - 1));
}
export function connectSucceeded(endpoint: Endpoint): void {
  endpoint.failures = 0;
  endpoint.awayUntilMs = 0;
}

/** Names an endpoint to its clients without telling them anything of it. */
export function sessionToken(endpoint: Endpoint): string {
  let token = tokens.get(endpoint);
  if (token === undefined) {
    token = createHash('sha256').update(endpoint.key).digest('base64url').slice(0, 22);
    tokens.set(endpoint, token);
  }
  return token;
}
const tokens = new WeakMap<Endpoint, string>();
