/** Requests with tokens through a waypoint in this process. */
import type { TestContext } from 'node:test';
import type { JwtFilter, JwtIssuer } from '../../src/discovery/gen/weft.js';
import type { RouteFilter } from '../../src/model/route.js';
import { issuerOf, jwtFilter, newKey } from './jwt-issuer.js';
import { id, key } from './mesh.js';
import {
  ask,
  echoHandler,
  httpUpstream,
  startWaypoint,
  type ClientRequest,
  type ClientResponse,
  type TestWaypoint,
  type WaypointOptions,
} from './waypoint.js';

export const key1 = newKey('ES256', 'k1');

export interface Scene {
  readonly waypoint: TestWaypoint;
  set(...filters: RouteFilter[]): void;
  ask(request?: ClientRequest): Promise<ClientResponse>;
  /** Status of a request with a token, and the result that the log names. */
  result(token: string, more?: ClientRequest): Promise<string>;
}
/** An endpoint behind a waypoint with these filters. */
export async function scene(
  t: TestContext,
  filters: RouteFilter[],
  more: Partial<WaypointOptions> = {},
): Promise<Scene> {
  const upstream = await httpUpstream(t, echoHandler('api'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    identity: id('web'),
    ...more,
  });
  const set = (...next: RouteFilter[]): void =>
    void waypoint.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], filters: next }] });
  set(...filters);
  return {
    waypoint,
    set,
    ask: (request = {}) => ask(waypoint.port, request),
    result: async (token, request = {}) => {
      const { status } = await ask(waypoint.port, {
        headers: { authorization: `Bearer ${token}` },
        ...request,
      });
      const { why = '' } = waypoint.records.at(-1) ?? {};
      return `${status} ${/\(([a-z-]+)\)/.exec(why)?.[1] ?? ''}`.trim();
    },
  };
}
/** One policy with one issuer, whose only key is `key1`. */
export const withPolicy = (
  t: TestContext,
  issuer: Partial<JwtIssuer> = {},
  policy: Partial<JwtFilter> = {},
): Promise<Scene> => scene(t, [jwtFilter([issuerOf(key1, issuer)], policy)]);
