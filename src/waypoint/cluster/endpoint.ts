/** An address that requests can be sent to (Envoy: host). */
import { formatSocketAddress, type SocketAddress } from '../../model/address.js';
import type { EndpointTls } from '../../discovery/gen/weft.js';
import type { AppProtocol, WaypointRef, Workload } from '../../model/workload.js';
import type { ClientCertificate } from './client-certificate.js';
import { digestOf } from './endpoint-tls.js';
import { newHealth, type EndpointHealth } from './endpoint-health.js';

/** What a configuration says about one endpoint. */
export interface EndpointConfig {
  readonly workload: Workload;
  readonly target: SocketAddress;
  readonly protocol: AppProtocol;
  /** The other waypoint that the endpoint is behind, which the request is sent to; undefined for a direct endpoint. */
  readonly via: WaypointRef | undefined;
  /** TLS that the endpoint speaks itself; absent: none. Another waypoint speaks it for the endpoints behind it. */
  readonly tls?: EndpointTls | undefined;
  /** The certificate that `tls` names; absent: it names none. */
  readonly clientCertificate?: ClientCertificate | undefined;
}

/** Counts since the object exists, as Envoy counts them per host. */
export interface EndpointCounts {
  /** Responses below 500, and other responses. */
  success: number;
  error: number;
  /** Requests that ended without a response: reset, or by their timeout. */
  reset: number;
  timeout: number;
  /** Requests that a limit of the waypoint refused. */
  overflow: number;
  connected: number;
  connectFailed: number;
}

/** One address of a workload in a cluster. The object and its state are kept over updates, as long as it is an endpoint of the cluster. */
export class Endpoint {
  readonly key: string;
  /** The current workload: its policies and labels may change while the endpoint stays. */
  workload: Workload;
  readonly target: SocketAddress;
  readonly protocol: AppProtocol;
  readonly via: WaypointRef | undefined;
  readonly tls: EndpointTls | undefined;
  readonly clientCertificate: ClientCertificate | undefined;
  /** 0 is the nearest level (src/state/resolve.ts). */
  priority = 0;
  /** Share of the requests, in proportion to other endpoints. */
  weight = 1;
  /** When slow start began, by the monotonic clock: the endpoint was added to a cluster that had endpoints, or has become healthy. */
  warmingSinceMs = -Infinity;
  /** Moving average of its latency, and when it last changed. Only for balancers that observe it. */
  latencyMs = 0;
  latencyAtMs = 0;
  /** Requests and relayed connections under way. */
  active = 0;
  /** Removed by an update: its connections are closed after their requests, and no request is sent to it. */
  isDraining = false;
  /** Health by the results of connection attempts. Written by the cluster only. */
  readonly health: EndpointHealth = newHealth();
  readonly counts: EndpointCounts = {
    success: 0,
    error: 0,
    reset: 0,
    timeout: 0,
    overflow: 0,
    connected: 0,
    connectFailed: 0,
  };

  constructor(config: EndpointConfig) {
    this.key = endpointKey(config);
    this.workload = config.workload;
    this.target = config.target;
    this.protocol = config.protocol;
    this.via = config.via;
    this.tls = config.tls;
    this.clientCertificate = config.clientCertificate;
  }
}

/** Equal for configurations of the same endpoint. If the Service changes its waypoint or TLS, its requests take other connections. */
export function endpointKey({ workload, target, protocol, via, tls }: EndpointConfig): string {
  const name = `${workload.uid} ${formatSocketAddress(target)} ${protocol}${tls ? ` tls ${digestOf(tls)}` : ''}`;
  return via ? `${name} via ${via.kind === 'hostname' ? via.service : via.ip} ${via.hbonePort}` : name;
}
