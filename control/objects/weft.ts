/** Objects of Weft's own kinds. */
import type { Condition, Meta } from './metadata.js';

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
export interface PolicyTarget {
  readonly ports?: readonly number[];
  readonly notPorts?: readonly number[];
  readonly cidrs?: readonly string[];
  readonly notCidrs?: readonly string[];
  /** These only a waypoint can judge. */
  readonly methods?: readonly string[];
  readonly notMethods?: readonly string[];
  readonly paths?: readonly string[];
  readonly notPaths?: readonly string[];
  readonly hosts?: readonly string[];
  readonly notHosts?: readonly string[];
  readonly headers?: readonly {
    readonly name: string;
    readonly values?: readonly string[];
    readonly notValues?: readonly string[];
  }[];
}
export interface AccessPolicyObject {
  readonly kind: 'AccessPolicy';
  readonly metadata: Meta;
  /** Why it stands for one that cannot be read (closed.ts). */
  readonly invalid?: string;
  readonly status?: { readonly conditions?: readonly Condition[] };
  readonly spec: {
    readonly action: 'ALLOW' | 'DENY';
    readonly mode?: 'enforce' | 'audit';
    readonly selector?: { readonly matchLabels: Readonly<Record<string, string>> };
    /** Services of its namespace, in place of `selector`: their requests are judged at their waypoint. */
    readonly targetRefs?: readonly { readonly group: string; readonly kind: string; readonly name: string }[];
    readonly rules: readonly {
      readonly from?: readonly PolicySource[];
      readonly to?: readonly PolicyTarget[];
    }[];
  };
}
export interface MeshSettingsObject {
  readonly kind: 'MeshSettings';
  readonly metadata: Meta;
  /** Why it stands for one that cannot be read (closed.ts). */
  readonly invalid?: string;
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
