/**
 * Objects of Istio's API, as they were read: the published CRDs have validated them (daemonset/chart/files/istio-crds.yaml). The spec's type is
 * in the file of control/dialects/istio that translates it.
 */
import type { DestinationRuleSpec } from './istio-destination-rule.js';
import type {
  AuthorizationPolicySpec,
  PeerAuthenticationSpec,
  RequestAuthenticationSpec,
} from './istio-security.js';
import type { ServiceEntrySpec, WorkloadEntrySpec, WorkloadGroupSpec } from './istio-entries.js';
import type { SidecarSpec } from './istio-sidecar.js';
import type { TelemetrySpec } from './istio-telemetry.js';
import type { VirtualServiceSpec } from './istio-virtual-service.js';
import type { Condition, Meta } from './metadata.js';

export * from './istio-entries.js';
export * from './istio-sidecar.js';
export * from './istio-telemetry.js';

/** An object of another mesh's API. */
export interface DialectObject<Kind extends string, Spec = Readonly<Record<string, unknown>>> {
  readonly kind: Kind;
  /** The version in which it was read. */
  readonly apiVersion?: string;
  readonly metadata: Meta;
  /** Set on the closed form of an object that cannot be read: why. */
  readonly invalid?: string;
  readonly spec: Spec;
  readonly status?: { readonly conditions?: readonly Condition[] };
}

export const istioKinds = [
  'VirtualService',
  'DestinationRule',
  'ServiceEntry',
  'WorkloadEntry',
  'WorkloadGroup',
  'Sidecar',
  'AuthorizationPolicy',
  'PeerAuthentication',
  'RequestAuthentication',
  'Telemetry',
  // Its kind is Gateway; the Gateway API has one, too.
  'IstioGateway',
  'EnvoyFilter',
  'ProxyConfig',
  'WasmPlugin',
  'TrafficExtension',
] as const;
export type IstioKind = (typeof istioKinds)[number];

/** The type of each kind's spec. */
type Specs = Readonly<Record<Exclude<IstioKind, keyof OwnSpecs>, Readonly<Record<string, unknown>>>> &
  OwnSpecs;
interface OwnSpecs {
  readonly AuthorizationPolicy: AuthorizationPolicySpec;
  readonly PeerAuthentication: PeerAuthenticationSpec;
  readonly RequestAuthentication: RequestAuthenticationSpec;
  readonly VirtualService: VirtualServiceSpec;
  readonly DestinationRule: DestinationRuleSpec;
  readonly ServiceEntry: ServiceEntrySpec;
  readonly WorkloadEntry: WorkloadEntrySpec;
  readonly WorkloadGroup: WorkloadGroupSpec;
  readonly Sidecar: SidecarSpec;
  readonly Telemetry: TelemetrySpec;
}

type Objects = { readonly [K in IstioKind]: DialectObject<K, Specs[K]> };
export type IstioObject<K extends IstioKind = IstioKind> = Objects[K];
export const isIstio = <T extends { readonly kind: string }>(object: T): object is Extract<T, IstioObject> =>
  (istioKinds as readonly string[]).includes(object.kind);
