/** `weft status` of a cluster: the control plane, each node, pods that should be in the mesh but are not, certificates, versions. */
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText } from '../../base/errors.js';
import { ApiError, requestJson } from '../../kubernetes/request.js';
import { relayCell, relayProblem } from '../relay-text.js';
import { agentsOf, type Agent } from './agents.js';
import { configurationFindings, type ConfigurationFinding } from './configuration.js';
import { readRollout } from './install-watch.js';
import { namespaceRows, namespaceStatuses, type NamespaceStatus, type NamespaceItem } from './namespaces.js';
import { rolloutOf, type RolloutObjects } from './rollout.js';
import { table } from './table.js';
import type { GatewayItem } from './waypoint-status.js';

/** Rows shown, so that the status fits on one screen. */
const configurationLinesMax = 10;

export interface ControlStatus {
  readonly ready: number;
  readonly wanted: number;
  readonly image: string;
}
export interface ClusterStatus {
  readonly ok: boolean;
  /** Undefined if there is no control plane, or if it could not be read. `unknown` distinguishes the two. */
  readonly control?: ControlStatus;
  /** Pods of Weft that do not run, with the reason of each. */
  readonly failures: readonly string[];
  /** Objects that are not in force as written, with the reason of each. */
  readonly configuration: readonly string[];
  /** Namespaces in their first enrollment in the mesh, with the pods that they wait for. */
  readonly pending: readonly string[];
  /** Linux nodes, with and without an agent. */
  readonly nodes: readonly { readonly name: string; readonly agent?: Agent }[];
  /** Namespaces in the mesh. */
  readonly namespaces: readonly NamespaceStatus[];
  /** Parts that could not be read, with the reason of each. The status omits them. */
  readonly unknown: readonly string[];
}

interface NodeItem {
  readonly metadata: { readonly name: string };
  readonly status?: { readonly nodeInfo?: { readonly operatingSystem?: string } };
}
interface MeshSettingsItem {
  readonly metadata: { readonly name: string };
  readonly spec?: { readonly mode?: string };
}

/** Reads all parts. A part that cannot be read does not affect the others. Error: ApiError if the API server does not respond at all. */
export async function clusterStatus(config: KubeConfig, namespace: string): Promise<ClusterStatus> {
  const unknown: string[] = [];
  /** `absent`: value for a kind that the cluster does not have. */
  const part = async <T>(what: string, read: Promise<unknown>, absent?: T): Promise<T | undefined> => {
    try {
      return (await read) as T;
    } catch (error) {
      if (error instanceof ApiError && error.status === 0) throw error;
      if (error instanceof ApiError && error.status === 404 && absent !== undefined) return absent;
      unknown.push(`${what}: ${errorText(error)}`);
      return undefined;
    }
  };
  const get = (path: string): Promise<unknown> => requestJson(config, 'GET', path);
  const none = { items: [] };
  const [rollout, nodes, agents, findings, namespaces, gateways, settings] = await Promise.all([
    part<RolloutObjects>('the control plane', readRollout(config, namespace)),
    part<{ items: readonly NodeItem[] }>('nodes', get('/api/v1/nodes')),
    part<readonly Agent[]>('agents', agentsOf(config, namespace)),
    part<readonly ConfigurationFinding[]>('what is in force', configurationFindings(config)),
    part<{ items: readonly NamespaceItem[] }>('namespaces', get('/api/v1/namespaces')),
    part<{ items: readonly GatewayItem[] }>(
      'waypoints',
      get('/apis/gateway.networking.k8s.io/v1/gateways'),
      none,
    ),
    part<{ items: readonly MeshSettingsItem[] }>(
      'MeshSettings',
      get('/apis/weft.dev/v1alpha1/meshsettings'),
      none,
    ),
  ]);
  const deployment = rollout?.deployment;
  const control = deployment && {
    ready: deployment.status?.readyReplicas ?? 0,
    wanted: deployment.spec.replicas ?? 1,
    image: deployment.spec.template?.spec.containers[0]?.image ?? '',
  };
  const failures = rollout ? [...rolloutOf(rollout).failures.values()] : [];
  // Agents without a known node are shown too, because the account may not be allowed to list nodes.
  const names = nodes
    ? nodes.items
        .filter(({ status }) => (status?.nodeInfo?.operatingSystem ?? 'linux') === 'linux')
        .map(({ metadata }) => metadata.name)
    : [];
  const others = (agents ?? []).map(({ node }) => node).filter((node) => !names.includes(node));
  const rows = [...names, ...new Set(others)].map((name) => {
    const agent = agents?.find(({ node }) => node === name);
    return { name, ...(agent ? { agent } : {}) };
  });
  // An object that the control plane has not read yet is not a failure, because it was just written.
  const configuration = (findings ?? []).filter(({ level }) => level === 'fail').map(({ what }) => what);
  const pending = (findings ?? []).filter((one) => one.pending).map(({ what }) => what);
  const mesh = settings?.items.find(({ metadata }) => metadata.name === 'mesh')?.spec?.mode;
  const ok =
    control !== undefined &&
    control.ready > 0 &&
    control.ready === control.wanted &&
    rows.every(({ agent }) => agent?.status?.ready === true && !agent.isPodUnready) &&
    failures.length === 0 &&
    configuration.length === 0 &&
    unknown.length === 0;
  return {
    ok,
    ...(control ? { control } : {}),
    failures: failures.map(({ subject, why }) => `${subject}: ${why}`),
    configuration,
    pending,
    nodes: rows,
    namespaces: namespaceStatuses({
      namespaces: namespaces?.items ?? [],
      ...(gateways ? { gateways: gateways.items } : {}),
      meshMode: mesh === 'strict' ? 'strict' : 'permissive',
      agents: agents ?? [],
    }),
    unknown,
  };
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

function* firstOf(lines: readonly string[]): Generator<string> {
  yield* lines.slice(0, configurationLinesMax);
  const more = lines.length - configurationLinesMax;
  if (more > 0) yield `and ${more} more (weft check shows all)`;
}

function* controlLines({ control, unknown }: ClusterStatus): Generator<string> {
  if (control) {
    yield `control plane  ${control.ready} of ${control.wanted} ready, ${control.image}`;
    if (control.ready === 0)
      yield '               unavailable: nodes keep their last configuration; certificates are not renewed, and changes wait until a replica is ready';
    return;
  }
  yield unknown.some((what) => what.startsWith('the control plane:'))
    ? 'control plane  not known (below)'
    : 'control plane  none: run weft install, or name its namespace with -n';
}

function relayRows(node: string, agent: Agent | undefined): string[][] {
  const problem = agent?.status?.relay && relayProblem(agent.status.relay);
  return problem === undefined ? [] : [['connections across nodes are refused', node, problem]];
}

export function* clusterLines(status: ClusterStatus, all: boolean, nowMs: number): Generator<string> {
  const { nodes, namespaces, unknown, failures } = status;
  yield* controlLines(status);
  yield '';
  yield* table([
    ['NODE', 'AGENT', 'CONTROL PLANE', 'PODS', 'CERTIFICATES', 'CNI PLUGIN', 'RELAY', 'VERSION'],
    ...nodes.map(({ name, agent }) => {
      if (!agent) return [name, 'none'];
      const report = agent.status;
      if (!report) return [name, `no answer: ${agent.why ?? ''}`];
      const enrolled = report.pods.length;
      return [
        name,
        report.ready ? (agent.isPodUnready ? 'ready, its pod is not' : 'ready') : 'not ready',
        report.control.state === 'connected' ? 'in sync' : `${report.control.state}: ${report.control.why}`,
        `${enrolled} of ${enrolled + Object.keys(report.waiting).length}`,
        certificatesOf(agent, nowMs),
        report.cni,
        report.relay ? relayCell(report.relay) : '',
        report.version,
      ];
    }),
  ]);
  if (namespaces.length > 0) {
    yield '';
    yield* table(
      namespaceRows(
        namespaces,
        nodes.some(({ agent }) => agent !== undefined && !agent.status),
      ),
    );
  }
  if (failures.length > 0) {
    yield '';
    yield 'DOES NOT RUN';
    yield* firstOf(failures);
  }
  if (unknown.length > 0) {
    yield '';
    yield 'NOT KNOWN';
    yield* unknown;
  }
  const problems = nodes.flatMap(({ name, agent }) => [
    ...Object.entries(agent?.status?.waiting ?? {}).map(([uid, why]) => [podOf(uid), name, why]),
    ...(agent?.status?.certificates ?? []).flatMap(({ id, error }) => (error ? [[id, name, error]] : [])),
    ...Object.entries(agent?.status?.missing ?? {}).map(([feature, why]) => [
      `kernel lacks ${feature}`,
      name,
      why,
    ]),
    ...relayRows(name, agent),
    ...(agent?.status?.undecodable ?? []).map(({ type, why }) => [`${type} not understood`, name, why]),
  ]);
  if (problems.length > 0) {
    yield '';
    yield* table([['NOT AS IT SHOULD BE', 'NODE', 'WHY'], ...problems]);
  }
  if (status.configuration.length > 0) {
    yield '';
    yield 'NOT IN FORCE AS IT IS WRITTEN';
    yield* firstOf(status.configuration);
  }
  if (status.pending.length > 0) {
    yield '';
    yield 'NEW IN THE MESH';
    yield* firstOf(status.pending);
  }
  const outside = nodes.flatMap(({ name, agent }) =>
    (agent?.status?.uncaptured ?? []).map(({ uid, reason }) => [podOf(uid), name, reason]),
  );
  yield '';
  if (!all) yield `${outside.length} pods are not in the mesh and are not meant to be (--all shows why)`;
  else yield* table([['NOT IN THE MESH', 'NODE', 'WHY'], ...outside]);
}
