/**
 * How long an endpoint asks its clients to wait, by the fields of a response. Pure. Endpoints may send any text: what cannot be read is as
 * if it was not there.
 */
import { headerOf, type Headers } from '../http/headers.js';

/** Values from here on are times since the epoch in seconds, shorter ones are seconds from now: `X-RateLimit-Reset` is used for both. */
const epochSecondsMin = 1_000_000_000;

/**
 * The time in milliseconds. The first field that can be read counts: `Retry-After` (RFC 9110, section 10.2.3), `RateLimit` (the IETF's draft,
 * in its form with `t` or with `reset`), `RateLimit-Reset`, `X-RateLimit-Reset`. A time beyond `msMax` is as if its field was not there, as in
 * Envoy: the next field counts. Undefined: no field says it.
 * @param nowMs by the wall clock
 */
export function retryAfterMs(headers: Headers, nowMs: number, msMax: number): number | undefined {
  for (const [name, read] of fields) {
    const value = headerOf(headers, name);
    if (value === undefined || value.length > valueLengthMax) continue;
    const ms = read(value.trim(), nowMs);
    if (ms !== undefined && ms <= msMax) return ms;
  }
  return undefined;
}

const valueLengthMax = 256;
type Read = (value: string, nowMs: number) => number | undefined;

const fields: readonly (readonly [string, Read])[] = [
  ['retry-after', (value, nowMs) => secondsOf(value) ?? dateOf(value, nowMs)],
  ['ratelimit', (value) => secondsOf(/(?:^|[;,]\s*)(?:t|reset)=(\d{1,15})(?=$|[;,\s])/.exec(value)?.[1])],
  ['ratelimit-reset', (value) => secondsOf(value)],
  ['x-ratelimit-reset', resetOf],
];

function secondsOf(value: string | undefined): number | undefined {
  return value !== undefined && /^\d{1,15}$/.test(value) ? Number(value) * 1000 : undefined;
}

/** An HTTP date in the form that is sent (RFC 9110, section 5.6.7: IMF-fixdate). A time that is over means: now. */
function dateOf(value: string, nowMs: number): number | undefined {
  if (!/^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(value)) return undefined;
  const atMs = Date.parse(value);
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - nowMs);
}

function resetOf(value: string, nowMs: number): number | undefined {
  const ms = secondsOf(value);
  if (ms === undefined || ms < epochSecondsMin * 1000) return ms;
  return Math.max(0, ms - nowMs);
}
