/** Handles connections of a pod's applications that connect() redirected to the agent. */
import type net from 'node:net';
import { errorText, WeftError } from '../../src/base/errors.js';
import { formatSocketAddress, type SocketAddress } from '../../src/model/address.js';
import { forwardedOf } from '../../src/hbone/headers.js';
import { relay } from '../../src/hbone/relay.js';
import { forbiddenMeanwhile } from '../../src/telemetry/connection-record.js';
import type { LocalPod } from '../worker-ipc.js';
import { endsOf } from '../pod/sockets.js';
import type { ProxyContext } from './context.js';
import type { OutboundPlan } from '../../src/path/choose-path.js';
import {
  afterFailure,
  baggageOf,
  describeOutbound,
  hasOthers,
  noAddress,
  noRecord,
  ownClient,
  planCaptured,
  targetOf,
  type OpenPlan,
} from './outbound-decision.js';
import { watchOf } from './request-watch.js';
import { TrackedConnection } from './tracked-connection.js';

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
    track.refuse(describeOutbound(context, local, undefined, undefined, noRecord));
    return;
  }
  const { dialed, picked } = handoff;
  const client = ownClient(local.pod, ends.remote, dialed);
  if (!client) {
    track.refuse(describeOutbound(context, local, undefined, dialed, noAddress));
    return;
  }
  const avoid = new Set<string>();
  const decide = (): OutboundPlan => planCaptured(context, { local, client, dialed, picked, avoid });
  let plan = decide();
  if (plan.kind === 'refuse') {
    context.sockets.rememberFailure(local.netns, dialed);
    track.refuse(describeOutbound(context, local, client, dialed, plan));
    return;
  }
  for (;;) {
    const opening = describeOutbound(context, local, client, dialed, plan);
    try {
      const peer = await reach(context, local, client, track, plan);
      if (track.cutReason !== undefined) {
        peer.destroy();
        track.refuse({ ...opening, code: 'WEFT_DENIED', why: forbiddenMeanwhile(track.cutReason) });
        return;
      }
      const destination = plan.kind === 'local' ? context.localPod(plan.workload.uid) : undefined;
      const watch = watchOf(context, { opening, local, client: 'pod', destination });
      track.follow(opening, relay(socket, peer, undefined, watch));
      return;
    } catch (error) {
      const code = error instanceof WeftError ? error.code : 'WEFT_INTERNAL';
      const { other, isRemembered } = afterFailure(
        {
          target: formatSocketAddress(targetOf(plan)),
          hasOthers: hasOthers(plan) && track.cutReason === undefined,
        },
        error,
        avoid,
        decide,
      );
      if (other) {
        track.unwatch();
        plan = other;
        continue;
      }
      if (isRemembered) context.sockets.rememberFailure(local.netns, dialed);
      track.refuse({ ...opening, code, why: errorText(error) });
      return;
    }
  }
}

async function reach(
  context: ProxyContext,
  local: LocalPod,
  client: SocketAddress,
  track: TrackedConnection,
  plan: OpenPlan,
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
          forwarded: forwardedOf(client),
          baggage: baggageOf(local),
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
