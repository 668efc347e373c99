/** The ways that a connection of one client may take, decided by the functions of agents and waypoints. */
import {
  cidrContains,
  formatSocketAddress,
  isV6,
  type IpAddress,
  type SocketAddress,
} from '../../model/address.js';
import type { SpiffeId } from '../../model/identity.js';
import type { ServiceKey, Workload, WorkloadUid } from '../../model/workload.js';
import {
  planInboundPlain,
  planInboundTunnel,
  planOutbound,
  type InboundPlan,
  type OutboundPlan,
} from '../../path/choose-path.js';
import { kernelPathObstacle, kernelServiceObstacle } from '../../path/kernel-path.js';
import { authorize, type ConnectionAttributes } from '../../policy/authorize.js';
import { candidatesOf, choicesOf, resolveWaypoint, waypointMissing } from '../../state/resolve.js';
import { checkOf, deciding, serveAtWaypoint, type Served } from './at-waypoint.js';
import { waypointName, type ExplainMesh } from './mesh.js';
import type { Source } from './parties.js';
import type { Request } from './request.js';
import type { PolicyCheck, Way } from './result.js';

/** Choices that are evaluated one by one. */
const choicesMax = 64;
/** A request passes at most the waypoint of the dialed Service and that of the backend; more would be a loop. */
const waypointsMax = 4;

const nodeText = (node: string): string => (node === '' || node === 'any' ? 'its node' : `node ${node}`);
const podText = ({ namespace, name }: Workload): string => `${namespace}/${name}`;
const targetText = (workload: Workload | undefined, target: SocketAddress): string =>
  workload ? `${podText(workload)} (${formatSocketAddress(target)})` : formatSocketAddress(target);

type Common = Pick<Way, 'from'>;

/** All ways of a client's connections to one dialed address. */
export async function waysOf(
  mesh: ExplainMesh,
  source: Source,
  dialed: SocketAddress,
  request: Request | undefined,
): Promise<readonly Way[]> {
  const common = { from: source.name };
  const like = source.addresses.find((ip) => isV6(ip) === isV6(dialed.ip));
  const { pod } = source;
  if (!pod)
    return plainWays(
      mesh,
      source,
      dialed,
      `${source.name} is not in the mesh, so its connections are not captured`,
    );
  if (like === undefined)
    return [
      {
        ...common,
        outcome: 'refused',
        path: 'refused',
        why: 'the pod has no address of the family that is dialed',
        pathWhy: '',
        code: 'WEFT_SOURCE_ADDRESS',
        decidedBy: nodeText(source.node),
        audited: [],
        to: formatSocketAddress(dialed),
        mutualTls: false,
        policies: [],
      },
    ];
  if (pod.addresses.includes(dialed.ip))
    return plainWays(mesh, source, dialed, "it is the pod's own address, which is not captured", true);
  if (pod.excludeOutboundPorts.includes(dialed.port))
    return plainWays(
      mesh,
      source,
      dialed,
      `the settings of ${source.name} exclude outbound port ${dialed.port} from capture`,
    );
  if (pod.excludeOutboundCidrs.some((block) => cidrContains(block, dialed.ip)))
    return plainWays(
      mesh,
      source,
      dialed,
      `the settings of ${source.name} exclude ${dialed.ip} from capture`,
    );
  const ways: Way[] = [];
  for (const plan of plansOf(mesh, source, like, dialed))
    ways.push(...(await follow(mesh, source, like, dialed, plan, request)));
  return ways;
}

/** Where a pod runs, as the agent of the source's node sees it. */
function localityOf(
  mesh: ExplainMesh,
  source: Source,
  uid: WorkloadUid,
): 'joined' | 'encrypted' | 'elsewhere' {
  const there = mesh.enrolled(uid);
  // Pods of templates have no node yet.
  if (!there || there.node !== source.node || there.node === 'any' || there.node === '') return 'elsewhere';
  return there.pod.sameNode === 'kernel' && source.pod?.sameNode === 'kernel' ? 'joined' : 'encrypted';
}

/** The plans among which the agent chooses, each once. */
function plansOf(
  mesh: ExplainMesh,
  source: Source,
  sourceIp: IpAddress,
  dialed: SocketAddress,
): readonly OutboundPlan[] {
  const { view } = mesh;
  const { pod, namespace, node } = source;
  if (!pod) return [];
  const service = view.serviceByAddress(dialed.ip, namespace);
  const count = service ? choicesOf(view, service, dialed, { ip: sourceIp, namespace }, node).length : 1;
  const tried = Math.min(choicesMax, Math.max(1, count));
  const found = new Map<string, OutboundPlan>();
  for (let i = 0; i < tried; i++) {
    const plan = planOutbound(view, {
      source: pod,
      sourceIp,
      dialed,
      node,
      locality: (uid) => localityOf(mesh, source, uid),
      random: (i + 0.5) / tried,
    });
    const key =
      plan.kind === 'refuse'
        ? `${plan.code} ${plan.why}`
        : plan.kind === 'hbone'
          ? `${plan.viaWaypoint} ${formatSocketAddress(plan.authority)}`
          : `${plan.kind} ${formatSocketAddress(plan.target)}`;
    if (!found.has(key)) found.set(key, plan);
  }
  return [...found.values()];
}

async function follow(
  mesh: ExplainMesh,
  source: Source,
  sourceIp: IpAddress,
  dialed: SocketAddress,
  plan: OutboundPlan,
  request: Request | undefined,
): Promise<readonly Way[]> {
  const common: Common = { from: source.name };
  switch (plan.kind) {
    case 'refuse': {
      const { verdict, workload } = plan;
      const attributes: ConnectionAttributes = {
        identity: source.identity,
        sourceIp,
        destinationIp: dialed.ip,
        destinationPort: dialed.port,
      };
      return [
        {
          ...common,
          outcome: 'refused',
          path: 'refused',
          why: plan.why,
          pathWhy: verdict ? 'both pods are on one node, whose agent decides' : '',
          code: plan.code,
          decidedBy: nodeText(source.node),
          ...(verdict?.policy === undefined ? {} : { policy: verdict.policy }),
          ...(verdict?.rule === undefined ? {} : { rule: verdict.rule }),
          audited: verdict?.audited ?? [],
          to: workload ? podText(workload) : formatSocketAddress(dialed),
          ...(workload ? { toIdentity: workload.identity } : {}),
          mutualTls: false,
          policies: verdict && workload ? nodeChecks(mesh, workload, attributes, source.node, verdict) : [],
        },
      ];
    }
    case 'plain': {
      const { workload, target } = plan;
      const reasons: Readonly<Record<string, string>> = {
        'destination-outside-mesh': 'the destination is outside of the mesh',
        'destination-not-enrolled': 'the destination is not in the mesh',
        'destination-on-host-network': "the destination is on its node's network, so it is not in the mesh",
      };
      const pathWhy = reasons[plan.why] ?? plan.why;
      return [
        {
          ...common,
          outcome: 'allowed',
          path: 'plain',
          why: `${pathWhy}: it is not encrypted, and no policy of the mesh applies there`,
          pathWhy,
          decidedBy: 'nobody',
          audited: [],
          to: targetText(workload, target),
          mutualTls: false,
          notKernel: pathWhy,
          policies: [],
        },
      ];
    }
    case 'local': {
      const { workload, service, target, verdict, attributes } = plan;
      const there = mesh.enrolled(workload.uid);
      const obstacle =
        (service && kernelServiceObstacle(mesh.view, service, dialed.ip)) ??
        (source.pod && there
          ? kernelPathObstacle(mesh.view, source.pod, there.pod, target.port, source.node)
          : 'the pod is not enrolled');
      return [
        {
          ...common,
          outcome: 'allowed',
          path: obstacle === undefined ? 'kernel' : 'local',
          why: whyAllowed(verdict),
          pathWhy:
            obstacle === undefined
              ? 'both pods are on one node: the agent decides about the first connection, the kernel connects those that follow'
              : 'both pods are on one node, whose agent joins them',
          decidedBy: nodeText(source.node),
          ...decidedOf(verdict),
          audited: verdict.audited,
          to: targetText(workload, target),
          toIdentity: workload.identity,
          // The kernel proves the identity: the bytes do not leave the node.
          mutualTls: false,
          ...(obstacle === undefined ? {} : { notKernel: obstacle }),
          policies: nodeChecks(mesh, workload, attributes, source.node, verdict),
        },
      ];
    }
    case 'hbone': {
      const { workload, authority, next, viaWaypoint } = plan;
      if (!viaWaypoint) {
        const isEncrypted = plan.why === 'same-node-encrypted';
        const end = planInboundTunnel(mesh.view, {
          pod: mesh.enrolled(workload.uid)?.pod ?? workload,
          authority,
          local: authority.ip,
          remote: sourceIp,
          peer: source.identity ?? workload.identity,
        });
        const pathWhy = isEncrypted
          ? 'the settings of a pod demand mutual TLS also between pods of one node'
          : 'the pods are on different nodes';
        return [
          {
            ...common,
            ...arrival(mesh, workload, end),
            path: end.kind === 'refuse' ? 'refused' : 'hbone',
            pathWhy,
            to: targetText(workload, authority),
            toIdentity: workload.identity,
            mutualTls: true,
            notKernel: pathWhy,
          },
        ];
      }
      const found = mesh.view.claimantsOf(next.ip)[0];
      const key = found && [...found.services.keys()][0];
      if (!found || !key || source.identity === undefined) return [];
      return throughWaypoint(
        mesh,
        source,
        { identity: source.identity, ip: sourceIp },
        { replica: found, key, authority },
        request,
      );
    }
  }
}

const whyAllowed = ({ reason, policy, rule }: { reason: string; policy?: string; rule?: number }): string =>
  reason === 'allowed' ? `policy ${policy} rule ${rule} allows it` : 'no policy forbids it';
const decidedOf = ({
  policy,
  rule,
}: {
  readonly policy?: string;
  readonly rule?: number;
}): Pick<Way, 'policy' | 'rule'> => ({
  ...(policy === undefined ? {} : { policy }),
  ...(rule === undefined ? {} : { rule }),
});

/** Each policy of a workload, evaluated alone. */
function nodeChecks(
  mesh: ExplainMesh,
  workload: Workload,
  attributes: ConnectionAttributes,
  node: string,
  decided: { readonly policy?: string },
): readonly PolicyCheck[] {
  const checks = mesh.view
    .policiesFor(workload)
    .map((policy) => checkOf(policy, nodeText(node), authorize([policy], attributes)));
  return deciding(checks, decided);
}

/** What the node of the destination decides. */
function arrival(
  mesh: ExplainMesh,
  workload: Workload,
  plan: InboundPlan,
): Pick<Way, 'outcome' | 'why' | 'code' | 'decidedBy' | 'policy' | 'rule' | 'audited' | 'policies'> {
  const node = mesh.enrolled(workload.uid)?.node ?? workload.node;
  const { verdict, attributes } = plan;
  const base = {
    decidedBy: nodeText(node),
    ...decidedOf(verdict ?? {}),
    audited: verdict?.audited ?? [],
    policies: attributes && verdict ? nodeChecks(mesh, workload, attributes, node, verdict) : [],
  };
  return plan.kind === 'refuse'
    ? { ...base, outcome: 'refused', why: plan.why, code: plan.code }
    : { ...base, outcome: 'allowed', why: whyAllowed(plan.verdict) };
}

/** Connections that no agent captures: they arrive as plaintext, which proves no identity. */
function plainWays(
  mesh: ExplainMesh,
  source: Source,
  dialed: SocketAddress,
  pathWhy: string,
  isOwn = false,
): readonly Way[] {
  const { view } = mesh;
  const service = view.serviceByAddress(dialed.ip, source.namespace);
  const own = service ? undefined : view.workloadByAddress(dialed.ip, source.namespace);
  const targets = service
    ? candidatesOf(view, service, dialed, source.node).slice(0, choicesMax)
    : own
      ? [{ workload: own, target: dialed }]
      : [];
  const remote =
    source.addresses.find((ip) => isV6(ip) === isV6(dialed.ip)) ?? source.addresses[0] ?? dialed.ip;
  const base = { from: source.name, pathWhy, mutualTls: false, notKernel: pathWhy };
  if (targets.length === 0)
    return [
      {
        ...base,
        outcome: service ? 'refused' : 'allowed',
        path: service ? 'refused' : 'plain',
        why: service
          ? `service ${service.key} has no healthy endpoint for port ${dialed.port}`
          : `${pathWhy}, and the destination is outside of the mesh`,
        ...(service ? { code: 'WEFT_NO_HEALTHY_ENDPOINT' } : {}),
        decidedBy: 'nobody',
        audited: [],
        to: formatSocketAddress(dialed),
        policies: [],
      },
    ];
  return targets.map(({ workload, target }): Way => {
    const to = { to: targetText(workload, target), toIdentity: workload.identity };
    const there = mesh.enrolled(workload.uid);
    const uncaptured = isOwn
      ? 'it does not leave the pod'
      : !there
        ? 'the destination is not in the mesh'
        : there.pod.excludeInboundPorts.includes(target.port)
          ? `the settings of ${podText(workload)} exclude inbound port ${target.port} from capture`
          : undefined;
    if (!there || uncaptured !== undefined)
      return {
        ...base,
        ...to,
        outcome: 'allowed',
        path: 'plain',
        why: `${uncaptured ?? ''}: no policy of the mesh applies`,
        decidedBy: 'nobody',
        audited: [],
        policies: [],
      };
    const plan = planInboundPlain(view, { pod: there.pod, local: target, remote: { ip: remote, port: 0 } });
    return {
      ...base,
      ...to,
      ...arrival(mesh, workload, plan),
      path: plan.kind === 'refuse' ? 'refused' : 'plain',
    };
  });
}

interface AtWaypoint {
  readonly replica: Workload;
  readonly key: ServiceKey;
  readonly authority: SocketAddress;
}

async function throughWaypoint(
  mesh: ExplainMesh,
  source: Source,
  client: { readonly identity: SpiffeId; readonly ip: IpAddress },
  { replica, key, authority }: AtWaypoint,
  request: Request | undefined,
  passed = 1,
): Promise<readonly Way[]> {
  const name = waypointName(key);
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
    audited: served.audited,
    policies: served.policies,
    decidedBy: `waypoint ${name}`,
    ...decidedOf(served),
  };
  if (served.kind !== 'sent')
    return [
      {
        ...base,
        outcome:
          served.kind === 'responded' ? 'allowed' : served.kind === 'undecided' ? 'unknown' : 'refused',
        path: served.kind === 'refused' ? 'refused' : 'waypoint',
        why: served.why,
        ...(served.code === undefined ? {} : { code: served.code }),
        to: `waypoint ${name}`,
        toIdentity: replica.identity,
      },
    ];
  const ways: Way[] = [];
  for (const { endpoint, allowed } of served.endpoints) {
    const { workload, target, via } = endpoint;
    const to = { to: targetText(workload, target), toIdentity: workload.identity };
    if (!allowed) {
      ways.push({
        ...base,
        ...to,
        outcome: 'refused',
        path: 'refused',
        code: 'WEFT_DENIED',
        why: `policies of ${podText(workload)} refuse it`,
      });
      continue;
    }
    if (via) {
      const next = resolveWaypoint(mesh.view, via, 0);
      const nextKey = via.kind === 'hostname' ? via.service : next && [...next.workload.services.keys()][0];
      if (!next || !nextKey || passed >= waypointsMax) {
        const { code, why } = waypointMissing(workload.uid, via);
        ways.push({ ...base, ...to, outcome: 'refused', path: 'refused', code, why });
        continue;
      }
      const [ip = target.ip] = replica.addresses;
      const further = await throughWaypoint(
        mesh,
        source,
        { identity: replica.identity, ip },
        { replica: next.workload, key: nextKey, authority: target },
        request,
        passed + 1,
      );
      ways.push(...further.map((way) => ({ ...way, policies: [...served.policies, ...way.policies] })));
      continue;
    }
    ways.push(lastHop(mesh, base, served, endpoint, replica, client));
  }
  return ways;
}

/** From a waypoint to the endpoint's node. */
function lastHop(
  mesh: ExplainMesh,
  base: Omit<Way, 'outcome' | 'path' | 'why' | 'to'>,
  served: Served,
  { workload, target }: Served['endpoints'][number]['endpoint'],
  replica: Workload,
  client: { readonly identity: SpiffeId; readonly ip: IpAddress },
): Way {
  const to = { to: targetText(workload, target), toIdentity: workload.identity };
  const unknown = served.asked.length > 0;
  const outcome = unknown ? 'unknown' : 'allowed';
  const why = unknown
    ? `${served.asked.join(' and ')} would be asked; nothing else forbids it (${served.why})`
    : served.why;
  if (workload.tunnel === 'none')
    return {
      ...base,
      ...to,
      outcome,
      path: 'waypoint',
      why: `${why}; from the waypoint on it is plaintext, because the endpoint is not in the mesh`,
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
  const seen = new Set(base.policies.map(({ policy }) => policy));
  const policies = [...base.policies, ...end.policies.filter(({ policy }) => !seen.has(policy))];
  if (end.outcome === 'refused') return { ...base, ...to, ...end, path: 'refused', policies };
  return { ...base, ...to, outcome, path: 'waypoint', why, policies };
}
