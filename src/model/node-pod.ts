import type { IpAddress, Cidr } from './address.js';
import type { SpiffeId } from './identity.js';
import type { WorkloadUid } from './workload.js';

/**
 * What one node's agent must know of a pod that it shall hold in the mesh: Weft's own resource
 * (weft.v1.NodePod, type.googleapis.com/weft.v1.NodePod), told to that node alone.
 */
export interface NodePod {
  readonly uid: WorkloadUid;
  readonly name: string;
  readonly namespace: string;
  readonly identity: SpiffeId;
  readonly addresses: readonly IpAddress[];
  /** Path of the network namespace (`/run/netns/x`), from the annotation `weft.dev/netns`; empty: find it. */
  readonly netns: string;
  /** Kubernetes' pod UID, empty without Kubernetes. */
  readonly podUid: string;
  /** Ports that the node's own probes may reach in strict mode. */
  readonly probePorts: readonly number[];
  /** Outbound connections to these leave uncaptured. */
  readonly excludeOutboundPorts: readonly number[];
  readonly excludeOutboundCidrs: readonly Cidr[];
  /** Inbound connections to these ports meet no capture. */
  readonly excludeInboundPorts: readonly number[];
  /** Traffic to destinations that the mesh does not know: as without a mesh, or refused. */
  readonly outboundUnknown: 'allow' | 'refuse';
  /** What connect() meets while the agent is dead. */
  readonly agentDown: 'refuse' | 'plaintext';
  /** On entering strict mode, cut connections made before enrollment. */
  readonly cutPreexisting: boolean;
  /** How it is joined with pods of its own node: by the kernel where policy allows, or by mutual TLS there too. */
  readonly sameNode: 'kernel' | 'encrypted';
  /** Its connections with others that say so too may go past TCP where the kernel carries them. */
  readonly splice: boolean;
  /** Connections to these ports of it stay on TCP where the kernel carries them. */
  readonly unsplicedPorts: readonly number[];
  /** Changes when the trusted roots do: certificates are then fetched anew. */
  readonly rootsVersion: string;
}

/** Why a pod is not held in the mesh. */
export type UncapturedReason =
  'host-network' | 'disabled-by-label' | 'namespace-not-enrolled' | 'mesh-is-being-removed' | 'waypoint';

/** A pod of the node that is not to be held (weft.v1.UncapturedPod), told to that node alone. */
export interface UncapturedPod {
  readonly uid: WorkloadUid;
  readonly name: string;
  readonly namespace: string;
  readonly podUid: string;
  readonly reason: UncapturedReason;
}
