/**
 * Decides the path of a connection: through a tunnel, directly to a pod of this node, in plaintext, or refused. Pure functions from the
 * known attributes of a connection to a plan, which daemonset/proxy/outbound.ts and inbound.ts execute, and `weft explain` describes. `why` is
 * for people; code reads the other fields.
 */
import type { SocketAddress } from '../model/address.js';
import { formatSocketAddress } from '../model/address.js';
import type { SpiffeId } from '../model/identity.js';
import type { NodePod } from '../model/node-pod.js';
import { mayStandBefore } from '../model/ownership.js';
import { isListed } from '../model/outbound-hosts.js';
import type { Service } from '../model/service.js';
import type { WaypointRef, Workload, WorkloadUid } from '../model/workload.js';
import { authorize, denialReason, type ConnectionAttributes, type Verdict } from '../policy/authorize.js';
import { identitiesOf, resolve, resolveWaypoint, waypointMissing, waypointsOf } from '../state/resolve.js';
import type { MeshView } from '../state/store.js';

const ownPorts: ReadonlySet<number> = new Set([15001, 15006, 15008, 15053]);
const hbonePort = 15008;

export interface Refusal {
  readonly kind: 'refuse';
  readonly code: string;
  readonly why: string;
  /** HTTP status of the response to a tunnel's CONNECT request. */
  readonly status: number;
  readonly verdict?: Verdict;
  /** Attributes of a connection that a policy refused, as far as they are proven. */
  readonly attributes?: ConnectionAttributes;
  readonly workload?: Workload;
  readonly service?: Service;
}

export type OutboundPlan =
  | {
      readonly kind: 'hbone';
      readonly workload: Workload;
      readonly service?: Service;
      /** Whether `next` is a waypoint, which chooses the endpoint. */
      readonly viaWaypoint: boolean;
      /** Address to which the tunnel connects. */
      readonly next: SocketAddress;
      /** `:authority` of the tunnel's CONNECT request. */
      readonly authority: SocketAddress;
      /** Identities that are accepted from `next`; it must present one of them. */
      readonly expected: readonly SpiffeId[];
      readonly why: string;
    }
  | {
      readonly kind: 'local';
      readonly workload: Workload;
      readonly service?: Service;
      readonly target: SocketAddress;
      readonly attributes: ConnectionAttributes;
      readonly verdict: Verdict;
      readonly why: string;
    }
  | {
      readonly kind: 'plain';
      readonly target: SocketAddress;
      readonly workload?: Workload;
      readonly service?: Service;
      readonly why: string;
    }
  | Refusal;

export interface OutboundInput {
  readonly source: NodePod;
  readonly sourceIp: SocketAddress['ip'];
  readonly dialed: SocketAddress;
  readonly node: string;
  /** The endpoint that connect() picked for a Service, if it did. */
  readonly picked?: SocketAddress | undefined;
  /** Endpoints (address:port) that this connection could not reach. */
  readonly avoid?: ReadonlySet<string>;
  /**
   * `joined`: a pod of this node that is reached directly. `encrypted`: a pod of this node that is reached by TLS, as its settings or the
   * source's say. `elsewhere`: any other pod.
   */
  readonly locality: (uid: WorkloadUid) => 'joined' | 'encrypted' | 'elsewhere';
  /** In [0, 1). */
  readonly random: number;
}

const refuse = (code: string, why: string, status: number, more: Partial<Refusal> = {}): Refusal => ({
  kind: 'refuse',
  code,
  why,
  status,
  ...more,
});

const denied = (verdict: Verdict, more: Partial<Refusal> = {}): Refusal =>
  refuse('WEFT_DENIED', denialReason(verdict), 401, { verdict, ...more });

/**
 * Why a pod whose destinations are bounded may not connect to a workload; undefined: it may. The Services of the workload count, too: kernel
 * flows are decided for a workload, by whichever Service it was dialed.
 */
function unlistedBecause(
  view: MeshView,
  { outboundHosts }: OutboundInput['source'],
  workload: Workload,
  service: Service | undefined,
  dialed: SocketAddress,
): string | undefined {
  if (!outboundHosts || isListed(outboundHosts, workload.namespace, undefined)) return undefined;
  if (service && isListed(outboundHosts, service.namespace, service.hostname)) return undefined;
  for (const key of view.servicesOf(workload).keys()) {
    const { namespace, hostname } = view.service(key) ?? {};
    if (namespace !== undefined && isListed(outboundHosts, namespace, hostname)) return undefined;
  }
  return `${formatSocketAddress(dialed)} is not among the hosts to which a Sidecar restricts this pod`;
}

/** Plan for a connection that an application of this node opened. The codes of refusals are listed in docs/errors.md. */
export function planOutbound(view: MeshView, input: OutboundInput): OutboundPlan {
  const { dialed } = input;
  const resolved = resolve(
    view,
    dialed,
    { ip: input.sourceIp, namespace: input.source.namespace },
    input.node,
    input.random,
    input.picked,
    input.avoid,
  );
  if (resolved.kind === 'none') return refuse(resolved.code, resolved.why, 503);
  if (resolved.kind === 'unknown') {
    return input.source.outboundUnknown === 'refuse'
      ? refuse(
          'WEFT_DESTINATION_UNKNOWN',
          `${formatSocketAddress(dialed)} is not in the mesh, and the settings of this pod refuse destinations outside the mesh`,
          502,
        )
      : { kind: 'plain', target: dialed, why: 'destination-outside-mesh' };
  }
  const { workload, service, target } = resolved;
  const unlisted = unlistedBecause(view, input.source, workload, service, dialed);
  if (unlisted !== undefined) return refuse('WEFT_DESTINATION_UNKNOWN', unlisted, 502);
  const known = service ? { workload, service } : { workload };
  // A port that a waypoint serves is reached through it, by its Service or by the pod's own address; only the waypoint itself connects
  // directly. A Service of another namespace may have a waypoint of its own, which the client chose with the Service. The pod still accepts
  // these ports only from the waypoint of its own namespace, also if the source is that other waypoint.
  const isSource = (reference: WaypointRef): boolean =>
    identitiesOf(view, reference).includes(input.source.identity);
  const ofService = service?.waypoint && !isSource(service.waypoint) ? service.waypoint : undefined;
  const waypoint = ofService ?? ownWaypoint(waypointsOf(view, workload, target.port), isSource);
  if (waypoint) {
    const found = resolveWaypoint(view, waypoint, input.random, input.avoid);
    if (!found) {
      const { code, why } = waypointMissing(service?.key ?? workload.uid, waypoint);
      return refuse(code, why, 503, known);
    }
    return {
      kind: 'hbone',
      ...known,
      viaWaypoint: true,
      next: found.address,
      // If the dialed Service has no waypoint, the waypoint serves the workload: the workload's policy applies, and no route.
      authority: ofService ? dialed : target,
      expected: [found.workload.identity],
      why: toWaypoint,
    };
  }
  if (workload.hostNetwork) {
    // Pods on the host network share the node's address, which does not tell which pod is meant. The plan names none.
    return { kind: 'plain', target, ...(service ? known : {}), why: 'destination-on-host-network' };
  }
  if (workload.tunnel === 'none') return { kind: 'plain', target, ...known, why: 'destination-not-enrolled' };
  if (ownPorts.has(target.port)) {
    return refuse('WEFT_AGENT_PORT', `port ${target.port} is one of the agent's own ports`, 503, known);
  }
  const locality = input.locality(workload.uid);
  if (locality === 'joined') {
    const attributes: ConnectionAttributes = {
      identity: input.source.identity,
      sourceIp: input.sourceIp,
      destinationIp: target.ip,
      destinationPort: target.port,
    };
    const verdict = authorize(view.policiesFor(workload), attributes);
    if (!verdict.allowed) return denied(verdict, known);
    return { kind: 'local', ...known, target, attributes, verdict, why: 'same-node' };
  }
  return {
    kind: 'hbone',
    ...known,
    viaWaypoint: false,
    next: { ip: target.ip, port: hbonePort },
    authority: target,
    // A Service's subjectAltNames count only for endpoints of namespaces that the Service may represent.
    expected: [
      workload.identity,
      ...(service && mayStandBefore(service.namespace, workload.namespace) ? service.subjectAltNames : []),
    ],
    why: locality === 'encrypted' ? 'same-node-encrypted' : 'other-node',
  };
}

/** The waypoint that serves a workload's port; undefined if there is none, or if the source is one of its waypoints. */
const ownWaypoint = (
  waypoints: readonly WaypointRef[],
  isSource: (reference: WaypointRef) => boolean,
): WaypointRef | undefined => (waypoints.some(isSource) ? undefined : waypoints[0]);

/** `why` of connections that go to a waypoint. */
export const toWaypoint = 'destination-has-waypoint';

export type InboundPlan =
  | {
      readonly kind: 'deliver';
      readonly target: SocketAddress;
      readonly attributes: ConnectionAttributes;
      readonly verdict: Verdict;
      readonly why: string;
    }
  | Refusal;

export interface TunnelInput {
  readonly pod: Pick<NodePod, 'uid' | 'addresses'>;
  readonly authority: SocketAddress;
  /** The pod's address at which the tunnel arrived. */
  readonly local: SocketAddress['ip'];
  readonly remote: SocketAddress['ip'];
  readonly peer: SpiffeId;
  /** The client on whose behalf the peer connects, as the peer states it. Trusted only from this workload's waypoint. */
  readonly client?: { readonly identity: SpiffeId | undefined; readonly ip: SocketAddress['ip'] | undefined };
}

/** Plan for a tunnel that arrived at a pod. A waypoint's statement about its client is trusted only if the waypoint serves the port. */
export function planInboundTunnel(view: MeshView, input: TunnelInput): InboundPlan {
  const { authority } = input;
  if (!input.pod.addresses.includes(authority.ip) || authority.ip !== input.local) {
    return refuse(
      'WEFT_AUTHORITY_MISMATCH',
      `the tunnel asks for ${formatSocketAddress(authority)}, but arrived at ${input.local}`,
      400,
    );
  }
  if (ownPorts.has(authority.port))
    return refuse('WEFT_AGENT_PORT', `port ${authority.port} is one of the agent's own ports`, 503);
  const workload = view.workload(input.pod.uid);
  if (!workload) return refuse('WEFT_NOT_READY', 'discovery has not sent the workload of this pod yet', 503);
  const waypoints = waypointsOf(view, workload, authority.port);
  const refused = waypointRefusal(view, workload, waypoints, input.peer, authority.port);
  if (refused) return refused;
  const isWaypoint = waypoints.length > 0;
  const attributes: ConnectionAttributes = {
    identity: (isWaypoint ? input.client?.identity : undefined) ?? input.peer,
    sourceIp: (isWaypoint ? input.client?.ip : undefined) ?? input.remote,
    destinationIp: authority.ip,
    destinationPort: authority.port,
    ...(isWaypoint ? { http: 'authorized-by-waypoint' as const } : {}),
  };
  return deliver(view, workload, authority, attributes, isWaypoint ? 'waypoint' : 'tunnel');
}

export interface PlainInput {
  readonly pod: Pick<NodePod, 'uid'>;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
}

/**
 * Plan for a plaintext connection to a pod. Plaintext proves no identity, whatever its source address. Strict mode is a DENY policy on
 * absent identities.
 */
export function planInboundPlain(view: MeshView, input: PlainInput): InboundPlan {
  if (ownPorts.has(input.local.port))
    return refuse('WEFT_AGENT_PORT', `port ${input.local.port} is one of the agent's own ports`, 503);
  const workload = view.workload(input.pod.uid);
  if (!workload) return refuse('WEFT_NOT_READY', 'discovery has not sent the workload of this pod yet', 503);
  const waypoints = waypointsOf(view, workload, input.local.port);
  const refused = waypointRefusal(view, workload, waypoints, undefined, input.local.port);
  if (refused) return refused;
  const attributes: ConnectionAttributes = {
    identity: undefined,
    sourceIp: input.remote.ip,
    destinationIp: input.local.ip,
    destinationPort: input.local.port,
  };
  return deliver(view, workload, input.local, attributes, 'plaintext-permitted');
}

function deliver(
  view: MeshView,
  workload: Workload,
  target: SocketAddress,
  attributes: ConnectionAttributes,
  why: string,
): InboundPlan {
  const verdict = authorize(view.policiesFor(workload), attributes);
  return verdict.allowed
    ? { kind: 'deliver', target, attributes, verdict, why }
    : denied(verdict, { workload, attributes });
}

/** A workload behind a Service with a waypoint accepts the Service's ports only from that waypoint. */
function waypointRefusal(
  view: MeshView,
  workload: Workload,
  waypoints: readonly WaypointRef[],
  peer: SpiffeId | undefined,
  port: number,
): Refusal | undefined {
  if (waypoints.length === 0) return undefined;
  const allowed = waypoints.flatMap((reference) => identitiesOf(view, reference));
  if (peer !== undefined && allowed.includes(peer)) return undefined;
  return refuse('WEFT_AROUND_WAYPOINT', `port ${port} accepts connections only from its waypoint`, 401, {
    workload,
  });
}

/**
 * Authorizes an open connection again with the current policies. Returns a reason if it is now forbidden.
 * @param peer the identity that presented the certificate, if it differs from the client's
 */
export function recheck(
  view: MeshView,
  uid: WorkloadUid,
  attributes: ConnectionAttributes,
  peer = attributes.identity,
): string | undefined {
  const workload = view.workload(uid);
  // A workload that discovery no longer lists is being removed with its pod: its connections end with it.
  if (!workload) return undefined;
  const waypoints = waypointsOf(view, workload, attributes.destinationPort);
  const refused = waypointRefusal(view, workload, waypoints, peer, attributes.destinationPort);
  if (refused) return refused.why;
  // A waypoint's statement about its client is trusted only while the waypoint serves the port.
  if (attributes.http === 'authorized-by-waypoint' && waypoints.length === 0)
    return `port ${attributes.destinationPort} is no longer served by a waypoint, which stated the client`;
  const verdict = authorize(view.policiesFor(workload), attributes);
  return verdict.allowed ? undefined : denied(verdict).why;
}
