/** The status of a Gateway of Weft's class: a waypoint. Pure. */
import { isDeepStrictEqual } from 'node:util';
import { namespaceOf } from '../../src/model/labels.js';
import type { Condition, GatewayObject, ServiceObject } from '../objects/objects.js';
import {
  condition,
  hasConditions,
  trueUnless,
  withTransitionTimes,
  type ConditionReason,
} from './conditions.js';
import type { StatusLookup, StatusUpdate, WaypointHealth } from './status.js';

/** Undefined for Gateways of other classes. */
export function gatewayStatus(
  gateway: GatewayObject,
  { mesh, waypointHealth, timestamp }: StatusLookup,
): StatusUpdate | undefined {
  const { name } = gateway.metadata;
  const namespace = namespaceOf(gateway);
  if (!mesh.isWaypoint({ namespace, name })) return undefined;
  const status = waypointStatus(gateway, mesh.service(namespace, name), timestamp, waypointHealth?.(gateway));
  const { addresses = [], conditions, listeners = [] } = gateway.status ?? {};
  return hasConditions(conditions, status.conditions) &&
    isDeepStrictEqual(addresses, status.addresses) &&
    isDeepStrictEqual(listeners, status.listeners)
    ? undefined
    : { status };
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

/**
 * Programmed once the Gateway's Service has addresses by which nodes reach it, and a replica behind them.
 * @param service of the Gateway's own name
 * @param health undefined: what runs for it is not made by this control plane
 */
export function waypointStatus(
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
  const programmed = trueUnless(
    'Programmed',
    health ? unprogrammedBecause(name, ips, health) : unassigned,
    `nodes reach it by Service ${name}`,
  );
  const unaccepted = health?.problem?.reason === 'InvalidParameters' ? health.problem : undefined;
  const accepted = trueUnless('Accepted', unaccepted, 'a waypoint of Weft');
  const listenerConditions = [
    condition('Accepted', 'True', 'Accepted', 'it takes tunnels on port 15008'),
    // Listeners have fewer reasons than Gateways.
    programmed.status === 'True' || programmed.reason === 'Invalid'
      ? programmed
      : { ...programmed, reason: 'Pending' },
    condition('ResolvedRefs', 'True', 'ResolvedRefs', 'there are none'),
    condition('Conflicted', 'False', 'NoConflicts', 'there is none'),
  ];
  return {
    addresses: ips.map((value) => ({ type: 'IPAddress', value })),
    conditions: withTransitionTimes(
      [accepted, programmed],
      gateway.status?.conditions,
      generation,
      timestamp,
    ),
    listeners: (gateway.spec.listeners ?? []).map((listener) => {
      const present = gateway.status?.listeners?.find((one) => one.name === listener.name);
      return {
        name: listener.name,
        // Routes are attached to Services, not to listeners.
        attachedRoutes: 0,
        supportedKinds: [],
        conditions: withTransitionTimes(listenerConditions, present?.conditions, generation, timestamp),
      };
    }),
  };
}

/** Undefined where at least one replica serves as the Gateway asks. */
function unprogrammedBecause(
  name: string,
  ips: readonly string[],
  health: WaypointHealth,
): ConditionReason | undefined {
  const { problem, replicas } = health;
  if (problem) {
    const { reason, message } = problem;
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

/** The Deployment's most specific condition: quotas and admission come before the rest. */
function unavailableBecause({ conditions = [] }: WaypointHealth): string {
  const failing = [
    conditions.find(({ type, status }) => type === 'ReplicaFailure' && status === 'True'),
    conditions.find(({ type, status }) => type === 'Progressing' && status === 'False'),
    conditions.find(({ type, status }) => type === 'Available' && status === 'False'),
  ].find((one) => one?.message);
  return failing?.message ?? 'they are being started';
}
