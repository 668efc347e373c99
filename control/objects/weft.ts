/** Objects of Weft's own kinds. */
import type { Condition, Meta } from './metadata.js';

/** Conditions on the valid token of a request. `not…` fields match requests without a token, too. */
export interface TokenSource {
  readonly issuers?: readonly string[];
  readonly notIssuers?: readonly string[];
  readonly subjects?: readonly string[];
  readonly notSubjects?: readonly string[];
  readonly audiences?: readonly string[];
  readonly notAudiences?: readonly string[];
  readonly presenters?: readonly string[];
  readonly notPresenters?: readonly string[];
  readonly claims?: readonly {
    readonly path: readonly string[];
    readonly values?: readonly string[];
    readonly notValues?: readonly string[];
    readonly numbers?: readonly number[];
    readonly notNumbers?: readonly number[];
    readonly boolean?: boolean;
  }[];
}
export interface PolicySource {
  readonly identities?: readonly string[];
  readonly notIdentities?: readonly string[];
  readonly namespaces?: readonly string[];
  readonly notNamespaces?: readonly string[];
  readonly serviceAccounts?: readonly string[];
  readonly notServiceAccounts?: readonly string[];
  readonly cidrs?: readonly string[];
  readonly notCidrs?: readonly string[];
  /** Only a waypoint can evaluate this field and the following ones. */
  readonly remoteCidrs?: readonly string[];
  readonly notRemoteCidrs?: readonly string[];
  readonly jwt?: TokenSource;
}
export interface PolicyTarget {
  readonly ports?: readonly number[];
  readonly notPorts?: readonly number[];
  readonly cidrs?: readonly string[];
  readonly notCidrs?: readonly string[];
  /** Only a waypoint can evaluate this field and the following ones. */
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
  /** Names in TLS ClientHellos. */
  readonly sni?: readonly string[];
  readonly notSni?: readonly string[];
}
export interface AccessPolicyObject {
  readonly kind: 'AccessPolicy';
  readonly metadata: Meta;
  /** Set on the closed form of an unreadable policy: why it cannot be read (compile/closed.ts). */
  readonly invalid?: string;
  readonly status?: { readonly conditions?: readonly Condition[] };
  readonly spec: {
    readonly action: 'ALLOW' | 'DENY';
    readonly mode?: 'enforce' | 'audit';
    readonly selector?: { readonly matchLabels: Readonly<Record<string, string>> };
    /** Services of its namespace, instead of `selector`: their waypoint authorizes their requests. */
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
  /** Set on the closed form of unreadable settings: why they cannot be read (compile/closed.ts). */
  readonly invalid?: string;
  readonly status?: { readonly conditions?: readonly Condition[] };
  readonly spec: {
    readonly mode?: 'permissive' | 'strict';
    readonly policyMode?: 'enforce' | 'audit';
    readonly outboundUnknown?: 'allow' | 'refuse';
    readonly agentDown?: 'refuse' | 'plaintext';
    readonly cutPreexisting?: boolean;
    readonly sameNode?: 'kernel' | 'encrypted';
    readonly splice?: boolean;
    /** Default for Services without a `trafficDistribution` of their own. */
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
/** A name for addresses outside of the mesh, which are balanced and logged under it. */
export interface ExternalServiceObject {
  readonly kind: 'ExternalService';
  readonly metadata: Meta;
  readonly status?: { readonly conditions?: readonly Condition[] };
  readonly spec: {
    /** Absent: `<name>.<namespace>.external`. */
    readonly host?: string;
    readonly addresses: readonly string[];
    readonly ports: readonly ExternalPort[];
    /** The destinations of connections; absent: the addresses themselves. */
    readonly endpoints?: readonly { readonly address: string }[];
  };
}
/** An application on a machine outside of the cluster that has an agent of its own. */
export interface WorkloadObject {
  readonly kind: 'Workload';
  readonly metadata: Meta;
  readonly status?: { readonly conditions?: readonly Condition[] };
  readonly spec: {
    /** The node name of the machine's agent (`--node`). */
    readonly node: string;
    readonly addresses: readonly string[];
    readonly serviceAccount?: string;
    /** Its network namespace on that machine: a name below /run/netns, or a path. */
    readonly netns: string;
    readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[];
  };
}
