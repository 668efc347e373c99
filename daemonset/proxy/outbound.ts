/** Handles connections of a pod's applications that connect() redirected to the agent. */
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

/** How many other endpoints of a service are tried after one that cannot be reached. */
const otherEndpointsMax = 2;

/** Relays the connection to its destination, or resets it and records the refusal. Never rejects for a refused or failed connection. */
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
        refusal('WEFT_NO_NOTE', 'the kernel holds no handoff record of this connection'),
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
        track.refuse({
          ...opening,
          code: 'WEFT_DENIED',
          why: 'the connection was forbidden while it was being opened',
        });
        return;
      }
      track.follow(opening, relay(socket, peer));
      return;
    } catch (error) {
      const code = error instanceof WeftError ? error.code : 'WEFT_INTERNAL';
      // A refusal by policy or a fault of this node says nothing about the endpoint.
      const isUnreachable = isEndpointFailure(error);
      let other: OutboundPlan | undefined;
      if (isUnreachable && (plan.service || (plan.kind === 'hbone' && plan.viaWaypoint)) && !track.wasCut) {
        avoid.add(formatSocketAddress(targetOf(plan)));
        other = decide();
      }
      // No byte of the client was consumed yet, so another endpoint can serve the connection.
      if (other && other.kind !== 'refuse' && avoid.size <= otherEndpointsMax) {
        track.unwatch();
        plan = other;
        continue;
      }
      // While untried endpoints are left, the destination is not known to be unreachable. A node that responds is reachable.
      const isUnavailable = code === 'WEFT_DIAL' || code === 'WEFT_TUNNEL_CONNECT';
      if (isUnreachable && isUnavailable && (other === undefined || other.kind === 'refuse'))
        context.sockets.rememberFailure(local.netns, dialled);
      track.refuse({ ...opening, code, why: errorText(error) });
      return;
    }
  }
}

/**
 * The client's address of a captured connection, for policy and for the destination's getpeername(). With root in its network namespace a
 * pod may bind a socket to any address. An address that is not the pod's is replaced by the pod's own, as on the wire to another node.
 * Undefined if the pod has no address of that family.
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

/** The endpoint, or the replica of the waypoint that would choose an endpoint. */
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
      // Later connections can be kernel flows, if policy allows that.
      context.requestVerdict(local.pod.uid, plan.workload.uid, plan.target.port);
      return context.sockets.dial(destination.netns, plan.target, client);
    }
    case 'hbone': {
      const svid = await context.svid(local.pod.identity);
      if (!svid) {
        throw new WeftError(
          'WEFT_NO_CERTIFICATE',
          `no certificate for ${local.pod.identity} yet: check the agent's connection to the control plane`,
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
        // A waypoint has several workers, a pod's node serves all of its tunnels by one.
        spread: plan.viaWaypoint,
      });
      return stream;
    }
  }
}

/**
 * Key of a pod's tunnels in the pool. A StatefulSet reuses a pod's name and maybe its address, so the key includes the network namespace. A
 * tunnel of a namespace that has ended leads nowhere, and would keep that namespace alive.
 */
export const tunnelSource = ({ pod, netns }: LocalPod): string => `${pod.uid}/${netns.cookie}`;

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
      // Plaintext proves no identity.
      identity: plan.kind === 'plain' ? undefined : workload?.identity,
    },
    dialled,
    service: 'service' in plan ? plan.service : undefined,
    verdict,
  });
}

/** The destination address of the record: the pod's port that the tunnel asks for, or the waypoint. */
function destinationOf(plan: Open): SocketAddress {
  if (plan.kind !== 'hbone') return plan.target;
  return plan.authority.ip === plan.next.ip ? plan.authority : plan.next;
}
