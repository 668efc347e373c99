/** An address that requests can be sent to (Envoy: host). */
import type { SocketAddress } from '../../model/address.js';
import type { AppProtocol, WaypointRef, Workload } from '../../model/workload.js';
import type { EndpointHealth } from './endpoint-health.js';

/** One address of a workload that serves a Service's port. The object is kept over updates, as long as it is an endpoint. */
export interface Endpoint {
  readonly key: string;
  workload: Workload;
  readonly target: SocketAddress;
  readonly protocol: AppProtocol;
  /** The other waypoint that the endpoint is behind, which the request is sent to; undefined for a direct endpoint. */
  readonly via: WaypointRef | undefined;
  /** Requests under way. */
  active: number;
  /** Health by the results of connection attempts. Written by the pool only. */
  readonly health: EndpointHealth;
}
