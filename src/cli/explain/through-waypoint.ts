/** The ways of a request through a waypoint. */
import type { IpAddress, SocketAddress } from '../../model/address.js';
import type { SpiffeId } from '../../model/identity.js';
import type { ServiceKey, Workload } from '../../model/workload.js';
import { planInboundTunnel } from '../../path/choose-path.js';
import { waypointNameOf } from '../../state/mesh-part.js';
import { resolveWaypoint, waypointMissing } from '../../state/resolve.js';
import type { Endpoint } from '../../waypoint/cluster/endpoint.js';
import { serveAtWaypoint } from './at-waypoint.js';
import type { ExplainMesh } from './mesh.js';
import type { Source } from './parties.js';
import type { Sent } from './request.js';
import type { Way } from './result.js';
import { openText } from './served.js';
import { arrival, decidedOf, targetText } from './way-parts.js';

/** A request passes at most the waypoint of the dialed Service and that of the backend; more would be a loop. */
const waypointsMax = 4;

export interface AtWaypoint {
  readonly replica: Workload;
  readonly key: ServiceKey;
  readonly authority: SocketAddress;
}

export async function throughWaypoint(
  mesh: ExplainMesh,
  source: Source,
  client: { readonly identity: SpiffeId; readonly ip: IpAddress },
  { replica, key, authority }: AtWaypoint,
  request: Sent,
  passed = 1,
): Promise<readonly Way[]> {
  const name = waypointNameOf(key);
  const state = mesh.waypoint(key, replica.node);
  const served = await serveAtWaypoint(
    state,
    name,
    { identity: client.identity, address: { ip: client.ip, port: 0 }, authority },
    request,
  );
  const base = {
    from: source.name,
    pathWhy: `waypoint ${name} serves the destination`,
    mutualTls: true,
    notKernel: 'a waypoint serves the port',
    waypoint: served.view,
    decidedBy: `waypoint ${name}`,
  };
  if (served.kind !== 'sent') {
    const { kind, why, code, audited, policies } = served;
    return [
      {
        ...base,
        ...decidedOf(served),
        audited,
        policies,
        outcome: outcomes[kind],
        path: kind === 'refused' ? 'refused' : 'waypoint',
        why,
        ...(code === undefined ? {} : { code }),
        to: `waypoint ${name}`,
      },
    ];
  }
  const { targets } = served;
  const ways: Way[] = [];
  for (const target of targets) {
    const asked = [...served.asked, ...(target.open === undefined ? [] : [target.open])];
    const { endpoint, backend, audited, policies, code } = target;
    const way = {
      ...base,
      ...decidedOf(target),
      audited,
      policies,
      why: target.why,
      to: endpoint ? targetText(endpoint.workload, endpoint.target) : backend,
      ...(endpoint ? { toIdentity: endpoint.workload.identity } : {}),
    };
    if (!target.allowed || !endpoint) {
      ways.push({ ...way, outcome: 'refused', path: 'refused', ...(code === undefined ? {} : { code }) });
      continue;
    }
    if (!endpoint.via) {
      ways.push(lastHop(mesh, way, asked, endpoint, replica, client));
      continue;
    }
    const next = resolveWaypoint(mesh.view, endpoint.via, 0);
    const nextKey =
      endpoint.via.kind === 'hostname' ? endpoint.via.service : next && [...next.workload.services.keys()][0];
    if (!next || !nextKey || passed >= waypointsMax) {
      const missing = waypointMissing(endpoint.workload.uid, endpoint.via);
      ways.push({ ...way, outcome: 'refused', path: 'refused', ...missing });
      continue;
    }
    const [ip = endpoint.target.ip] = replica.addresses;
    const further = await throughWaypoint(
      mesh,
      source,
      { identity: replica.identity, ip },
      { replica: next.workload, key: nextKey, authority: endpoint.target },
      request,
      passed + 1,
    );
    const isOpen = asked.length > 0;
    ways.push(
      ...further.map((one): Way => ({
        ...one,
        ...(isOpen && one.outcome === 'allowed' ? { outcome: 'unknown', why: openText(asked, one.why) } : {}),
        policies: [...policies, ...one.policies],
      })),
    );
  }
  return ways;
}

const outcomes = { responded: 'allowed', refused: 'refused', undecided: 'unknown' } as const;

const tlsText = ({ hostname, clientCertificate }: NonNullable<Endpoint['tls']>): string =>
  `TLS with ${hostname}${clientCertificate === undefined ? '' : ` and the client certificate of Secret ${clientCertificate}, which is not looked at here`}`;

/** From a waypoint to the endpoint's node. */
function lastHop(
  mesh: ExplainMesh,
  way: Omit<Way, 'outcome' | 'path'>,
  asked: readonly string[],
  { workload, target, tls }: Endpoint,
  replica: Workload,
  client: { readonly identity: SpiffeId; readonly ip: IpAddress },
): Way {
  const outcome = asked.length > 0 ? 'unknown' : 'allowed';
  const why = openText(asked, way.why);
  if (workload.tunnel === 'none')
    return {
      ...way,
      outcome,
      path: 'waypoint',
      why: `${why}; the endpoint is not in the mesh: from the waypoint on it is ${tls ? tlsText(tls) : 'plaintext'}`,
    };
  const plan = planInboundTunnel(mesh.view, {
    pod: mesh.enrolled(workload.uid)?.pod ?? workload,
    authority: target,
    local: target.ip,
    remote: replica.addresses[0] ?? target.ip,
    peer: replica.identity,
    client,
  });
  const end = arrival(mesh, workload, plan);
  const seen = new Set(way.policies.map(({ policy }) => policy));
  const policies = [...way.policies, ...end.policies.filter(({ policy }) => !seen.has(policy))];
  if (end.outcome === 'refused') return { ...way, ...end, path: 'refused', policies };
  return { ...way, outcome, path: 'waypoint', why, policies };
}
