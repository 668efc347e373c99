import type { IpAddress, Cidr } from './address.js';
import type { SpiffeId } from './identity.js';
import type { WorkloadUid } from './workload.js';

/**
 * A pod that the agent of its node must enroll, with the settings that the agent needs: Weft's own resource
 * (weft.v1.NodePod, type.googleapis.com/weft.v1.NodePod), sent only to that node.
 */
export interface NodePod {
  readonly uid: WorkloadUid;
  readonly name: string;
  readonly namespace: string;
  readonly identity: SpiffeId;
  readonly addresses: readonly IpAddress[];
  /** Path of the network namespace (`/run/netns/x`) from the annotation `weft.dev/netns`; empty: the agent searches for it. */
  readonly netns: string;
  /** Kubernetes pod UID; empty without Kubernetes. */
  readonly podUid: string;
  /** Ports that probes from the node may reach in strict mode. */
  readonly probePorts: readonly number[];
  /** Outbound connections to these ports are not captured. */
  readonly excludeOutboundPorts: readonly number[];
  readonly excludeOutboundCidrs: readonly Cidr[];
  /** Inbound connections to these ports are not captured. */
  readonly excludeInboundPorts: readonly number[];
  /** Traffic to destinations outside of the mesh: allowed as without a mesh, or refused. */
  readonly outboundUnknown: 'allow' | 'refuse';
  /**
   * The destinations in the mesh to which the pod may connect, as patterns of src/model/outbound-hosts.ts; others are refused. Absent: all.
   */
  readonly outboundHosts?: readonly string[];
  /** How connect() behaves while the agent is down. */
  readonly agentDown: 'refuse' | 'plaintext';
  /** When strict mode begins, connections made before enrollment are cut. */
  readonly cutPreexisting: boolean;
  /** Connections with pods of the same node: as kernel flows where policy allows, or always with mutual TLS. */
  readonly sameNode: 'kernel' | 'encrypted';
  /** Kernel flows between pods that both set this may bypass TCP (splice). */
  readonly splice: boolean;
  /** Kernel flows to these ports of the pod stay on TCP. */
  readonly unsplicedPorts: readonly number[];
  /** HTTP/1.1 requests of the pod's connections are counted where no waypoint is (src/telemetry/http-observation.ts). */
  readonly goldenSignals: boolean;
  /** Changes when the trusted roots change. Certificates are then requested again. */
  readonly rootsVersion: string;
}

/** Why a pod is not enrolled. */
export type UncapturedReason =
  'host-network' | 'disabled-by-label' | 'namespace-not-enrolled' | 'mesh-is-being-removed' | 'waypoint';

/** A pod of the node that must not be enrolled (weft.v1.UncapturedPod), sent only to that node. */
export interface UncapturedPod {
  readonly uid: WorkloadUid;
  readonly name: string;
  readonly namespace: string;
  readonly podUid: string;
  readonly reason: UncapturedReason;
}
