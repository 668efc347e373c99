/** Handles connections to a pod: tunnels on 15008, and plaintext that the inbound hook redirected to the agent. */
import type net from 'node:net';
import type { Duplex } from 'node:stream';
import { errorText, WeftError } from '../../src/base/errors.js';
import type { SocketAddress } from '../../src/model/address.js';
import { workloadIdentityOf, type SpiffeId } from '../../src/model/identity.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import { relay } from '../../src/hbone/relay.js';
import { forwardedFor, sourceIdentityOf } from '../../src/hbone/headers.js';
import type { InboundTunnel, Refused } from '../../src/hbone/server.js';
import { openingOf, refusedRecord, type Opening } from '../../src/telemetry/connection-record.js';
import type { LocalPod } from '../worker-ipc.js';
import { endsOf } from '../pod/sockets.js';
import type { ProxyContext } from './context.js';
import { planInboundPlain, planInboundTunnel, type InboundPlan } from './choose-path.js';
import { TrackedConnection } from './tracked-connection.js';

/** The client's address as its agent states it. The tunnel's source address is the pod's, so the stated IP must match it. */
function clientOf(tunnel: InboundTunnel): SocketAddress {
  const stated = forwardedFor(tunnel.headers.forwarded);
  return stated?.ip === tunnel.remote.ip ? stated : tunnel.remote;
}

function planOf(context: ProxyContext, local: LocalPod, tunnel: InboundTunnel): InboundPlan {
  return planInboundTunnel(context.view, {
    pod: local.pod,
    authority: tunnel.authority,
    local: tunnel.local.ip,
    remote: clientOf(tunnel).ip,
    peer: tunnel.peer,
    client: {
      identity: sourceIdentityOf(tunnel.headers.sourceIdentity),
      ip: forwardedFor(tunnel.headers.forwarded)?.ip,
    },
  });
}

/** Relays a tunnel to the pod's application, or refuses it with an HTTP status and a record. */
export async function handleTunnel(
  context: ProxyContext,
  local: LocalPod,
  tunnel: InboundTunnel,
): Promise<void> {
  let gone = false;
  tunnel.onGone(() => (gone = true));
  const plan = planOf(context, local, tunnel);
  const isFromWaypoint = plan.attributes?.http === 'authorized-by-waypoint';
  // A waypoint's statement about its client is used only if the plan trusts it. The record then names that client as the source.
  const client = (isFromWaypoint ? forwardedFor(tunnel.headers.forwarded) : undefined) ?? clientOf(tunnel);
  const source = plan.attributes?.identity ?? tunnel.peer;
  const opening = describeInbound(context, local, 'inbound-hbone', client, tunnel.authority, source, plan);
  if (plan.kind === 'refuse') {
    tunnel.refuse(plan.status);
    context.closed(refusedRecord(opening));
    return;
  }
  const dialing = trackDialing(context, opening, local.pod.uid);
  if (typeof dialing === 'string') {
    context.limitReached(dialing);
    tunnel.refuse(503);
    return;
  }
  let app: net.Socket;
  try {
    app = await context.sockets.dial(local.netns, plan.target, client);
  } catch (error) {
    tunnel.refuse(503);
    context.closed(refusedRecord({ ...opening, code: codeOf(error), why: errorText(error) }));
    return;
  } finally {
    context.connections.end(dialing.id);
  }
  const track = TrackedConnection.begin(context, app, local.pod.uid);
  if (!track) {
    tunnel.refuse(503);
    return;
  }
  track.watch(local.pod.uid, plan.attributes, tunnel.peer);
  // Decided again after tracking began: the first decision could have missed a policy change, and later changes find the tracked
  // connection.
  const now = planOf(context, local, tunnel);
  if (gone || now.kind === 'refuse') {
    if (now.kind === 'refuse') tunnel.refuse(now.status);
    track.refuse({
      ...opening,
      ...(now.kind === 'refuse' ? { code: now.code, why: now.why } : { why: 'the client left' }),
    });
    return;
  }
  track.follow(opening, relay(app, tunnel.accept()));
}

/**
 * Tracks a dial in progress. A dial holds a descriptor for as long as the application does not respond, and a pod can make its application
 * never respond, so each dial counts toward the pod's share. Policy is checked once it is connected.
 */
const trackDialing = (context: ProxyContext, opening: Opening, pod: WorkloadUid) =>
  context.connections.track(pod, (id) => {
    const startedMs = Date.now();
    return {
      id,
      pod,
      startedMs,
      describe: () => ({ id, pod, startedMs, ...opening }),
      recheck: () => undefined,
      cut: () => undefined,
    };
  });

/** Relays a plaintext connection to the pod's application, or resets it and records the refusal. */
export async function handlePlain(context: ProxyContext, local: LocalPod, socket: net.Socket): Promise<void> {
  const track = TrackedConnection.begin(context, socket, local.pod.uid);
  if (!track) return;
  const ends = endsOf(socket);
  if (!ends) {
    socket.destroy();
    track.refuse(describeInbound(context, local, 'inbound-plain', undefined, undefined, undefined, gonePlan));
    return;
  }
  const plan = planInboundPlain(context.view, { pod: local.pod, local: ends.local, remote: ends.remote });
  const opening = describeInbound(context, local, 'inbound-plain', ends.remote, ends.local, undefined, plan);
  if (plan.kind === 'refuse') {
    track.refuse(opening);
    return;
  }
  track.watch(local.pod.uid, plan.attributes);
  let app: Duplex;
  try {
    app = await context.sockets.dial(local.netns, plan.target, ends.remote);
  } catch (error) {
    track.refuse({ ...opening, code: codeOf(error), why: errorText(error) });
    return;
  }
  if (track.wasCut) {
    app.destroy();
    track.refuse({
      ...opening,
      code: 'WEFT_DENIED',
      why: 'the connection was forbidden while it was being opened',
    });
    return;
  }
  track.follow(opening, relay(socket, app));
}

/** Records a tunnel that the HBONE server itself refused. */
export function recordRefused(context: ProxyContext, local: LocalPod, refused: Refused): void {
  const plan: InboundPlan = { kind: 'refuse', code: refused.code, why: refused.reason, status: 400 };
  context.closed(
    refusedRecord(
      describeInbound(context, local, 'inbound-hbone', refused.remote, undefined, refused.peer, plan),
    ),
  );
}

const gonePlan: InboundPlan = {
  kind: 'refuse',
  code: 'WEFT_CLIENT_GONE',
  why: 'the client left before its connection was handled',
  status: 503,
};
const codeOf = (error: unknown): string => (error instanceof WeftError ? error.code : 'WEFT_INTERNAL');

function describeInbound(
  context: ProxyContext,
  local: LocalPod,
  path: 'inbound-hbone' | 'inbound-plain',
  client: SocketAddress | undefined,
  target: SocketAddress | undefined,
  peer: SpiffeId | undefined,
  plan: InboundPlan,
): Opening {
  const known =
    client && context.view.workloadByAddress(client.ip, peer && workloadIdentityOf(peer)?.namespace);
  return openingOf({
    direction: 'inbound',
    path: plan.kind === 'refuse' ? 'refused' : path,
    why: plan.why,
    code: plan.kind === 'refuse' ? plan.code : undefined,
    // An address proves nothing: without a certificate the record names no source workload.
    source: {
      address: client,
      workload: peer && known?.identity === peer ? known : undefined,
      identity: peer,
    },
    destination: {
      address: target,
      workload: context.view.workload(local.pod.uid),
      pod: local.pod,
      identity: local.pod.identity,
    },
    verdict: plan.verdict,
  });
}
