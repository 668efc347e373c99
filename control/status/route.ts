/**
 * What is said of routes, waypoints and policies on the objects themselves: conditions in the Gateway API's words, and
 * `weft.dev/Enforced` where something is accepted that nobody carries out. Pure.
 */
import { labelsOf, namespaceOf, selects } from '../../src/model/labels.js';
import {
  enforcedType,
  waypointBoundType,
  type AccessPolicyObject,
  type Condition,
  type GatewayObject,
  type Meta,
  type ParentStatus,
  type RouteObject,
  type ServiceObject,
} from '../objects/objects.js';
import { readsRequests } from '../compile/policies.js';
import type { ParentVerdict, RouteTrouble } from '../compile/route-parents.js';
import type { CompiledRoute } from '../compile/routes.js';
import { waypointController, type WaypointName } from '../compile/waypoints.js';

/** As published (RFC 1123), of conditions. */
const messageCharsMax = 32_768;

/** What is asked of the rest of the mesh. */
export interface StatusSurroundings {
  /** What a Service's labels and its namespace's name. */
  readonly waypointOf: (service: ServiceObject) => WaypointName | undefined;
  /** Whether there is such a Gateway, and its class is ours. */
  readonly isWaypoint: (name: WaypointName) => boolean;
  /** Whether a waypoint serves Services of this namespace. */
  readonly admits: (waypoint: WaypointName, namespace: string) => boolean;
  readonly service: (namespace: string, name: string) => ServiceObject | undefined;
  readonly services: (namespace: string) => readonly ServiceObject[];
  /** What policies select: pods, and what stands for one on another machine. */
  readonly selectable: (namespace: string) => readonly { readonly metadata: Meta }[];
  /** All in which there is something. */
  readonly namespaces: () => Iterable<string>;
  /** Whose policies apply to the whole mesh. */
  readonly rootNamespace: string;
}

export type Saying = Required<Pick<Condition, 'type' | 'status' | 'reason' | 'message'>>;
const saying = (type: string, status: 'True' | 'False', reason: string, message: string): Saying => ({
  type,
  status,
  reason,
  message: message.slice(0, messageCharsMax),
});
const holds = (type: string, trouble: RouteTrouble | undefined, message: string): Saying =>
  trouble ? saying(type, 'False', trouble.reason, trouble.message) : saying(type, 'True', type, message);

/** Undefined where a waypoint carries out what is attached to the Service. */
function unenforced(service: ServiceObject, around: StatusSurroundings): RouteTrouble | undefined {
  const name = `${namespaceOf(service)}/${service.metadata.name}`;
  const waypoint = around.waypointOf(service);
  if (!waypoint) {
    return {
      reason: 'NoWaypoint',
      message: `Service ${name} has no waypoint: label it or its namespace weft.dev/waypoint=<name>, and make the Gateway <name> of class weft-waypoint`,
    };
  }
  return unbound(name, namespaceOf(service), waypoint, around);
}

/** Why the waypoint that a Service's labels name does not serve it: then the Service is closed. Undefined where it does. */
function unbound(
  name: string,
  namespace: string,
  waypoint: WaypointName,
  around: Pick<StatusSurroundings, 'isWaypoint' | 'admits'>,
): RouteTrouble | undefined {
  const gateway = `${waypoint.namespace}/${waypoint.name}`;
  if (!around.isWaypoint(waypoint)) {
    return {
      reason: 'WaypointMissing',
      message: `Service ${name} names the waypoint ${gateway}, and there is no Gateway of class weft-waypoint of that name: make it, or its clients are refused`,
    };
  }
  if (around.admits(waypoint, namespace)) return undefined;
  return {
    reason: 'WaypointNotAllowed',
    message: `Service ${name} names the waypoint ${gateway}, whose Gateway does not admit namespace ${namespace}: the Service's clients are refused until allowedRoutes.namespaces of the Gateway's HBONE listener admits it, or the label is taken off`,
  };
}

/** What is said of a Service whose labels name a waypoint; undefined where they name none. */
export function waypointBound(
  service: ServiceObject,
  around: Pick<StatusSurroundings, 'waypointOf' | 'isWaypoint' | 'admits'>,
): Saying | undefined {
  const waypoint = around.waypointOf(service);
  if (!waypoint) return undefined;
  const namespace = namespaceOf(service);
  const why = unbound(`${namespace}/${service.metadata.name}`, namespace, waypoint, around);
  return why
    ? saying(waypointBoundType, 'False', why.reason, why.message)
    : saying(
        waypointBoundType,
        'True',
        'WaypointAccepted',
        `served by the waypoint ${waypoint.namespace}/${waypoint.name}`,
      );
}

function parentConditions(
  { service, trouble, note }: ParentVerdict,
  { unsupported, unresolved, invalid, unread }: CompiledRoute,
  around: StatusSurroundings,
): readonly Saying[] {
  const closed: RouteTrouble | undefined = invalid && {
    reason: 'UnsupportedValue',
    message: `${invalid.message}; requests for which ${invalid.everyRule ? 'it' : 'such a rule'} might hold are answered with 500`,
  };
  const accepted = trouble ?? unsupported ?? (invalid?.everyRule ? closed : undefined);
  const settings = unread === undefined ? undefined : { reason: 'UnsupportedValue', message: unread };
  const waypoint = service && !trouble ? (unenforced(service, around) ?? settings) : undefined;
  return [
    holds('Accepted', accepted, note ?? 'attached to the Service'),
    holds('ResolvedRefs', unresolved, 'all references name something'),
    // The specification has the message begin so.
    ...(closed && !invalid?.everyRule && !trouble
      ? [saying('PartiallyInvalid', 'True', closed.reason, `Dropped Rule: ${closed.message}`)]
      : []),
    ...(waypoint ? [saying(enforcedType, 'False', waypoint.reason, waypoint.message)] : []),
  ];
}

/**
 * As it is to be written: with the generation that it is about, and the time at which it came to be so. One that says the same
 * now stays as it is.
 */
export function conditionsOf(
  sayings: readonly Saying[],
  now: readonly Condition[] | undefined,
  generation: number | undefined,
  timestamp: string,
): readonly Condition[] {
  return sayings.map((one) => {
    const before = now?.find(({ type }) => type === one.type);
    const since = before?.status === one.status ? before.lastTransitionTime : undefined;
    return { ...one, observedGeneration: generation ?? 0, lastTransitionTime: since ?? timestamp };
  });
}

const sameRef = (a: ParentStatus['parentRef'], b: ParentStatus['parentRef'], own: string): boolean =>
  (a.group ?? 'gateway.networking.k8s.io') === (b.group ?? 'gateway.networking.k8s.io') &&
  (a.kind ?? 'Gateway') === (b.kind ?? 'Gateway') &&
  (a.namespace ?? own) === (b.namespace ?? own) &&
  a.name === b.name &&
  a.sectionName === b.sectionName &&
  a.port === b.port;

/**
 * A route's status.parents with our entries as they shall be: other controllers' stay where they are and as they are.
 */
export function routeParents(
  object: RouteObject,
  compiled: CompiledRoute,
  around: StatusSurroundings,
  timestamp: string,
): readonly ParentStatus[] {
  const now = object.status?.parents ?? [];
  const { generation } = object.metadata;
  const own = namespaceOf(object);
  const wanted: readonly { readonly ref: ParentStatus['parentRef']; readonly sayings: readonly Saying[] }[] =
    compiled.parents.map((verdict) => ({
      ref: verdict.ref,
      sayings: parentConditions(verdict, compiled, around),
    }));
  const isOurs = ({ controllerName }: ParentStatus): boolean => controllerName === waypointController;
  const left = [...wanted];
  const kept = now.flatMap((entry): ParentStatus[] => {
    if (!isOurs(entry)) return [entry];
    const at = left.findIndex(({ ref }) => sameRef(ref, entry.parentRef, own));
    const [found] = at < 0 ? [] : left.splice(at, 1);
    // A parent that it names no more.
    if (!found) return [];
    const conditions = conditionsOf(found.sayings, entry.conditions, generation, timestamp);
    return [{ parentRef: found.ref, controllerName: waypointController, conditions }];
  });
  const added = left.map(({ ref, sayings }): ParentStatus => ({
    parentRef: ref,
    controllerName: waypointController,
    conditions: conditionsOf(sayings, undefined, generation, timestamp),
  }));
  return [...kept, ...added];
}

const unjudged =
  '; there such a rule of an ALLOW policy allows nothing, and of a DENY policy denies all that it could';

/** Of a policy by selector or namespace: a workload that no Service names is nobody's to call, so it does not count. */
function selectedEnforcement(policy: AccessPolicyObject, around: StatusSurroundings): Saying {
  const own = namespaceOf(policy);
  const selector = policy.spec.selector?.matchLabels;
  const everywhere = own === around.rootNamespace && !selector;
  let judged = false;
  for (const namespace of everywhere ? around.namespaces() : [own]) {
    const services = around.services(namespace);
    for (const one of around.selectable(namespace)) {
      const labels = labelsOf(one);
      if (selector && !selects(selector, labels)) continue;
      // By whichever Service it is called: its agent takes requests from that waypoint.
      const troubles = services
        .filter(({ spec }) => selects(spec.selector, labels))
        .map((service) => unenforced(service, around));
      if (troubles.includes(undefined)) judged = true;
      const [why] = troubles;
      if (why && !troubles.includes(undefined))
        return saying(enforcedType, 'False', why.reason, `${why.message}${unjudged}`);
    }
  }
  return judged
    ? saying(enforcedType, 'True', 'Enforced', 'at the waypoints of the workloads that it selects')
    : saying(
        enforcedType,
        'False',
        'NoWaypoint',
        `methods, paths, hosts and headers are judged at waypoints, and no workload that it selects is behind a Service that has one${unjudged}`,
      );
}

/** Undefined where a policy is judged wherever it shall be, or asks for no waypoint. */
export function policyEnforcement(
  policy: AccessPolicyObject,
  around: StatusSurroundings,
): Saying | undefined {
  if (!readsRequests(policy)) return undefined;
  const { targetRefs } = policy.spec;
  if (!targetRefs) return selectedEnforcement(policy, around);
  const namespace = namespaceOf(policy);
  for (const { name } of targetRefs) {
    const service = around.service(namespace, name);
    const why = service
      ? unenforced(service, around)
      : { reason: 'TargetNotFound', message: `there is no Service ${namespace}/${name}` };
    if (why) return saying(enforcedType, 'False', why.reason, why.message);
  }
  return saying(enforcedType, 'True', 'Enforced', 'at the waypoint of each Service that it names');
}

export interface GatewayAddress {
  readonly type: 'IPAddress';
  readonly value: string;
}
export interface GatewayStatus {
  readonly addresses: readonly GatewayAddress[];
  readonly conditions: readonly Condition[];
  readonly listeners: readonly object[];
}

/** Why what a Gateway asks for is not there; reasons are the Gateway API's. */
export interface WaypointTrouble {
  readonly reason: 'Invalid' | 'InvalidParameters' | 'Pending';
  readonly message: string;
}
/** Of what runs for a Gateway: its Deployment, where it is there, and what stood in the way of what was to be made. */
export interface WaypointHealth {
  readonly trouble?: WaypointTrouble;
  readonly replicas?: { readonly wanted: number; readonly available: number };
  /** The Deployment's. */
  readonly conditions?: readonly Condition[];
}

/** The most that the Deployment says of why it has none: quotas and admission come before the rest. */
function unavailableBecause({ conditions = [] }: WaypointHealth): string {
  const said = [
    conditions.find(({ type, status }) => type === 'ReplicaFailure' && status === 'True'),
    conditions.find(({ type, status }) => type === 'Progressing' && status === 'False'),
    conditions.find(({ type, status }) => type === 'Available' && status === 'False'),
  ].find((one) => one?.message);
  return said?.message ?? 'they are being started';
}

/** Undefined where at least one replica serves as the Gateway says. */
function unprogrammed(
  name: string,
  ips: readonly string[],
  health: WaypointHealth,
): RouteTrouble | undefined {
  const { trouble, replicas } = health;
  if (trouble) {
    const { reason, message } = trouble;
    return {
      reason: reason === 'InvalidParameters' ? 'Invalid' : reason,
      message: `${message}; what was made before stays`,
    };
  }
  if (!replicas) return { reason: 'Pending', message: `Deployment ${name} is not there yet` };
  if (replicas.wanted === 0)
    return {
      reason: 'NoResources',
      message: `Deployment ${name} is scaled to zero: what goes through it is refused`,
    };
  if (replicas.available === 0)
    return {
      reason: 'Pending',
      message: `Deployment ${name} has no available replica: ${unavailableBecause(health)}`,
    };
  return ips.length > 0
    ? undefined
    : { reason: 'AddressNotAssigned', message: `Service ${name} has no address` };
}

/**
 * Of a Gateway of our class: programmed once its Service has addresses by which nodes reach it, and a replica behind them.
 * @param service of the Gateway's own name
 * @param health absent: what runs for it is not ours to look at
 */
export function gatewayStatus(
  gateway: GatewayObject,
  service: ServiceObject | undefined,
  timestamp: string,
  health?: WaypointHealth,
): GatewayStatus {
  const { generation } = gateway.metadata;
  const ips = (service?.spec.clusterIPs ?? [service?.spec.clusterIP ?? '']).filter(
    (ip) => ip !== '' && ip !== 'None',
  );
  const name = `${namespaceOf(gateway)}/${gateway.metadata.name}`;
  const unassigned =
    ips.length > 0
      ? undefined
      : {
          reason: 'AddressNotAssigned',
          message: service ? `Service ${name} has no address` : `there is no Service ${name}`,
        };
  const programmed = holds(
    'Programmed',
    health ? unprogrammed(name, ips, health) : unassigned,
    `nodes reach it by Service ${name}`,
  );
  const wrong = health?.trouble?.reason === 'InvalidParameters' ? health.trouble : undefined;
  const accepted = holds('Accepted', wrong, 'a waypoint of Weft');
  return {
    addresses: ips.map((value) => ({ type: 'IPAddress', value })),
    conditions: conditionsOf([accepted, programmed], gateway.status?.conditions, generation, timestamp),
    listeners: (gateway.spec.listeners ?? []).map((listener) => {
      const before = gateway.status?.listeners?.find((one) => one.name === listener.name);
      const sayings = [
        saying('Accepted', 'True', 'Accepted', 'it takes tunnels on port 15008'),
        // Listeners have fewer reasons than Gateways.
        programmed.status === 'True' || programmed.reason === 'Invalid'
          ? programmed
          : { ...programmed, reason: 'Pending' },
        saying('ResolvedRefs', 'True', 'ResolvedRefs', 'there are none'),
        saying('Conflicted', 'False', 'NoConflicts', 'there is none'),
      ];
      return {
        name: listener.name,
        // Routes are attached to Services, not to it.
        attachedRoutes: 0,
        supportedKinds: [],
        conditions: conditionsOf(sayings, before?.conditions, generation, timestamp),
      };
    }),
  };
}

export const classConditions = (
  metadata: Meta,
  now: readonly Condition[] | undefined,
  timestamp: string,
): readonly Condition[] =>
  conditionsOf(
    [saying('Accepted', 'True', 'Accepted', 'Gateways of this class are waypoints of Weft')],
    now,
    metadata.generation,
    timestamp,
  );
