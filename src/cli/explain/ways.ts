/** The ways that a connection of one client may take, decided by the functions of agents and waypoints. */
import {
  cidrContains,
  formatSocketAddress,
  isV6,
  parseCidr,
  type IpAddress,
  type SocketAddress,
} from '../../model/address.js';
import type { WorkloadUid } from '../../model/workload.js';
import { planInboundTunnel, planOutbound, type OutboundPlan } from '../../path/choose-path.js';
import { kernelPathObstacle, kernelServiceObstacle } from '../../path/kernel-path.js';
import type { ConnectionAttributes } from '../../policy/authorize.js';
import { choicesOf } from '../../state/resolve.js';
import type { ExplainMesh } from './mesh.js';
import type { Source } from './parties.js';
import { plainWays } from './plain-ways.js';
import type { Sent } from './request.js';
import type { Way } from './result.js';
import { throughWaypoint } from './through-waypoint.js';
import { arrival, decidedOf, nodeChecks, nodeText, podText, targetText, whyAllowed } from './way-parts.js';

/** Choices that are evaluated one by one. */
export const choicesMax = 64;
type Common = Pick<Way, 'from'>;

/** All ways of a client's connections to one dialed address. */
export async function waysOf(
  mesh: ExplainMesh,
  source: Source,
  dialed: SocketAddress,
  request: Sent,
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
  // The same order as in the kernel (bpf/connect.bpf.c).
  const isLoopback =
    loopback.some((block) => cidrContains(block, dialed.ip)) && mesh.view.claimantsOf(dialed.ip).length === 0;
  if (isLoopback || pod.addresses.includes(dialed.ip)) return [withinPod(source, dialed)];
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
  const ways: Way[] = [];
  for (const plan of plansOf(mesh, source, like, dialed))
    ways.push(...(await follow(mesh, source, like, dialed, plan, request)));
  return ways;
}

const loopback = [parseCidr('127.0.0.0/8'), parseCidr('::1/128')];

function withinPod({ name }: Source, dialed: SocketAddress): Way {
  const why = 'the connection does not leave the pod, so it is not captured';
  return {
    from: name,
    to: formatSocketAddress(dialed),
    outcome: 'allowed',
    path: 'plain',
    why,
    pathWhy: why,
    decidedBy: 'nobody',
    audited: [],
    mutualTls: false,
    notKernel: why,
    policies: [],
  };
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
  request: Sent,
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
      if (!found || !key || source.identity === undefined)
        return [
          {
            ...common,
            outcome: 'unknown',
            path: 'waypoint',
            why: `the waypoint at ${formatSocketAddress(next)} decides, and nothing is known about it`,
            pathWhy: 'a waypoint that is named by its address serves the destination',
            decidedBy: `waypoint at ${formatSocketAddress(next)}`,
            audited: [],
            to: targetText(workload, authority),
            mutualTls: true,
            notKernel: 'a waypoint serves the port',
            policies: [],
          },
        ];
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
