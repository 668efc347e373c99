/**
 * Session persistence: finds the endpoint that a client's cookie or header names, and names the endpoint in the response. The waypoint keeps
 * no state: the token contains when the session began and when it was last used. The token is not signed, because it grants nothing: a client
 * that changes it only chooses among the rule's endpoints for its own requests.
 */
import { createHash } from 'node:crypto';
import type { RouteBackend, RouteRule, SessionPersistence } from '../../model/route.js';
import type { Headers } from '../http/headers.js';
import type { ClusterManager } from '../cluster/cluster-manager.js';
import type { Endpoint } from '../cluster/endpoint.js';

export interface Session {
  readonly backend: RouteBackend;
  readonly endpoint: Endpoint;
  /** Start of the session, by the wall clock; undefined if the rule has no timeout. */
  readonly issuedMs: number | undefined;
}

interface Token {
  readonly endpoint: string;
  readonly issuedMs: number | undefined;
  readonly usedMs: number | undefined;
}

/** Clocks of replicas differ by less than this; a time further in the future was not written by a replica. */
const clockSkewMsMax = 60_000;
/** Tokens of one request: each is looked up among all endpoints. A request may have a few cookies of one name, by path and domain. */
const tokensMax = 4;
const tokenPattern = /^([\w-]{22})(?:\.([0-9a-z]{1,9})\.([0-9a-z]{1,9}))?$/;

function parseToken(text: string): Token | undefined {
  const [, endpoint, issued, used] = tokenPattern.exec(text) ?? [];
  if (endpoint === undefined) return undefined;
  const time = (base36: string | undefined): number | undefined =>
    base36 === undefined ? undefined : parseInt(base36, 36);
  return { endpoint, issuedMs: time(issued), usedMs: time(used) };
}

/** Pure. Whether a session is still valid at `nowMs` (by the wall clock, as on other replicas). */
function isLive({ issuedMs, usedMs }: Token, persistence: SessionPersistence, nowMs: number): boolean {
  const { absoluteTimeoutMs, idleTimeoutMs } = persistence;
  if (absoluteTimeoutMs === undefined && idleTimeoutMs === undefined) return true;
  if (issuedMs === undefined || usedMs === undefined || issuedMs > usedMs) return false;
  if (usedMs > nowMs + clockSkewMsMax) return false;
  return (
    (absoluteTimeoutMs === undefined || nowMs - issuedMs < absoluteTimeoutMs) &&
    (idleTimeoutMs === undefined || nowMs - usedMs < idleTimeoutMs)
  );
}

/** The session of a request. Undefined: the request names no endpoint that the rule still leads to, or its session has expired. */
export function findSession(
  clusters: ClusterManager,
  rule: RouteRule,
  headers: Headers,
  nowMs: number,
): Session | undefined {
  const persistence = rule.sessionPersistence;
  if (!persistence) return undefined;
  let tokens = 0;
  for (const text of valuesOf(headers, persistence)) {
    const token = parseToken(text);
    if (!token || !isLive(token, persistence, nowMs)) continue;
    if (++tokens > tokensMax) return undefined;
    for (const backend of rule.backends) {
      if (backend.target.kind !== 'service') continue;
      const cluster = clusters.ofService(backend.target.service, backend.target.port);
      const endpoint = cluster?.endpoints.find((one) => sessionToken(one) === token.endpoint);
      if (endpoint) return { backend, endpoint, issuedMs: token.issuedMs };
    }
  }
  return undefined;
}

/**
 * Adds the token of `endpoint` to a response. A token is sent when a session begins, and on each use if the rule has an idle timeout. A failed
 * response begins no session, because its client would return to the endpoint that failed.
 */
export function addSessionToken(
  { status, headers }: { readonly status: number; readonly headers: Headers },
  rule: RouteRule,
  endpoint: Endpoint,
  session: Session | undefined,
  nowMs: number,
): void {
  const persistence = rule.sessionPersistence;
  if (!persistence) return;
  const goesOn = session?.endpoint === endpoint;
  if (goesOn && persistence.idleTimeoutMs === undefined) return;
  if (!goesOn && (status >= 500 || rule.retry?.codes.includes(status) === true)) return;
  const issuedMs = (goesOn ? session.issuedMs : undefined) ?? nowMs;
  const { absoluteTimeoutMs, idleTimeoutMs } = persistence;
  const isTimed = absoluteTimeoutMs !== undefined || idleTimeoutMs !== undefined;
  // Another replica's clock may be behind the one that began the session.
  const times = isTimed ? `.${issuedMs.toString(36)}.${Math.max(issuedMs, nowMs).toString(36)}` : '';
  const token = `${sessionToken(endpoint)}${times}`;
  if (persistence.kind === 'header') return void headers.push(persistence.name.toLowerCase(), token);
  const age = persistence.permanent ? maxAge(persistence, issuedMs, nowMs) : '';
  headers.push('set-cookie', `${persistence.name}=${token}; Path=/; HttpOnly${age}`);
}

/** A permanent cookie expires with its session, by the earlier of the two timeouts. */
function maxAge(
  { absoluteTimeoutMs = Infinity, idleTimeoutMs = Infinity }: SessionPersistence,
  issuedMs: number,
  nowMs: number,
): string {
  const leftMs = Math.min(issuedMs + absoluteTimeoutMs - nowMs, idleTimeoutMs);
  return Number.isFinite(leftMs) ? `; Max-Age=${Math.max(1, Math.ceil(leftMs / 1000))}` : '';
}

function* valuesOf(headers: Headers, { kind, name }: SessionPersistence): Iterable<string> {
  const field = kind === 'header' ? name.toLowerCase() : 'cookie';
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== field) continue;
    const value = headers[i + 1] ?? '';
    if (kind === 'header') {
      yield value;
      continue;
    }
    // An HTTP/2 client may send each cookie as a separate field (RFC 9113, section 8.2.3).
    for (const part of value.split(';')) {
      const at = part.indexOf('=');
      if (at > 0 && part.slice(0, at).trim() === name) yield part.slice(at + 1).trim();
    }
  }
}

/** An opaque name of an endpoint for its clients: it reveals nothing about the endpoint. */
function sessionToken(endpoint: Endpoint): string {
  let token = tokens.get(endpoint);
  if (token === undefined) {
    token = createHash('sha256').update(endpoint.key).digest('base64url').slice(0, 22);
    tokens.set(endpoint, token);
  }
  return token;
}
const tokens = new WeakMap<Endpoint, string>();
