import type { IpAddress } from './address.js';
import type { SpiffeId } from './identity.js';
import type { PortMapping, ServiceKey, WaypointRef } from './workload.js';

/** A service received from discovery (istio.workload.Service), parsed. */
export interface Service {
  readonly key: ServiceKey;
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  readonly addresses: readonly { readonly network: string; readonly ip: IpAddress }[];
  readonly ports: readonly PortMapping[];
  /** Additional identities that an endpoint may present. */
  readonly subjectAltNames: readonly SpiffeId[];
  readonly waypoint?: WaypointRef;
  readonly loadBalancing?: {
    readonly preference: readonly ('region' | 'zone' | 'subzone' | 'node' | 'cluster' | 'network')[];
    readonly mode: 'unspecified' | 'strict' | 'failover' | 'passthrough';
    readonly allowUnhealthy: boolean;
  };
  /** All connections from one client address go to the same endpoint while that endpoint exists (src/state/affinity.ts). */
  readonly sessionAffinity?: 'client-ip';
  /** Its addresses are valid only for clients in its own namespace (an ExternalService that is not exported). Absent: for all clients. */
  readonly scope?: 'namespace';
}
