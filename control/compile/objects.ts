/** Kubernetes objects as far as Weft reads them. Checked against their schemas before they get here. */
export interface Meta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly generation?: number;
  /** Set once the object is being deleted. */
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}
/** Of Weft's own kinds: whether an object is in force. */
export const acceptedType = 'Accepted';
export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly observedGeneration?: number;
  readonly lastTransitionTime?: string;
  readonly reason?: string;
  readonly message?: string;
}

/** Of a pod: whether it is held in the mesh; the control plane writes it, by what the node's agent says. */
export const capturedCondition = 'weft.dev/captured';

export interface NamespaceObject {
  readonly kind: 'Namespace';
  readonly metadata: Meta;
}
export interface NodeObject {
  readonly kind: 'Node';
  readonly metadata: Meta;
  readonly status?: { readonly addresses?: readonly { readonly type: string; readonly address: string }[] };
}
export interface Probe {
  readonly tcpSocket?: { readonly port: number | string };
  readonly httpGet?: { readonly port: number | string };
  readonly grpc?: { readonly port: number };
}
export interface PodObject {
  readonly kind: 'Pod';
  readonly metadata: Meta;
  readonly spec: {
    readonly nodeName: string;
    readonly serviceAccountName?: string;
    readonly hostNetwork?: boolean;
    readonly containers?: readonly {
      readonly name?: string;
      readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[];
      readonly livenessProbe?: Probe;
      readonly readinessProbe?: Probe;
      readonly startupProbe?: Probe;
    }[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly podIPs?: readonly { readonly ip: string }[];
    readonly conditions?: readonly Condition[];
  };
}
export interface ServiceObject {
  readonly kind: 'Service';
  readonly metadata: Meta;
  readonly spec: {
    readonly selector?: Readonly<Record<string, string>>;
    readonly clusterIP?: string;
    readonly clusterIPs?: readonly string[];
    readonly ports?: readonly {
      readonly name?: string;
      readonly port: number;
      readonly targetPort?: number | string;
      readonly appProtocol?: string;
      readonly protocol?: string;
    }[];
    readonly internalTrafficPolicy?: string;
    readonly trafficDistribution?: string;
    readonly sessionAffinity?: string;
    readonly publishNotReadyAddresses?: boolean;
  };
}
interface PolicySource {
  readonly identities?: readonly string[];
  readonly notIdentities?: readonly string[];
  readonly namespaces?: readonly string[];
  readonly notNamespaces?: readonly string[];
  readonly serviceAccounts?: readonly string[];
  readonly notServiceAccounts?: readonly string[];
  readonly cidrs?: readonly string[];
  readonly notCidrs?: readonly string[];
}
interface PolicyTarget {
  readonly ports?: readonly number[];
  readonly notPorts?: readonly number[];
  readonly cidrs?: readonly string[];
  readonly notCidrs?: readonly string[];
}
export interface AccessPolicyObject {
  readonly kind: 'AccessPolicy';
  readonly metadata: Meta;
  readonly status?: { readonly conditions?: readonly Condition[] };
  readonly spec: {
    readonly action: 'ALLOW' | 'DENY';
    readonly mode?: 'enforce' | 'audit';
    readonly selector?: { readonly matchLabels: Readonly<Record<string, string>> };
    readonly rules: readonly {
      readonly from?: readonly PolicySource[];
      readonly to?: readonly PolicyTarget[];
    }[];
  };
}
export interface MeshSettingsObject {
  readonly kind: 'MeshSettings';
  readonly metadata: Meta;
  readonly status?: { readonly conditions?: readonly Condition[] };
  readonly spec: {
    readonly mode?: 'permissive' | 'strict';
    readonly outboundUnknown?: 'allow' | 'refuse';
    readonly agentDown?: 'refuse' | 'plaintext';
    readonly cutPreexisting?: boolean;
    readonly sameNode?: 'kernel' | 'encrypted';
    readonly splice?: boolean;
    /** For Services that say nothing themselves. */
    readonly trafficDistribution?: string;
    readonly unsplicedPorts?: readonly number[];
    readonly excludeOutboundPorts?: readonly number[];
    readonly excludeOutboundCidrs?: readonly string[];
    readonly excludeInboundPorts?: readonly number[];
  };
}
interface ExternalPort {
  readonly name?: string;
  readonly port: number;
  readonly targetPort?: number;
  readonly appProtocol?: string;
}
/** Addresses outside of the mesh under a name: known, balanced, logged by it. */
export interface ExternalServiceObject {
  readonly kind: 'ExternalService';
  readonly metadata: Meta;
  readonly status?: { readonly conditions?: readonly Condition[] };
  readonly spec: {
    /** `<name>.<namespace>.external` where absent. */
    readonly host?: string;
    readonly addresses: readonly string[];
    readonly ports: readonly ExternalPort[];
    /** Where connections go; the addresses themselves where absent. */
    readonly endpoints?: readonly { readonly address: string }[];
  };
}
/** What runs on a machine outside of the cluster that has an agent of its own. */
export interface WorkloadObject {
  readonly kind: 'Workload';
  readonly metadata: Meta;
  readonly status?: { readonly conditions?: readonly Condition[] };
  readonly spec: {
    /** As its agent is called (--node). */
    readonly node: string;
    readonly addresses: readonly string[];
    readonly serviceAccount?: string;
    /** Its network namespace on that machine: a name below /run/netns, or a path. */
    readonly netns: string;
    readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[];
  };
}
/** Endpoints that nobody but their author knows: those of Services without a selector. */
export interface EndpointSliceObject {
  readonly kind: 'EndpointSlice';
  readonly metadata: Meta;
  readonly endpoints: readonly {
    readonly addresses: readonly string[];
    readonly ready: boolean;
    readonly nodeName?: string;
  }[];
  readonly ports: readonly { readonly name?: string; readonly port: number }[];
}
export type MeshObject =
  | NamespaceObject
  | NodeObject
  | PodObject
  | ServiceObject
  | EndpointSliceObject
  | AccessPolicyObject
  | MeshSettingsObject
  | ExternalServiceObject
  | WorkloadObject;
