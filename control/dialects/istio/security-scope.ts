/** What a policy of Istio's security API is for: pods, Services, waypoints or a namespace. Pure. */
import { namespaceOf, type Labels } from '../../../src/model/labels.js';
import type { AuthorizationPolicy, PolicyKey } from '../../../src/model/policy.js';
import { waypointClass, type WaypointName } from '../../compile/waypoints.js';
import type { SecurityTargets, TargetReference } from '../../objects/istio-security.js';
import type { IstioObject } from '../../objects/objects.js';
import type { Registry } from '../../registry/registry.js';
import { claimableHosts } from './entry-addresses.js';
import { hostOfService } from './hosts.js';

export type SecurityPolicy = IstioObject<'AuthorizationPolicy'> | IstioObject<'RequestAuthentication'>;
type SecurityObject = SecurityPolicy | IstioObject<'PeerAuthentication'>;

export interface SecurityScope {
  /** The labels of the pods that it selects; absent: all pods. */
  readonly selector?: Labels;
  /** Absent: it is for pods. */
  readonly targets?: {
    readonly services: readonly string[];
    readonly serviceEntries: readonly string[];
    readonly gateways: readonly string[];
    readonly classes: readonly string[];
  };
}

const gatewayApi = 'gateway.networking.k8s.io';
/** The groups of the kinds that a policy can target. */
const targetGroups: Readonly<Record<string, readonly string[]>> = {
  Service: ['', 'core'],
  ServiceEntry: ['networking.istio.io'],
  Gateway: [gatewayApi],
  GatewayClass: [gatewayApi],
};

/** Whether a reference names something that a policy can target. It may have any content. */
export const isTarget = (ref: Readonly<Record<string, unknown>>): boolean =>
  typeof ref['name'] === 'string' &&
  (ref['namespace'] === undefined || ref['namespace'] === '') &&
  typeof ref['kind'] === 'string' &&
  Object.hasOwn(targetGroups, ref['kind']) &&
  (targetGroups[ref['kind']] ?? []).includes((ref['group'] as string | undefined) ?? '');

/** The labels of a selector; undefined: it selects every pod. Error: a wildcard, which selects no pod in any mesh. */
export function labelsOfSelector(selector: SecurityTargets['selector']): Labels | undefined {
  const labels = selector?.matchLabels ?? {};
  for (const [key, value] of Object.entries(labels))
    if (key === '' || key.includes('*') || value.includes('*'))
      throw new Error(`selector.matchLabels: ${key}=${value}: labels are compared as they are, without *`);
  return Object.keys(labels).length === 0 ? undefined : labels;
}

/** Error: the fields contradict each other, or name something that no policy can target. */
export function scopeOf({ spec }: { readonly spec: SecurityTargets }): SecurityScope {
  const { selector, targetRef, targetRefs } = spec;
  if ([selector, targetRef, targetRefs].filter((one) => one !== undefined).length > 1)
    throw new Error('give only one of selector, targetRef and targetRefs');
  const refs = targetRef ? [targetRef] : (targetRefs ?? []);
  if (refs.length === 0) {
    const labels = labelsOfSelector(selector);
    return labels ? { selector: labels } : {};
  }
  refs.forEach((ref, index) => {
    if (isTarget({ ...ref })) return;
    const field = targetRef ? 'targetRef' : `targetRefs[${index}]`;
    const kinds = Object.entries(targetGroups).map(([kind, [group = '']]) =>
      group ? `${kind} (${group})` : kind,
    );
    throw new Error(`${field}: it must be a ${kinds.join(', ')} of the policy's own namespace`);
  });
  const named = (kind: TargetReference['kind']): string[] =>
    refs.filter((ref) => ref.kind === kind).map(({ name }) => name);
  return {
    targets: {
      services: named('Service'),
      serviceEntries: named('ServiceEntry'),
      gateways: named('Gateway'),
      classes: named('GatewayClass'),
    },
  };
}

/** The name as a resource. No object of Weft's own kinds has a name with a slash, so that the names never meet. */
export function resourceNameOf(
  object: SecurityObject,
  at = '',
): Pick<AuthorizationPolicy, 'key' | 'name' | 'namespace'> {
  const namespace = namespaceOf(object);
  const name = `${object.kind}/${object.metadata.name}${at}`;
  return { key: `${namespace}/${name}` as PolicyKey, name, namespace };
}

/** The keys of the Services that a policy targets, as discovery has them. A ServiceEntry has one for each host. */
export const serviceKeys = (
  object: SecurityPolicy,
  { targets }: SecurityScope,
  { indexes }: Pick<Registry, 'indexes'>,
): string[] => {
  const namespace = namespaceOf(object);
  const { services = [], serviceEntries = [] } = targets ?? {};
  const entries = serviceEntries.flatMap((name) => indexes.ServiceEntry.get(namespace, name) ?? []);
  return [
    ...services.map((name) => hostOfService(namespace, name)),
    ...entries.flatMap((entry) => (entry.invalid === undefined ? claimableHosts(entry) : [])),
  ].map((host) => `${namespace}/${host}`);
};

/** Whether a policy targets a waypoint, by its name or by its class. Only the root namespace can target a class. */
export function targetsWaypoint(
  object: SecurityPolicy,
  { targets }: SecurityScope,
  waypoint: WaypointName,
  registry: Pick<Registry, 'gateway' | 'rootNamespace'>,
): boolean {
  if (!targets) return false;
  const namespace = namespaceOf(object);
  if (namespace === waypoint.namespace && targets.gateways.includes(waypoint.name)) return true;
  if (namespace !== registry.rootNamespace || targets.classes.length === 0) return false;
  const className = registry.gateway(waypoint)?.spec.gatewayClassName ?? waypointClass;
  return targets.classes.includes(className) || targets.classes.includes(istioWaypointClass);
}
/** Istio's class of waypoints. A policy for it is for all waypoints of Weft. */
const istioWaypointClass = 'istio-waypoint';

/** The scope of a policy without targets. */
export const podScope = (
  object: SecurityObject,
  { selector }: SecurityScope,
  root: string,
): AuthorizationPolicy['scope'] =>
  selector ? 'workload' : namespaceOf(object) === root ? 'global' : 'namespace';
