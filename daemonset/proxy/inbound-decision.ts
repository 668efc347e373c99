/** What both relays decide about a connection to a pod: the client, the plan, and the record. Pure functions of the view. */
import { forwardedFor, sourceIdentityOf } from '../../src/hbone/headers.js';
import type { SocketAddress } from '../../src/model/address.js';
import { workloadIdentityOf, type SpiffeId } from '../../src/model/identity.js';
import type { MeshView } from '../../src/state/store.js';
import { openingOf, type Opening } from '../../src/telemetry/connection-record.js';
import type { LocalPod } from '../worker-ipc.js';
import { planInboundTunnel, type InboundPlan } from '../../src/path/choose-path.js';

export interface InboundView {
  readonly view: MeshView;
}

/** A peer's CONNECT request. */
export interface TunnelRequest {
  readonly authority: SocketAddress;
  /** The pod's address at which the tunnel arrived. */
  readonly local: SocketAddress['ip'];
  readonly remote: SocketAddress;
  readonly peer: SpiffeId;
  readonly forwarded?: string | undefined;
  readonly sourceIdentity?: string | undefined;
}

/** The client's address as its agent states it. The tunnel's source address is the pod's, so the stated IP must match it. */
function clientOf({ forwarded, remote }: TunnelRequest): SocketAddress {
  const stated = forwardedFor(forwarded);
  return stated?.ip === remote.ip ? stated : remote;
}

export const planTunnel = (view: MeshView, local: LocalPod, request: TunnelRequest): InboundPlan =>
  planInboundTunnel(view, {
    pod: local.pod,
    authority: request.authority,
    local: request.local,
    remote: request.remote.ip,
    peer: request.peer,
    client: {
      identity: sourceIdentityOf(request.sourceIdentity),
      ip: forwardedFor(request.forwarded)?.ip,
    },
  });

/** The client that a waypoint states, if the plan trusts the statement; undefined otherwise. */
export const clientStated = (plan: InboundPlan, { forwarded }: TunnelRequest): SocketAddress | undefined =>
  plan.attributes?.http === 'authorized-by-waypoint' ? forwardedFor(forwarded) : undefined;

/** The client of the record and of the application's getpeername(). */
export const clientShown = (plan: InboundPlan, request: TunnelRequest): SocketAddress =>
  clientStated(plan, request) ?? clientOf(request);

export const describeTunnel = (
  context: InboundView,
  local: LocalPod,
  request: TunnelRequest,
  plan: InboundPlan,
): Opening =>
  describeInbound(
    context,
    local,
    'inbound-hbone',
    clientShown(plan, request),
    request.authority,
    plan.attributes?.identity ?? request.peer,
    plan,
  );

/** The record of a connection of a peer that the HBONE server itself refused. */
export const describeRefused = (
  context: InboundView,
  local: LocalPod,
  refused: {
    readonly code: string;
    readonly reason: string;
    readonly remote: SocketAddress | undefined;
    readonly peer?: SpiffeId | undefined;
  },
): Opening => {
  const plan: InboundPlan = { kind: 'refuse', code: refused.code, why: refused.reason, status: 400 };
  return describeInbound(context, local, 'inbound-hbone', refused.remote, undefined, refused.peer, plan);
};

export const gonePlan: InboundPlan = {
  kind: 'refuse',
  code: 'WEFT_CLIENT_GONE',
  why: 'the client left before its connection was handled',
  status: 503,
};

export function describeInbound(
  { view }: InboundView,
  local: LocalPod,
  path: 'inbound-hbone' | 'inbound-plain',
  client: SocketAddress | undefined,
  target: SocketAddress | undefined,
  peer: SpiffeId | undefined,
  plan: InboundPlan,
): Opening {
  const known = client && view.workloadByAddress(client.ip, peer && workloadIdentityOf(peer)?.namespace);
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
      workload: view.workload(local.pod.uid),
      pod: local.pod,
      identity: local.pod.identity,
    },
    verdict: plan.verdict,
  });
}
