/** What `weft explain` says, as `--json` prints it. docs/explain.schema.json is its schema: a test validates explanations by it. */
export type Outcome =
  | 'allowed'
  | 'refused'
  /** Some pods or endpoints are allowed, and others not. */
  | 'depends'
  /** Something decides that is not known here, such as a decision service. */
  | 'unknown';

export type WayPath = 'kernel' | 'local' | 'hbone' | 'waypoint' | 'plain' | 'refused';

export interface Party {
  /** `<namespace>/<name>`, or an address. */
  readonly name: string;
  readonly identity?: string;
  readonly node?: string;
  readonly addresses: readonly string[];
  readonly inMesh: boolean;
}

export type PolicyResult = 'allows' | 'refuses' | 'does not match' | 'would refuse (audit mode)';

/** A policy that applies, evaluated alone by the function that decides about connections. */
export interface PolicyCheck {
  readonly policy: string;
  readonly action: 'allow' | 'deny';
  /** Who evaluates it: `node NAME` or `waypoint NAMESPACE/NAME`. */
  readonly at: string;
  readonly result: PolicyResult;
  readonly rule?: number;
  /** It is what decided. */
  readonly decides: boolean;
}

export interface EndpointView {
  readonly name: string;
  readonly address: string;
  readonly node: string;
  readonly healthy: boolean;
  /** Whether a connection may be sent there now. */
  readonly eligible: boolean;
  readonly why: string;
}

/** What a waypoint would do with the request. */
export interface WaypointView {
  readonly name: string;
  /** False: it relays the bytes of the connection. */
  readonly readsRequest: boolean;
  /** `<namespace>/<route>/<rule>`; absent: no routes apply. */
  readonly route?: string;
  /** Backends of the rule, with their shares if there are several. */
  readonly backends: readonly string[];
  readonly filters: readonly string[];
  /** Settings of the Service's port, each with the object that sets it. */
  readonly settings: readonly { readonly setting: string; readonly object: string }[];
  /** The status of the waypoint's own response. */
  readonly status?: number;
}

/** One way that the connection may take: from one pod of the source to one endpoint. */
export interface Way {
  readonly outcome: Outcome;
  readonly path: WayPath;
  /** The reason for the outcome. */
  readonly why: string;
  /** Why this path. */
  readonly pathWhy: string;
  readonly code?: string;
  /** Who decides: `node NAME`, `waypoint NAMESPACE/NAME`, or `nobody`. */
  readonly decidedBy: string;
  readonly policy?: string;
  readonly rule?: number;
  /** Policies in audit mode or dry run that would refuse it. */
  readonly audited: readonly string[];
  readonly from: string;
  readonly to: string;
  readonly toIdentity?: string;
  readonly mutualTls: boolean;
  /** Absent: the kernel path is taken. */
  readonly notKernel?: string;
  readonly policies: readonly PolicyCheck[];
  readonly waypoint?: WaypointView;
}

/** A certificate that the agent of a node holds, as it says. */
export interface CertificateView {
  readonly identity: string;
  readonly node: string;
  readonly serial?: string;
  readonly notAfter?: string;
  readonly problem?: string;
}

export interface Explanation {
  readonly outcome: Outcome;
  readonly source: Party;
  readonly destination: Party & { readonly port: number; readonly service?: string };
  readonly request?: { readonly method: string; readonly host: string; readonly path: string };
  /** Different ways, the one that decides the outcome first. */
  readonly ways: readonly (Way & { readonly count: number })[];
  readonly endpoints: readonly EndpointView[];
  /** Of both sides. Absent: no agent was asked. */
  readonly certificates?: readonly CertificateView[];
  readonly notes: readonly string[];
}
