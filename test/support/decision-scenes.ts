/** Scenes of external authorization: a waypoint, an endpoint that records what arrives, and a decision service. */
import type http from 'node:http';
import type { TestContext } from 'node:test';
import type { RouteFilter } from '../../src/model/route.js';
import { askFilter, askHttp, grpcDecisionService, type GrpcDecisionService } from './decision-services.js';
import { id, key } from './mesh.js';
import {
  ask,
  echoHandler,
  httpUpstream,
  startWaypoint,
  type ClientRequest,
  type ClientResponse,
  type EchoedRequest,
  type TestWaypoint,
  type WaypointOptions,
} from './waypoint.js';

/** A waypoint before the Service `api`, whose policy asks the Service `authz`. */
export interface Scene {
  readonly waypoint: TestWaypoint;
  /** The requests that reached an endpoint. */
  readonly arrived: EchoedRequest[];
  set(...filters: RouteFilter[]): void;
  ask(request?: ClientRequest): Promise<ClientResponse>;
}

export async function scene(
  t: TestContext,
  authz: readonly number[],
  filters: RouteFilter[],
  more: Partial<WaypointOptions> = {},
): Promise<Scene> {
  const arrived: EchoedRequest[] = [];
  const echo = echoHandler('api');
  const upstream = await httpUpstream(t, (request, response) => {
    const end = response.end.bind(response);
    response.end = ((text: string) => {
      arrived.push(JSON.parse(text) as EchoedRequest);
      return end(text);
    }) as typeof response.end;
    echo(request, response);
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port], authz },
    identity: id('web'),
    self: id('waypoint'),
    ...more,
  });
  const set = (...next: RouteFilter[]): void =>
    void waypoint.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], filters: next }] });
  set(...filters);
  return { waypoint, arrived, set, ask: (request) => ask(waypoint.port, request) };
}
export const grpcScene = async (
  t: TestContext,
  answer?: Parameters<typeof grpcDecisionService>[1],
  fields: Parameters<typeof askFilter>[0] = {},
): Promise<Scene & { readonly service: GrpcDecisionService }> => {
  const service = await grpcDecisionService(t, answer);
  return { ...(await scene(t, [service.port], [askFilter(fields)])), service };
};
/** A decision service by plain HTTP. */
export const httpScene = async (
  t: TestContext,
  handler: http.RequestListener,
  fields: Parameters<typeof askHttp>[0] = {},
  prefix = '/check',
): Promise<Scene> => scene(t, [(await httpUpstream(t, handler)).port], [askHttp(fields, prefix)]);
