/** One screen: the control plane, each node, the pods that should be in the mesh and are not, certificates, versions. */
import type { KubeConfig } from '@kubernetes/client-node';
import { requestJson } from '../../kubernetes/request.js';
import { agentsOf, type Agent } from './agents.js';
import { configurationFindings } from './configuration.js';

/** One screen. */
const configurationLinesMax = 10;

export interface ClusterStatus {
  readonly ok: boolean;
  readonly control: { readonly ready: number; readonly wanted: number; readonly image: string };
  /** What is not in force as it is written: object and why. */
  readonly configuration: readonly string[];
  /** Namespaces that are new in the mesh, and what they wait for. */
  readonly pending: readonly string[];
  /** Nodes with Linux, with and without an agent. */
  readonly nodes: readonly { readonly name: string; readonly agent?: Agent }[];
}

interface Deployment {
  readonly spec: {
    readonly replicas: number;
    readonly template: { readonly spec: { readonly containers: readonly { readonly image: string }[] } };
  };
  readonly status?: { readonly readyReplicas?: number };
}
interface NodeItem {
  readonly metadata: { readonly name: string };
  readonly status?: { readonly nodeInfo?: { readonly operatingSystem?: string } };
}

/** Errors: ApiError. */
export async function clusterStatus(config: KubeConfig, namespace: string): Promise<ClusterStatus> {
  const [deployment, nodes, agents, findings] = await Promise.all([
    requestJson(config, 'GET', `/apis/apps/v1/namespaces/${namespace}/deployments/weft-control`),
    requestJson(config, 'GET', '/api/v1/nodes'),
    agentsOf(config, namespace),
    configurationFindings(config),
  ]);
  const { spec, status } = deployment as Deployment;
  const control = {
    ready: status?.readyReplicas ?? 0,
    wanted: spec.replicas,
    image: spec.template.spec.containers[0]?.image ?? '',
  };
  const linux = (nodes as { items: readonly NodeItem[] }).items.filter(
    (node) => (node.status?.nodeInfo?.operatingSystem ?? 'linux') === 'linux',
  );
  const rows = linux.map(({ metadata: { name } }) => {
    const agent = agents.find(({ node }) => node === name);
    return { name, ...(agent ? { agent } : {}) };
  });
  // What has not been looked at yet is no failure: it was written a moment ago.
  const configuration = findings.filter(({ level }) => level === 'fail').map(({ what }) => what);
  const pending = findings.filter((one) => one.pending).map(({ what }) => what);
  const ok =
    control.ready === control.wanted &&
    rows.every(({ agent }) => agent?.status?.ready === true) &&
    configuration.length === 0;
  return { ok, control, configuration, pending, nodes: rows };
}

export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  return rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

const span = (ms: number): string =>
  ms >= 48 * 3_600_000
    ? `${Math.round(ms / 86_400_000)} d`
    : ms >= 2 * 3_600_000
      ? `${Math.round(ms / 3_600_000)} h`
      : `${Math.max(0, Math.round(ms / 60_000))} min`;

function certificatesOf(agent: Agent, nowMs: number): string {
  const list = agent.status?.certificates ?? [];
  const ends = list.flatMap(({ notAfter }) => (notAfter === undefined ? [] : [Date.parse(notAfter)]));
  const without = list.length - ends.length;
  if (list.length === 0) return 'none needed';
  const first = ends.length === 0 ? '' : `${ends.length}, first ends in ${span(Math.min(...ends) - nowMs)}`;
  return [first, without > 0 ? `${without} missing` : ''].filter(Boolean).join(', ');
}

/** `uid`: `<cluster>//Pod/<namespace>/<name>` */
const podOf = (uid: string): string => uid.slice(uid.indexOf('//Pod/') + 6);

export function* clusterLines(status: ClusterStatus, all: boolean, nowMs: number): Generator<string> {
  const { control, nodes } = status;
  yield `control plane  ${control.ready} of ${control.wanted} ready, ${control.image}`;
  yield '';
  yield* table([
    ['NODE', 'AGENT', 'CONTROL PLANE', 'PODS', 'CERTIFICATES', 'CNI PLUGIN', 'VERSION'],
    ...nodes.map(({ name, agent }) => {
      if (!agent) return [name, 'none'];
      const said = agent.status;
      if (!said) return [name, `no answer: ${agent.why ?? ''}`];
      const held = said.pods.length;
      return [
        name,
        said.ready ? 'ready' : 'not ready',
        said.control.state === 'connected' ? 'in sync' : `${said.control.state}: ${said.control.why}`,
        `${held} of ${held + Object.keys(said.waiting).length}`,
        certificatesOf(agent, nowMs),
        said.cni,
        said.version,
      ];
    }),
  ]);
  const troubles = nodes.flatMap(({ name, agent }) => [
    ...Object.entries(agent?.status?.waiting ?? {}).map(([uid, why]) => [podOf(uid), name, why]),
    ...(agent?.status?.certificates ?? []).flatMap(({ id, error }) => (error ? [[id, name, error]] : [])),
    ...Object.entries(agent?.status?.missing ?? {}).map(([feature, why]) => [
      `kernel lacks ${feature}`,
      name,
      why,
    ]),
    ...(agent?.status?.undecodable ?? []).map(({ type, why }) => [`${type} not understood`, name, why]),
  ]);
  if (troubles.length > 0) {
    yield '';
    yield* table([['NOT AS IT SHOULD BE', 'NODE', 'WHY'], ...troubles]);
  }
  if (status.configuration.length > 0) {
    yield '';
    yield 'NOT IN FORCE AS IT IS WRITTEN';
    yield* status.configuration.slice(0, configurationLinesMax);
    const more = status.configuration.length - configurationLinesMax;
    if (more > 0) yield `and ${more} more (weft check shows all)`;
  }
  if (status.pending.length > 0) {
    yield '';
    yield 'NEW IN THE MESH';
    yield* status.pending.slice(0, configurationLinesMax);
  }
  const outside = nodes.flatMap(({ name, agent }) =>
    (agent?.status?.uncaptured ?? []).map(({ uid, reason }) => [podOf(uid), name, reason]),
  );
  yield '';
  if (!all) yield `${outside.length} pods are not in the mesh and are not meant to be (--all shows why)`;
  else yield* table([['NOT IN THE MESH', 'NODE', 'WHY'], ...outside]);
}
