/**
 * Which TrafficPolicies are in force at a target, a Service, one of its ports or a Gateway. Of two policies of one target that set the same
 * for the same clients, the older one is in force there, then the one whose name comes first. Pure.
 */
import { namespaceOf } from '../../src/model/labels.js';
import type {
  AuthenticationPolicyObject,
  BackendTlsPolicyObject,
  BackendTrafficPolicyObject,
  TargetRef,
  TrafficPolicyObject,
  ServedObject,
} from '../objects/objects.js';
import { compileAuthenticationPolicy } from './authentication-policy.js';
import type { KeyLookup } from './jwt-filter.js';
import { compileBackendTrafficPolicy } from '../dialects/gateway/backend-traffic-policy.js';
import { isCoreGroup } from '../dialects/gateway/route-parents.js';
import { portsOf } from './served-object.js';
import { clientKey } from './traffic-policy-requests.js';
import { additiveSections, compileTrafficPolicy, type CompiledTrafficPolicy } from './traffic-policy.js';
import { createdMs } from '../objects/age.js';

/** Clients that the policies of one target may name. Each is a further variant of the port's settings. */
const clientsMax = 128;

/** The kinds of policies that set traffic settings. */
export type PolicyObject =
  TrafficPolicyObject | AuthenticationPolicyObject | BackendTrafficPolicyObject | BackendTlsPolicyObject;

/** Kinds that can target a Gateway, too. */
export type TargetingPolicy = TrafficPolicyObject | AuthenticationPolicyObject;
/** Whether a policy is of these kinds. */
export const isTargeting = (object: PolicyObject): object is TargetingPolicy =>
  object.kind === 'TrafficPolicy' || object.kind === 'AuthenticationPolicy';

/** The kinds that a policy can target, with the API groups of a BackendTLSPolicy's: it can also be about names outside of the cluster. */
export type TargetKind = ServedObject['kind'] | 'Gateway';
const outsideGroups: Readonly<Record<string, string>> = {
  ServiceEntry: 'networking.istio.io',
  ExternalService: 'weft.dev',
};
/** The kind of what a policy about backends targets; undefined: it is another controller's. */
export function backendKind(
  policy: PolicyObject,
  { group, kind }: TargetRef,
): ServedObject['kind'] | undefined {
  if (isCoreGroup(group)) return kind === 'Service' ? kind : undefined;
  const isOutside = policy.kind === 'BackendTLSPolicy' && Object.hasOwn(outsideGroups, kind);
  return isOutside && outsideGroups[kind] === group ? (kind as ServedObject['kind']) : undefined;
}

/** Why a policy is not in force at a target. */
export interface TargetProblem {
  readonly reason: 'Conflicted' | 'TargetNotFound' | 'Invalid';
  readonly message: string;
}

export interface TargetPolicies {
  readonly inForce: readonly CompiledTrafficPolicy[];
  readonly problems: ReadonlyMap<PolicyObject, TargetProblem>;
}

/** Compiles a policy of any of these kinds. Error: the field that cannot be read. */
export function compilePolicyObject(object: PolicyObject): CompiledTrafficPolicy {
  switch (object.kind) {
    case 'TrafficPolicy':
      return compileTrafficPolicy(object);
    case 'AuthenticationPolicy':
      return compileAuthenticationPolicy(object);
    case 'XBackendTrafficPolicy':
      return compileBackendTrafficPolicy(object);
    case 'BackendTLSPolicy': {
      const origin = `BackendTLSPolicy ${namespaceOf(object)}/${object.metadata.name}`;
      return { origin, sections: [], from: [], unread: ['endpointTls'], tls: object };
    }
  }
}

const byAge = (a: PolicyObject, b: PolicyObject): number =>
  createdMs(a) - createdMs(b) || (nameOf(a) < nameOf(b) ? -1 : 1);
const nameOf = ({ kind, metadata }: PolicyObject): string =>
  `${namespaceOf({ metadata })}/${metadata.name} ${kind}`;

/** What a policy sets, each with the clients: two policies of one target must not set the same. */
function claimsOf({ sections, from, unread }: CompiledTrafficPolicy): string[] {
  const clients = from.length === 0 ? ['*'] : from.map(clientKey);
  const settings = [
    ...sections
      .filter(({ name }) => !additiveSections.has(name))
      .flatMap((one) =>
        Object.keys(one.settings).map((name) => `${name}${one.isDryRun ? ' (dry run)' : ''}`),
      ),
    ...unread,
  ];
  return clients.flatMap((client) => settings.map((setting) => `${client} ${setting}`));
}

/**
 * Lists of the registry stay the same until their content changes. Each policy's status asks for the policies of its targets: without the
 * cache, the cost of many policies of one target would grow with the square of their number.
 */
const ofGateways = new WeakMap<readonly PolicyObject[], TargetPolicies>();
const ofServices = new WeakMap<
  readonly PolicyObject[],
  WeakMap<ServedObject, Map<number | undefined, TargetPolicies>>
>();

/** @param policies policies that target one Gateway, as the registry has them */
export function policiesOfGateway(policies: readonly PolicyObject[]): TargetPolicies {
  let known = ofGateways.get(policies);
  if (!known) ofGateways.set(policies, (known = policiesInForce(policies)));
  return known;
}

/**
 * @param policies policies that target the Service or its ports, as the registry has them
 * @param port undefined: the whole Service
 */
export function policiesOfService(
  policies: readonly PolicyObject[],
  service: ServedObject,
  port: number | undefined,
): TargetPolicies {
  let services = ofServices.get(policies);
  if (!services) ofServices.set(policies, (services = new WeakMap()));
  let ports = services.get(service);
  if (!ports) services.set(service, (ports = new Map()));
  let known = ports.get(port);
  if (!known) ports.set(port, (known = policiesInForce(policiesAt(policies, service, port))));
  return known;
}

/** @param policies policies of one target */
function policiesInForce(policies: readonly PolicyObject[]): TargetPolicies {
  const claimed = new Map<string, string>();
  const clients = new Set<string>();
  const inForce: CompiledTrafficPolicy[] = [];
  const problems = new Map<PolicyObject, TargetProblem>();
  for (const object of [...policies].sort(byAge)) {
    const compiled = compilePolicyObject(object);
    const claims = claimsOf(compiled);
    const taken = claims.find((claim) => claimed.has(claim));
    if (taken !== undefined) {
      const setting = taken.slice(taken.indexOf(' ') + 1);
      const message = `${claimed.get(taken)} sets ${setting} for the same target as well and is older: the whole policy is not in force there${restrictionsOf(compiled).length > 0 ? ', besides its externalAuthorization' : ''}`;
      problems.set(object, { reason: 'Conflicted', message });
      inForce.push(...restrictionsOf(compiled));
      continue;
    }
    const named = new Set([...clients, ...compiled.from.map(clientKey)]);
    if (named.size > clientsMax) {
      const message = `the policies of the target name more than ${clientsMax} clients in from`;
      problems.set(object, { reason: 'Invalid', message });
      // Without its clients it is unknown for whom: all are refused.
      for (const { origin } of restrictionsOf(compiled))
        inForce.push({ origin, sections: [], from: [], unread: [], closed: `${origin}: ${message}` });
      continue;
    }
    for (const one of named) clients.add(one);
    for (const claim of claims) claimed.set(claim, compiled.origin);
    inForce.push(compiled);
  }
  return { inForce, problems };
}

/** What stays in force of a policy that is not: sections that only restrict, and do not conflict with those of other policies. */
function restrictionsOf(compiled: CompiledTrafficPolicy): CompiledTrafficPolicy[] {
  const sections = compiled.sections.filter(({ name }) => additiveSections.has(name));
  return sections.length === 0 ? [] : [{ ...compiled, sections }];
}

/** The number of the port that a target names; undefined: no TCP port of the Service has this name or number. */
function portOfTarget(service: ServedObject, section: string): number | undefined {
  const ports = portsOf(service);
  // A name of a port is never a number.
  return ports.find(({ name, port }) => name === section || String(port) === section)?.port;
}

const isTarget = (ref: TargetRef, kind: string, name: string): boolean =>
  ref.kind === kind && ref.name === name;

/** The policies of a list that target the whole Service, or one of its ports. @param port absent: the whole Service */
const policiesAt = (
  policies: readonly PolicyObject[],
  service: ServedObject,
  port: number | undefined,
): readonly PolicyObject[] =>
  policies.filter(({ spec }) =>
    spec.targetRefs.some(
      (ref) =>
        isTarget(ref, service.kind, service.metadata.name) &&
        (ref.sectionName === undefined
          ? port === undefined
          : port !== undefined && portOfTarget(service, ref.sectionName) === port),
    ),
  );

export interface TargetLookup {
  /** Keys of issuers of tokens, which a status reports. */
  readonly keySets: KeyLookup;
  readonly servedObject: (
    kind: ServedObject['kind'],
    namespace: string,
    name: string,
  ) => ServedObject | undefined;
  readonly isWaypoint: (name: { readonly namespace: string; readonly name: string }) => boolean;
  /** Policies of a namespace that target an object of that namespace. */
  readonly policiesTargeting: (kind: TargetKind, namespace: string, name: string) => readonly PolicyObject[];
}

/** Why a policy is not in force at one of its targets; undefined: it is. */
export function targetProblem(
  object: PolicyObject,
  ref: TargetRef,
  lookup: TargetLookup,
): TargetProblem | undefined {
  const namespace = namespaceOf(object);
  const kind = backendKind(object, ref);
  if (!isTargeting(object) && kind === undefined)
    return { reason: 'Invalid', message: `${ref.kind} ${ref.name}: only Services are supported` };
  const notFound = (message: string): TargetProblem => ({ reason: 'TargetNotFound', message });
  if (ref.kind === 'Gateway') {
    if (!lookup.isWaypoint({ namespace, name: ref.name }))
      return notFound(`there is no Gateway ${namespace}/${ref.name} of class weft-waypoint`);
    return policiesOfGateway(lookup.policiesTargeting('Gateway', namespace, ref.name)).problems.get(object);
  }
  const service = kind && lookup.servedObject(kind, namespace, ref.name);
  if (!kind || !service) return notFound(`there is no ${kind ?? ref.kind} ${namespace}/${ref.name}`);
  const port = ref.sectionName === undefined ? undefined : portOfTarget(service, ref.sectionName);
  if (ref.sectionName !== undefined && port === undefined)
    return notFound(`${kind} ${namespace}/${ref.name} has no TCP port ${ref.sectionName}`);
  const all = lookup.policiesTargeting(kind, namespace, ref.name);
  return policiesOfService(all, service, port).problems.get(object);
}
