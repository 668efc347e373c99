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
 * A Gateway is Programmed once its Service has addresses by which nodes reach it, and an available replica behind them.
 * @param service the Service of the Gateway's name
 * @param health undefined: this control plane does not create the waypoint's objects
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
    `nodes reach the waypoint at Service ${name}`,
  );
  const unaccepted = health?.problem?.reason === 'InvalidParameters' ? health.problem : undefined;
  const accepted = trueUnless('Accepted', unaccepted, 'a waypoint of Weft');
  const listenerConditions = [
    condition('Accepted', 'True', 'Accepted', 'accepts HBONE tunnels on port 15008'),
    // The Gateway API has fewer reasons for listeners than for Gateways.
    programmed.status === 'True' || programmed.reason === 'Invalid'
      ? programmed
      : { ...programmed, reason: 'Pending' },
    condition('ResolvedRefs', 'True', 'ResolvedRefs', 'the listener has no references'),
    condition('Conflicted', 'False', 'NoConflicts', 'the listener has no conflicts'),
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

/** Why the Gateway is not Programmed; undefined if at least one replica is available as the Gateway specifies. */
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
      message: `${message}; existing objects of the waypoint stay unchanged`,
    };
  }
  if (!replicas) return { reason: 'Pending', message: `Deployment ${name} does not exist yet` };
  if (replicas.wanted === 0)
    return {
      reason: 'NoResources',
      message: `Deployment ${name} is scaled to zero: connections that need the waypoint are refused`,
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

/** Message of the Deployment's most specific condition: quota and admission failures come first. */
function unavailableBecause({ conditions = [] }: WaypointHealth): string {
  const failing = [
    conditions.find(({ type, status }) => type === 'ReplicaFailure' && status === 'True'),
    conditions.find(({ type, status }) => type === 'Progressing' && status === 'False'),
    conditions.find(({ type, status }) => type === 'Available' && status === 'False'),
  ].find((one) => one?.message);
  return failing?.message ?? 'its replicas are starting';
}
