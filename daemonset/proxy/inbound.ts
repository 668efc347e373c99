/** Handles connections to a pod: tunnels on 15008, and plaintext that the inbound hook redirected to the agent. */
import type net from 'node:net';
import type { Duplex } from 'node:stream';
import { errorText, WeftError } from '../../src/base/errors.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import { relay } from '../../src/hbone/relay.js';
import type { InboundTunnel, Refused } from '../../src/hbone/server.js';
import { forbiddenMeanwhile, refusedRecord, type Opening } from '../../src/telemetry/connection-record.js';
import type { LocalPod } from '../worker-ipc.js';
import { endsOf } from '../pod/sockets.js';
import type { ProxyContext } from './context.js';
import { planInboundPlain } from '../../src/path/choose-path.js';
import {
  clientShown,
  describeInbound,
  describeRefused,
  describeTunnel,
  gonePlan,
  planTunnel,
  type TunnelRequest,
} from './inbound-decision.js';
import { watchOf } from './request-watch.js';
import { TrackedConnection } from './tracked-connection.js';

const requestOf = ({ authority, local, remote, peer, headers }: InboundTunnel): TunnelRequest => ({
  authority,
  local: local.ip,
  remote,
  peer,
  forwarded: headers.forwarded,
  sourceIdentity: headers.sourceIdentity,
});
const codeOf = (error: unknown): string => (error instanceof WeftError ? error.code : 'WEFT_INTERNAL');

/** Relays a tunnel to the pod's application, or refuses it with an HTTP status and a record. */
export async function handleTunnel(
  context: ProxyContext,
  local: LocalPod,
  tunnel: InboundTunnel,
): Promise<void> {
  let gone = false;
  tunnel.onGone(() => (gone = true));
  const asked = requestOf(tunnel);
  const plan = planTunnel(context.view, local, asked);
  const client = clientShown(plan, asked);
  const opening = describeTunnel(context, local, asked, plan);
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
  const now = planTunnel(context.view, local, asked);
  if (gone || now.kind === 'refuse') {
    if (now.kind === 'refuse') tunnel.refuse(now.status);
    track.refuse({
      ...opening,
      ...(now.kind === 'refuse' ? { code: now.code, why: now.why } : { why: 'the client left' }),
    });
    return;
  }
  const watch = watchOf(context, { opening, local, client: 'peer' });
  track.follow(opening, relay(app, tunnel.accept(), undefined, watch));
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
  if (track.cutReason !== undefined) {
    app.destroy();
    track.refuse({ ...opening, code: 'WEFT_DENIED', why: forbiddenMeanwhile(track.cutReason) });
    return;
  }
  const watch = watchOf(context, { opening, local, client: 'pod' });
  track.follow(opening, relay(socket, app, undefined, watch));
}

/** Records a tunnel that the HBONE server itself refused. */
export function recordRefused(context: ProxyContext, local: LocalPod, refused: Refused): void {
  context.closed(refusedRecord(describeRefused(context, local, refused)));
}
