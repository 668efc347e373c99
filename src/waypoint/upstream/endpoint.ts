/** An address that requests can be sent to (Envoy: host). */
import type { SocketAddress } from '../../model/address.js';
import type { AppProtocol, WaypointRef, Workload } from '../../model/workload.js';
import type { EndpointHealth } from './endpoint-health.js';

/** One address of a workload that takes requests for a Service's port. Lives as long as it is one, over updates. */
export interface Endpoint {
  readonly key: string;
  workload: Workload;
  readonly target: SocketAddress;
  readonly protocol: AppProtocol;
  /** It stands behind another waypoint than this, which the request goes to. */
  readonly via: WaypointRef | undefined;
  /** Requests under way. */
  active: number;
  /** What connections to it say; the pool's to write. */
  readonly health: EndpointHealth;
}
