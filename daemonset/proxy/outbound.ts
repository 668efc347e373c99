/** Connections of a pod's applications that connect() sent to the agent. */
import type net from 'node:net';
import { errorText, WeftError } from '../../src/base/errors.js';
import { formatSocketAddress, isV6, type SocketAddress } from '../../src/model/address.js';
import type { NodePod } from '../../src/model/node-pod.js';
import { relay } from '../../src/hbone/relay.js';
import { isEndpointFailure } from '../../src/hbone/endpoint-failure.js';
import { openingOf, type Opening } from '../../src/telemetry/connection-record.js';
import type { LocalPod } from '../worker-ipc.js';
import { endsOf } from '../pod/sockets.js';
import type { ProxyContext } from './context.js';
import { planOutbound, type OutboundPlan } from './choose-path.js';
import { TrackedConnection } from './tracked-connection.js';

/** How many further endpoints of a service are tried where one cannot be reached. */
const otherEndpointsMax = 2;

export async function handleOutbound(
  context: ProxyContext,
  local: LocalPod,
  socket: net.Socket,
): Promise<void> {
  const track = TrackedConnection.begin(context, socket, local.pod.uid);
  if (!track) return;
  const ends = endsOf(socket);
  const handoff = ends && context.sockets.dialedBy(socket);
  if (!ends || !handoff) {
    track.refuse(
      describeOutbound(
        context,
        local,
        undefined,
        undefined,
        refusal('WEFT_NO_NOTE', 'no note says what was dialled'),
      ),
    );
    return;
  }
  const { dialled, picked } = handoff;
  const client = ownClient(local.pod, ends.remote, dialled);
  if (!client) {
    track.refuse(
      describeOutbound(
        context,
        local,
        undefined,
        dialled,
        refusal('WEFT_SOURCE_ADDRESS', 'the pod has no address of the family that was dialed'),
      ),
    );
    return;
  }
  const avoid = new Set<string>();
  const decide = (): OutboundPlan =>
    planOutbound(context.view, {
      source: local.pod,
      sourceIp: client.ip,
      dialled,
      node: context.node,
      picked,
      avoid,
      locality: (uid) => {
        const there = context.localPod(uid);
        if (!there) return 'elsewhere';
        return there.pod.sameNode === 'kernel' && local.pod.sameNode === 'kernel' ? 'joined' : 'encrypted';
      },
      random: Math.random(),
    });
  let plan = decide();
  if (plan.kind === 'refuse') {
    context.sockets.rememberFailure(local.netns, dialled);
    track.refuse(describeOutbound(context, local, client, dialled, plan));
    return;
  }
  for (;;) {
    const opening = describeOutbound(context, local, client, dialled, plan);
    try {
      const peer = await reach(context, local, client, track, plan);
      if (track.wasCut) {
        peer.destroy();
        track.refuse({ ...opening, code: 'WEFT_DENIED', why: 'forbidden while it was being opened' });
        return;
      }
      track.follow(opening, relay(socket, peer));
      return;
    } catch (error) {
      const code = error instanceof WeftError ? error.code : 'WEFT_INTERNAL';
      // A refusal by policy, and what this node itself lacks, say nothing of the endpoint.
      const isUnreachable = isEndpointFailure(error);
      let other: OutboundPlan | undefined;
      if (isUnreachable && (plan.service || (plan.kind === 'hbone' && plan.viaWaypoint)) && !track.wasCut) {
        avoid.add(formatSocketAddress(targetOf(plan)));
        other = decide();
      }
      // Not a byte of the client was taken: another endpoint serves it as well.
      if (other && other.kind !== 'refuse' && avoid.size <= otherEndpointsMax) {
        track.unwatch();
        plan = other;
        continue;
      }
      // Where endpoints are left that were not tried, the destination itself is not known to be unreachable. A node that responds is there.
      const isUnavailable = code === 'WEFT_DIAL' || code === 'WEFT_TUNNEL_CONNECT';
      if (isUnreachable && isUnavailable && (other === undefined || other.kind === 'refuse'))
        context.sockets.rememberFailure(local.netns, dialled);
      track.refuse({ ...opening, code, why: errorText(error) });
      return;
    }
  }
}

/**
 * Whom a captured connection is of, for policy and for the destination's getpeername(). As root in its network namespace a pod
 * may bind a socket to any address; an address that is not the pod's is replaced by the pod's own, as on the wire to another
 * node. Undefined where the pod has none of that family.
 */
export function ownClient(
  pod: NodePod,
  remote: SocketAddress,
  dialled: SocketAddress,
): SocketAddress | undefined {
  if (pod.addresses.includes(remote.ip)) return remote;
  const ip = pod.addresses.find((own) => isV6(own) === isV6(dialled.ip));
  return ip === undefined ? undefined : { ip, port: remote.port };
}

/** The endpoint, or the waypoint's replica that would choose one. */
function targetOf(plan: Open): SocketAddress {
  if (plan.kind !== 'hbone') return plan.target;
  return plan.viaWaypoint ? plan.next : plan.authority;
}

type Open = Exclude<OutboundPlan, { kind: 'refuse' }>;

async function reach(
  context: ProxyContext,
  local: LocalPod,
  client: SocketAddress,
  track: TrackedConnection,
  plan: Open,
) {
  switch (plan.kind) {
    case 'plain':
      return context.sockets.dial(local.netns, plan.target);
    case 'local': {
      const destination = context.localPod(plan.workload.uid);
      if (!destination)
        throw new WeftError('WEFT_POD_GONE', 'the destination left this node a moment ago', {
          retryable: true,
        });
      track.watch(plan.workload.uid, plan.attributes);
      // Those that follow need not come here, where policy allows that.
      context.requestVerdict(local.pod.uid, plan.workload.uid, plan.target.port);
      return context.sockets.dial(destination.netns, plan.target, client);
    }
    case 'hbone': {
      const svid = await context.svid(local.pod.identity);
      if (!svid) {
        throw new WeftError(
          'WEFT_NO_CERTIFICATE',
          `no certificate for ${local.pod.identity} yet: see the control plane`,
          {
            retryable: true,
          },
        );
      }
      const { stream } = await context.pool.open({
        svid,
        expected: plan.expected,
        destination: plan.next,
        authority: formatSocketAddress(plan.authority),
        source: tunnelSource(local),
        headers: {
          forwarded: `for="${formatSocketAddress(client)}"`,
          baggage: `k8s.namespace.name=${local.pod.namespace},k8s.pod.name=${local.pod.name}`,
        },
        connect: () => context.sockets.dial(local.netns, plan.next, undefined, 'tunnel'),
      });
      return stream;
    }
  }
}

/**
 * A pod's name is given again, to a pod of a StatefulSet with its address as well: the network namespace tells whose a connection is. One
 * of the namespace that has died leads nowhere, and would keep that namespace alive.
 */
export const tunnelSource = ({ pod, netns: place }: LocalPod): string => `${pod.uid}/${place.cookie}`;

const refusal = (code: string, why: string): OutboundPlan => ({ kind: 'refuse', code, why, status: 503 });

function describeOutbound(
  context: ProxyContext,
  local: LocalPod,
  client: SocketAddress | undefined,
  dialled: SocketAddress | undefined,
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
      workload: context.view.workload(local.pod.uid),
      pod: local.pod,
      identity: local.pod.identity,
    },
    destination: {
      address: plan.kind === 'refuse' ? dialled : destinationOf(plan),
      workload,
      // In plaintext nobody has proven an identity.
      identity: plan.kind === 'plain' ? undefined : workload?.identity,
    },
    dialled,
    service: 'service' in plan ? plan.service : undefined,
    verdict,
  });
}

/** Whose address a record shows: the pod's port that a tunnel asks for, or the waypoint. */
function destinationOf(plan: Open): SocketAddress {
  if (plan.kind !== 'hbone') return plan.target;
  return plan.authority.ip === plan.next.ip ? plan.authority : plan.next;
}
