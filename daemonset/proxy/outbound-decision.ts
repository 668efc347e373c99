/**
 * What both relays decide about a captured connection: the client, the plan and its alternatives, what to do after a failure, and the
 * record. Pure functions of the view.
 */
import { WeftError } from '../../src/base/errors.js';
import { isEndpointFailure } from '../../src/hbone/endpoint-failure.js';
import { isV6, type SocketAddress } from '../../src/model/address.js';
import type { NodePod } from '../../src/model/node-pod.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import { choicesOf } from '../../src/state/resolve.js';
import type { MeshView } from '../../src/state/store.js';
import { openingOf, type Opening } from '../../src/telemetry/connection-record.js';
import type { LocalPod } from '../worker-ipc.js';
import {
  planOutbound,
  type OutboundInput,
  type OutboundPlan,
  type Refusal,
} from '../../src/path/choose-path.js';

/** How many other endpoints of a service are tried after one that cannot be reached. */
export const otherEndpointsMax = 2;

export type OpenPlan = Exclude<OutboundPlan, Refusal>;

/** What a captured connection is decided by. */
export interface Captured {
  readonly local: LocalPod;
  readonly client: SocketAddress;
  readonly dialed: SocketAddress;
  readonly picked: SocketAddress | undefined;
  /** Endpoints (address:port) that this connection could not reach. */
  readonly avoid: ReadonlySet<string>;
}

export interface OutboundView {
  readonly node: string;
  readonly view: MeshView;
  /** A pod of this node that is in the mesh. */
  localPod(uid: WorkloadUid): LocalPod | undefined;
}

const inputOf = ({ node, localPod }: OutboundView, captured: Captured, random: number): OutboundInput => {
  const { local, client, dialed, picked, avoid } = captured;
  return {
    source: local.pod,
    sourceIp: client.ip,
    dialed,
    node,
    picked,
    avoid,
    locality: (uid) => {
      const there = localPod(uid);
      if (!there) return 'elsewhere';
      return there.pod.sameNode === 'kernel' && local.pod.sameNode === 'kernel' ? 'joined' : 'encrypted';
    },
    random,
  };
};

export const planCaptured = (
  context: OutboundView,
  captured: Captured,
  random = Math.random(),
): OutboundPlan => planOutbound(context.view, inputOf(context, captured, random));

/**
 * All plans among which `planCaptured` chooses by its random number, each with the same probability. One plan, for a random number of its
 * own, if there are more than `max`: `isWhole` is false then.
 */
export function alternativesOf(
  context: OutboundView,
  captured: Captured,
  max: number,
): { readonly plans: readonly OutboundPlan[]; readonly isWhole: boolean } {
  const { view, node } = context;
  const { dialed, client, local, picked, avoid } = captured;
  const { namespace } = local.pod;
  const service = view.serviceByAddress(dialed.ip, namespace);
  const from = { ip: client.ip, namespace };
  const count = service ? choicesOf(view, service, dialed, from, node, picked, avoid).length : 1;
  if (count > max) return { plans: [planCaptured(context, captured)], isWhole: false };
  const plans = Array.from({ length: Math.max(1, count) }, (_, i) =>
    planCaptured(context, captured, (i + 0.5) / Math.max(1, count)),
  );
  return { plans, isWhole: true };
}

/**
 * What follows from a failed attempt. `isUnreachable`: it counts against the endpoint. `other`: the plan for another endpoint, if one
 * exists and may be tried; `avoid` has the failed endpoint then. `isRemembered`: connect() to the destination is refused for a short time.
 */
export function afterFailure(
  plan: { readonly target: string; readonly hasOthers: boolean },
  error: unknown,
  avoid: Set<string>,
  decide: () => OutboundPlan,
): { readonly other: OpenPlan | undefined; readonly isRemembered: boolean } {
  const code = error instanceof WeftError ? error.code : 'WEFT_INTERNAL';
  // A refusal by policy or a fault of this node says nothing about the endpoint.
  const isUnreachable = isEndpointFailure(error);
  let other: OutboundPlan | undefined;
  if (isUnreachable && plan.hasOthers) {
    avoid.add(plan.target);
    other = decide();
  }
  // No byte of the client was consumed yet, so another endpoint can serve the connection.
  if (other && other.kind !== 'refuse' && avoid.size <= otherEndpointsMax)
    return { other, isRemembered: false };
  // While untried endpoints are left, the destination is not known to be unreachable. A node that responds is reachable.
  const isUnavailable = code === 'WEFT_DIAL' || code === 'WEFT_TUNNEL_CONNECT';
  return {
    other: undefined,
    isRemembered: isUnreachable && isUnavailable && (other === undefined || other.kind === 'refuse'),
  };
}

/** Whether another endpoint may serve the connection if the plan's cannot be reached. */
export const hasOthers = (plan: OpenPlan): boolean =>
  plan.service !== undefined || (plan.kind === 'hbone' && plan.viaWaypoint);

/** The headers of the CONNECT request. */
export const baggageOf = ({ pod }: LocalPod): string =>
  `k8s.namespace.name=${pod.namespace},k8s.pod.name=${pod.name}`;

/**
 * The client's address of a captured connection, for policy and for the destination's getpeername(). With root in its network namespace a
 * pod may bind a socket to any address. An address that is not the pod's is replaced by the pod's own, as on the wire to another node.
 * Undefined if the pod has no address of that family.
 */
export function ownClient(
  pod: NodePod,
  remote: SocketAddress,
  dialed: SocketAddress,
): SocketAddress | undefined {
  if (pod.addresses.includes(remote.ip)) return remote;
  const ip = pod.addresses.find((own) => isV6(own) === isV6(dialed.ip));
  return ip === undefined ? undefined : { ip, port: remote.port };
}

/** The endpoint, or the replica of the waypoint that would choose an endpoint. */
export function targetOf(plan: OpenPlan): SocketAddress {
  if (plan.kind !== 'hbone') return plan.target;
  return plan.viaWaypoint ? plan.next : plan.authority;
}

export const noRecord: Refusal = {
  kind: 'refuse',
  code: 'WEFT_NO_NOTE',
  why: 'the kernel holds no handoff record of this connection',
  status: 503,
};

export const noAddress: Refusal = {
  kind: 'refuse',
  code: 'WEFT_SOURCE_ADDRESS',
  why: 'the pod has no address of the family that was dialed',
  status: 503,
};

export function describeOutbound(
  { view }: Pick<OutboundView, 'view'>,
  local: LocalPod,
  client: SocketAddress | undefined,
  dialed: SocketAddress | undefined,
  plan: OutboundPlan,
): Opening {
  const verdict = 'verdict' in plan ? plan.verdict : undefined;
  const workload = 'workload' in plan ? plan.workload : undefined;
  return openingOf({
    direction: 'outbound',
    path: plan.kind === 'refuse' ? 'refused' : plan.kind,
    why: plan.why,
    code: plan.kind === 'refuse' ? plan.code : undefined,
    source: {
      address: client,
      workload: view.workload(local.pod.uid),
      pod: local.pod,
      identity: local.pod.identity,
    },
    destination: {
      address: plan.kind === 'refuse' ? dialed : destinationOf(plan),
      workload,
      // Plaintext proves no identity.
      identity: plan.kind === 'plain' ? undefined : workload?.identity,
    },
    dialed,
    service: 'service' in plan ? plan.service : undefined,
    waypoint: plan.kind === 'hbone' && plan.viaWaypoint ? plan.next : undefined,
    verdict,
  });
}

/** The destination address of the record: what the tunnel asks for, also if a waypoint is at its end. */
const destinationOf = (plan: OpenPlan): SocketAddress =>
  plan.kind === 'hbone' ? plan.authority : plan.target;
