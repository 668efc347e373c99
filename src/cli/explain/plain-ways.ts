/** Connections that no agent captures. */
import { formatSocketAddress, isV6, type SocketAddress } from '../../model/address.js';
import { planInboundPlain } from '../../path/choose-path.js';
import { candidatesOf } from '../../state/resolve.js';
import type { ExplainMesh } from './mesh.js';
import type { Source } from './parties.js';
import type { Way } from './result.js';
import { arrival, podText, targetText } from './way-parts.js';

/** Endpoints that are evaluated one by one. */
const endpointsMax = 64;

/** Connections that no agent captures: they arrive as plaintext, which proves no identity. */
export function plainWays(
  mesh: ExplainMesh,
  source: Source,
  dialed: SocketAddress,
  pathWhy: string,
): readonly Way[] {
  const { view } = mesh;
  const service = view.serviceByAddress(dialed.ip, source.namespace);
  const own = service ? undefined : view.workloadByAddress(dialed.ip, source.namespace);
  const targets = service
    ? candidatesOf(view, service, dialed, source.node).slice(0, endpointsMax)
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
    const uncaptured = !there
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
