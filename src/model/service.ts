import type { IpAddress } from './address.js';
import type { SpiffeId } from './identity.js';
import type { PortMapping, ServiceKey, WaypointRef } from './workload.js';

/** One service as discovery tells it (istio.workload.Service), parsed. */
export interface Service {
  readonly key: ServiceKey;
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  readonly addresses: readonly { readonly network: string; readonly ip: IpAddress }[];
  readonly ports: readonly PortMapping[];
  /** Further identities that an endpoint may show. */
  readonly subjectAltNames: readonly SpiffeId[];
  readonly waypoint?: WaypointRef;
  readonly loadBalancing?: {
    readonly preference: readonly ('region' | 'zone' | 'subzone' | 'node' | 'cluster' | 'network')[];
    readonly mode: 'unspecified' | 'strict' | 'failover' | 'passthrough';
    readonly allowUnhealthy: boolean;
  };
  /** All connections of a client's address go to one endpoint for as long as that is one (src/state/affinity.ts). */
  readonly sessionAffinity?: 'client-ip';
  /** Its addresses count for clients of its own namespace alone (an ExternalService that is not exported). Absent: for everybody. */
  readonly scope?: 'namespace';
}
