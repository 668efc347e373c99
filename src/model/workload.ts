import type { Brand } from '../base/brand.js';
import type { IpAddress } from './address.js';
import type { SpiffeId } from './identity.js';

/** `<cluster>//Pod/<namespace>/<name>` */
export type WorkloadUid = Brand<string, 'WorkloadUid'>;
/** `<namespace>/<hostname>` */
export type ServiceKey = Brand<string, 'ServiceKey'>;

export type AppProtocol = 'unknown' | 'http1' | 'http2' | 'grpc' | 'tcp' | 'tls';

export interface PortMapping {
  readonly servicePort: number;
  readonly targetPort: number;
  readonly appProtocol: AppProtocol;
}

/** A reference to a waypoint by Service or by address. */
export type WaypointRef =
  | { readonly kind: 'hostname'; readonly service: ServiceKey; readonly hbonePort: number }
  | {
      readonly kind: 'address';
      readonly network: string;
      readonly ip: IpAddress;
      readonly hbonePort: number;
    };

export interface Locality {
  readonly region: string;
  readonly zone: string;
  readonly subzone: string;
}

/** A workload received from discovery (istio.workload.Workload), parsed. */
export interface Workload {
  readonly uid: WorkloadUid;
  readonly name: string;
  readonly namespace: string;
  readonly identity: SpiffeId;
  readonly serviceAccount: string;
  readonly addresses: readonly IpAddress[];
  readonly network: string;
  readonly node: string;
  readonly cluster: string;
  /** `hbone`: enrolled, the node's agent accepts tunnels on port 15008. `none`: plain TCP only. */
  readonly tunnel: 'none' | 'hbone';
  /** The workload terminates its tunnels itself, as waypoints do, without an agent in front of it. */
  readonly nativeTunnel?: boolean;
  readonly waypoint?: WaypointRef;
  /** Names `<namespace>/<name>` of the WORKLOAD_SELECTOR policies that apply to it. */
  readonly policies: readonly string[];
  readonly healthy: boolean;
  readonly hostNetwork: boolean;
  readonly services: ReadonlyMap<ServiceKey, readonly PortMapping[]>;
  /** For telemetry labels. */
  readonly workloadName: string;
  readonly workloadType: 'deployment' | 'cronjob' | 'pod' | 'job';
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly locality?: Locality;
  /** Share of a Service's requests that it can take, relative to other endpoints (istio.workload.Workload.capacity). Absent: 1. */
  readonly weight?: number;
  /** Its address is valid only for clients in its own namespace; others reach it through a Service. Absent: for all clients. */
  readonly scope?: 'namespace';
}
