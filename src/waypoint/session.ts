/** Session persistence: the endpoint that a client's cookie or header names, and the one that its answer names. */
import type { RouteBackend, RouteRule, SessionPersistence } from '../model/route.js';
import { sessionToken } from './balance.js';
import { headerOf, type Headers } from './message.js';
import type { Endpoint, WaypointState } from './state.js';

export interface Session {
  readonly backend: RouteBackend;
  readonly endpoint: Endpoint;
}

/** Undefined where the request names no endpoint that the rule still leads to. */
export function sessionOf(state: WaypointState, rule: RouteRule, headers: Headers): Session | undefined {
  const persistence = rule.sessionPersistence;
  if (!persistence) return undefined;
  const token =
    persistence.kind === 'header'
      ? headerOf(headers, persistence.name.toLowerCase())
      : cookieOf(headerOf(headers, 'cookie'), persistence.name);
  if (token === undefined) return undefined;
  for (const backend of rule.backends) {
    if (backend.target.kind !== 'service') continue;
    const endpoints = state.endpoints(backend.target.service, backend.target.port) ?? [];
    const endpoint = endpoints.find((one) => sessionToken(one) === token);
    if (endpoint) return { backend, endpoint };
  }
  return undefined;
}

/** Adds to an answer what its client shall send to come to the same endpoint again. */
export function nameSession(headers: Headers, persistence: SessionPersistence, endpoint: Endpoint): void {
  const token = sessionToken(endpoint);
  if (persistence.kind === 'header') return void headers.push(persistence.name.toLowerCase(), token);
  const age =
    persistence.permanent && persistence.absoluteTimeoutMs
      ? `; Max-Age=${Math.floor(persistence.absoluteTimeoutMs / 1000)}`
      : '';
  headers.push('set-cookie', `${persistence.name}=${token}; Path=/; HttpOnly${age}`);
}

function cookieOf(header: string | undefined, name: string): string | undefined {
  for (const part of (header ?? '').split(';')) {
    const at = part.indexOf('=');
    if (at > 0 && part.slice(0, at).trim() === name) return part.slice(at + 1).trim();
  }
  return undefined;
}
