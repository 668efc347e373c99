/** Proves by the counters of the proxies that traffic takes the path of its variant: before the measurements, and again as evidence. */
import { WeftError } from '../../src/base/errors.js';
import { until } from '../../src/base/wait.js';
import { adminGet } from '../../src/cli/admin.js';
import { waypointNetns } from '../../src/cli/standalone/waypoint.js';
import { adminPort, provingStats, readStats } from '../peers/sidecar.js';
import { metricsPort, openedTotal } from '../peers/ztunnel.js';
import type { Evidence } from '../result/result.js';
import { nodeNetns } from './plan.js';
import type { Scene } from './scene.js';
import { kinds, type MeshCell } from './variants.js';

const seenMsMax = 10_000;

/** Sum of the samples in a Prometheus text that have this name and these labels. Pure. */
export function sumOf(text: string, name: string, labels: Readonly<Record<string, string>>): number {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) && wanted.every((label) => line.includes(label)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

const destinationOf = ({ placement }: MeshCell): string => (placement === 'same-node' ? 'near' : 'far');

/** Counters of the proxies on the path of a cell. */
export async function evidenceOf(scene: Scene, cell: MeshCell): Promise<Evidence[]> {
  const { variant } = cell;
  const namespace = kinds.find(({ name }) => name === variant)?.namespace ?? '';
  const of = (what: string, value: number): Evidence => ({
    variant,
    what: `${cell.placement}: ${what}`,
    value,
  });
  if (variant === 'sidecar') {
    const stats = readStats(await adminGet(cell.server, adminPort, '/stats'));
    return provingStats.map((name) => of(`the server's Envoy, ${name}`, stats.get(name) ?? 0));
  }
  if (variant === 'ztunnel') {
    const labels = { connection_security_policy: 'mutual_tls', destination_workload: destinationOf(cell) };
    const counted = async (netns: string, reporter: string): Promise<number> =>
      sumOf(await adminGet(netns, metricsPort, '/metrics'), openedTotal, { ...labels, reporter });
    const counter = `${openedTotal}{connection_security_policy="mutual_tls"}`;
    return [
      of(`the client's ztunnel, ${counter}`, await counted(cell.client, 'source')),
      of(`the server's ztunnel, ${counter}`, await counted(cell.server, 'destination')),
    ];
  }
  const agent = await adminGet(nodeNetns(cell.nodes[0]), metricsPort, '/metrics');
  const counted = (security?: string): number =>
    sumOf(agent, openedTotal, {
      reporter: 'source',
      source_workload_namespace: namespace,
      destination_workload: destinationOf(cell),
      ...(security === undefined ? {} : { connection_security_policy: security }),
    });
  if (namespace === 'none') return [of("the client's agent, connections of these pods", counted())];
  const inKernel = variant === 'weft' || variant === 'weft-spliced';
  const security = inKernel && cell.placement === 'same-node' ? 'same_node' : 'mutual_tls';
  const evidence = [
    of(`the client's agent, ${openedTotal}{connection_security_policy="${security}"}`, counted(security)),
  ];
  if (variant !== 'weft-waypoint') return evidence;
  const waypoint = await adminGet(waypointNetns({ namespace, name: 'waypoint' }), metricsPort, '/metrics');
  const requests = sumOf(waypoint, 'istio_requests_total', { destination_workload: destinationOf(cell) });
  return [...evidence, of('the waypoint, istio_requests_total', requests)];
}

/** Throws WEFT_BENCH_NOT_CARRIED if requests do not arrive, or do not take the path of the variant. */
export async function prove(scene: Scene, cell: MeshCell, httpPort: number, path: string): Promise<void> {
  await until(`a response to ${cell.variant}`, seenMsMax, () =>
    scene.get(cell.client, `http://${cell.ip}:${httpPort}${path}`).then(
      () => true,
      () => false,
    ),
  ).catch(() => scene.get(cell.client, `http://${cell.ip}:${httpPort}${path}`));
  const plain = cell.variant === 'none' || cell.variant === 'none-again';
  let seen: Evidence[] = [];
  const good = async (): Promise<boolean> => {
    seen = (await evidenceOf(scene, cell)).filter(({ what }) => !what.includes('tcp.'));
    return seen.every(({ value }) => (plain ? value === 0 : value > 0));
  };
  await until(`evidence of ${cell.variant}`, seenMsMax, good).catch(() => {
    throw new WeftError(
      'WEFT_BENCH_NOT_CARRIED',
      `traffic of ${cell.variant} does not take its path: ${seen.map(({ what, value }) => `${what} ${value}`).join('; ')}`,
    );
  });
}
