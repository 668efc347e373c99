/**
 * Objects of the Service Mesh Interface, as they were read (daemonset/chart/files/smi-crds.yaml). Some older versions have the fields of `spec`
 * beside `metadata`; control/dialects/smi/specs.ts reads both forms.
 */
import type { Condition, Meta } from './metadata.js';

/** A member of a list of references. */
export interface SmiReference {
  readonly kind: string;
  readonly name: string;
}

export interface TrafficSplitSpec {
  /** The root Service. */
  readonly service: string;
  readonly matches?: readonly SmiReference[];
  readonly backends: readonly {
    readonly service: string;
    /** A whole number. In v1alpha1 also a quantity: `500m`. */
    readonly weight?: number | string;
  }[];
}

export interface HttpMatchObject {
  readonly name: string;
  readonly pathRegex?: string;
  readonly methods?: readonly string[];
  /** Regular expressions by header name, or a list of such maps. */
  readonly headers?: unknown;
}
export interface HttpRouteGroupSpec {
  readonly matches?: readonly HttpMatchObject[];
}

export interface PortRouteSpec {
  readonly matches?: { readonly name?: string; readonly ports?: readonly number[] };
}

/** A service account. */
export interface SmiSubject extends SmiReference {
  readonly namespace?: string;
  readonly port?: number;
}
export interface TrafficTargetRule extends SmiReference {
  /** Names of matches of an HTTPRouteGroup. */
  readonly matches?: readonly string[];
}
export interface TrafficTargetSpec {
  readonly destination: SmiSubject;
  readonly rules?: readonly TrafficTargetRule[];
  readonly sources?: readonly SmiSubject[];
}

interface SmiSpecs {
  readonly TrafficSplit: TrafficSplitSpec;
  readonly HTTPRouteGroup: HttpRouteGroupSpec;
  // The kinds are TCPRoute and UDPRoute; the Gateway API has both, too.
  readonly SmiTCPRoute: PortRouteSpec;
  readonly SmiUDPRoute: PortRouteSpec;
  readonly TrafficTarget: TrafficTargetSpec;
}
export const smiKinds = [
  'TrafficSplit',
  'HTTPRouteGroup',
  'SmiTCPRoute',
  'SmiUDPRoute',
  'TrafficTarget',
] as const;
export type SmiKind = (typeof smiKinds)[number];

interface SmiObjectOf<K extends SmiKind> {
  readonly kind: K;
  /** The version in which it was read. */
  readonly apiVersion?: string;
  readonly metadata: Meta;
  /** Set on the closed form of an object that cannot be read: why. The other fields may have any content. */
  readonly invalid?: string;
  readonly spec?: SmiSpecs[K];
  /** HTTPRouteGroup, v1alpha1 and v1alpha2. */
  readonly matches?: HttpRouteGroupSpec['matches'];
  /** TrafficTarget, v1alpha1. */
  readonly destination?: SmiSubject;
  readonly specs?: TrafficTargetSpec['rules'];
  readonly sources?: TrafficTargetSpec['sources'];
  readonly status?: { readonly conditions?: readonly Condition[] };
}
type Objects = { readonly [K in SmiKind]: SmiObjectOf<K> };
export type SmiObject<K extends SmiKind = SmiKind> = Objects[K];
export const isSmi = <T extends { readonly kind: string }>(object: T): object is Extract<T, SmiObject> =>
  (smiKinds as readonly string[]).includes(object.kind);
