/**
 * The policies of the pods behind a Service whose requests need tokens. The waypoint validates tokens for requests to the Service; these policies
 * refuse what did not pass that: connections that no waypoint reads, and requests by another name, address or route whose tokens nobody has
 * validated. Pure.
 */
import { namespaceOf, labelsOf, selects, type Labels } from '../../src/model/labels.js';
import {
  emptyHttpMatch,
  emptyMatch,
  type AuthorizationPolicy,
  type PolicyKey,
} from '../../src/model/policy.js';
import { isTried } from '../dialects/istio/request-tokens.js';
import { requestsTargeting, tokenConditions } from '../dialects/istio/token-rules.js';
import type { ServiceObject } from '../objects/objects.js';
import type { Registry } from '../registry/registry.js';
import { auditedBy, type AuditLookup } from './audit.js';
import { targetPortOf } from './container-ports.js';
import { tcpPorts } from './service.js';
import { policiesOfGateway, policiesOfService } from './traffic-policy-targets.js';
import type { CompiledTrafficPolicy } from './traffic-policy.js';
import { refusedRequests, type Conditions } from './unverified-tokens.js';
import { podOfWorkload } from './workload.js';

type GuardLookup = Pick<
  Registry,
  'policiesTargeting' | 'waypointOf' | 'indexes' | 'hasAuthentication' | 'services' | keyof AuditLookup
>;
type Guarded = CompiledTrafficPolicy & {
  readonly authentication: NonNullable<CompiledTrafficPolicy['authentication']>;
};

const authenticates = (one: CompiledTrafficPolicy): one is Guarded => one.authentication !== undefined;

/** An AuthenticationPolicy in force. */
interface Governing {
  readonly policy: Guarded;
  /** It is in audit mode. */
  readonly isTried: boolean;
}

/**
 * The AuthenticationPolicy in force for each port of a Service: of the port, else of the Service, else of the waypoint's Gateway. One in
 * audit mode takes nothing away from a less specific one that is enforced: then both are.
 */
export function authenticationOf(
  service: ServiceObject,
  registry: GuardLookup,
): ReadonlyMap<number, readonly Governing[]> {
  const found = new Map<number, readonly Governing[]>();
  const targeting = registry.policiesTargeting('Service', namespaceOf(service), service.metadata.name);
  const waypoint = registry.waypointOf(service);
  const ofGateway = waypoint
    ? policiesOfGateway(registry.policiesTargeting('Gateway', waypoint.namespace, waypoint.name)).inForce
    : [];
  if (targeting.length === 0 && ofGateway.length === 0) return found;
  for (const { port } of tcpPorts(service)) {
    const own = namespaceOf(service);
    const levels = [
      { owner: own, policies: policiesOfService(targeting, service, port).inForce },
      { owner: own, policies: policiesOfService(targeting, service, undefined).inForce },
      { owner: waypoint?.namespace ?? own, policies: ofGateway },
    ].flatMap(({ owner, policies }): Governing[] => {
      const policy = policies.find(authenticates);
      const isTried = policy?.authentication !== 'closed' && auditedBy(owner, registry) !== undefined;
      return policy ? [{ policy, isTried }] : [];
    });
    const [first] = levels;
    if (!first) continue;
    const closed = levels.find(({ policy }) => policy.authentication === 'closed');
    const enforced = closed ?? levels.find(({ isTried }) => !isTried);
    found.set(port, [...new Set([...(first.isTried ? [first] : []), ...(enforced ? [enforced] : [])])]);
  }
  return found;
}

/** What the pods behind a Service refuse for one policy. */
interface Guard {
  /** Kind and name of the policy. */
  readonly origin: string;
  /** Ports of the Service. */
  readonly ports: ReadonlySet<number>;
  /** What would be refused is recorded instead. */
  readonly isTried: boolean;
  /** Absent conditions: everything. */
  readonly refused: () => readonly (Conditions | undefined)[];
}

function guardsOf(service: ServiceObject, registry: GuardLookup): Guard[] {
  if (!registry.hasAuthentication) return [];
  const byPolicy = new Map<Guarded, { readonly ports: Set<number>; readonly isTried: boolean }>();
  for (const [port, governing] of authenticationOf(service, registry))
    for (const { policy, isTried } of governing) {
      const { ports } = byPolicy.get(policy) ?? { ports: new Set<number>() };
      byPolicy.set(policy, { ports: ports.add(port), isTried });
    }
  const all = new Set(tcpPorts(service).map(({ port }) => port));
  return [
    ...[...byPolicy].map(([{ origin, authentication }, { ports, isTried }]): Guard => ({
      origin,
      ports,
      isTried,
      refused: () => (authentication === 'closed' ? [undefined] : refusedRequests(authentication)),
    })),
    ...requestsTargeting(service, registry).map((object): Guard => ({
      origin: `${object.kind} ${namespaceOf(object)}/${object.metadata.name}`,
      ports: all,
      isTried: isTried(object, registry),
      refused: () => tokenConditions(object),
    })),
  ];
}

/** Whether the pods of the Service refuse what was not validated. */
export const isGuarded = (service: ServiceObject, registry: GuardLookup): boolean =>
  guardsOf(service, registry).length > 0;

/** The name as a resource: no object has a name with a slash. */
const keyOf = (service: ServiceObject, { origin }: Guard): PolicyKey =>
  `${namespaceOf(service)}/${origin.replaceAll(' ', '/')}@${service.metadata.name}` as PolicyKey;

/** Ports of the pods behind a port of the Service. */
function podPorts(
  service: ServiceObject,
  port: ReturnType<typeof tcpPorts>[number],
  registry: GuardLookup,
): number[] {
  if (typeof port.targetPort !== 'string') return [port.targetPort ?? port.port];
  const namespace = namespaceOf(service);
  const pods = [
    ...registry.indexes.Pod.in(namespace),
    ...registry.indexes.Workload.in(namespace).map(podOfWorkload),
  ].filter((pod) => selects(service.spec.selector, labelsOf(pod)));
  return [...new Set(pods.map((pod) => targetPortOf(pod, port)))].filter((one) => one > 0);
}

/** The policies for the pods behind a Service. */
export function tokenGuards(service: ServiceObject, registry: GuardLookup): AuthorizationPolicy[] {
  return guardsOf(service, registry).flatMap((guard): AuthorizationPolicy[] => {
    const ports = new Set(
      tcpPorts(service)
        .filter(({ port }) => guard.ports.has(port))
        .flatMap((port) => podPorts(service, port, registry)),
    );
    // A policy without ports would be for all of them.
    if (ports.size === 0) return [];
    const key = keyOf(service, guard);
    const namespace = namespaceOf(service);
    const layer4 = { ...emptyMatch, destinationPorts: [...ports].sort((a, b) => a - b) };
    return [
      {
        key,
        name: key.slice(namespace.length + 1),
        namespace,
        scope: 'workload',
        services: [],
        action: 'deny',
        dryRun: guard.isTried,
        rules: guard.refused().map((http) => ({
          clauses: [{ matches: [{ ...layer4, ...(http ? { http: { ...emptyHttpMatch, ...http } } : {}) }] }],
        })),
      },
    ];
  });
}

/** What the pods of a namespace reference. */
export interface NamespaceGuards {
  /** Keys of the policies for a pod. */
  of(labels: Labels): string[];
}
/** The policies that pods of a namespace reference, by their labels. */
export function namespaceGuards(namespace: string, registry: GuardLookup): NamespaceGuards {
  const guards = (registry.hasAuthentication ? registry.services(namespace) : []).flatMap((service) => {
    const keys = guardsOf(service, registry).map((guard) => keyOf(service, guard));
    return keys.length === 0 ? [] : [{ selector: service.spec.selector, keys }];
  });
  return {
    of: (labels) =>
      guards
        .filter(({ selector }) => selects(selector, labels))
        .flatMap(({ keys }): string[] => keys)
        .sort(),
  };
}
