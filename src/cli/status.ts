/** What runs, and which pods are in the mesh: of a testbed, or of the agent of this node. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { printClusterStatus, wantsCluster, type ClusterFlags } from './cluster/command.js';
import { systemNamespace } from './cluster/system-namespace.js';
import { errorText } from '../base/errors.js';
import { adminGet, adminPort } from './admin.js';
import { isAlive } from './run.js';
import { agentProcess, type AgentReadiness } from './standalone/agent.js';
import { readLedger, stateDefault } from './standalone/ledger.js';

interface NodeStatus {
  readonly node: string;
  readonly netns?: string;
  readonly ready: boolean;
  readonly why?: string;
  readonly pods: AgentReadiness['pods'];
  readonly waiting: Readonly<Record<string, string>>;
  readonly control?: string;
}
interface WaypointStatus {
  readonly gateway: string;
  readonly netns: string;
  readonly ready: boolean;
  readonly why?: string;
}
interface Status {
  readonly ok: boolean;
  /** Absent where no testbed stands: the control plane is elsewhere. */
  readonly control?: 'running' | 'ended';
  readonly nodes: readonly NodeStatus[];
  readonly waypoints?: readonly WaypointStatus[];
  /** Of a testbed: what of its manifests is not in force as it is written. */
  readonly configuration?: readonly string[];
}

/** Connected, or why not. */
const controlText = ({ state, why }: NonNullable<AgentReadiness['control']>): string =>
  state === 'connected' || why === '' ? state : `${state} (${why})`;

async function nodeStatus(node: string, netns?: string): Promise<NodeStatus> {
  const where = netns === undefined ? {} : { netns };
  try {
    const said = JSON.parse(await adminGet(netns, adminPort, '/status')) as AgentReadiness;
    return {
      node,
      ...where,
      ready: said.ready,
      pods: said.pods,
      waiting: said.waiting ?? {},
      ...(said.control === undefined ? {} : { control: controlText(said.control) }),
    };
  } catch (error) {
    return { node, ...where, ready: false, why: errorText(error), pods: [], waiting: {} };
  }
}

async function waypointStatus(gateway: string, netns: string, runs: boolean): Promise<WaypointStatus> {
  if (!runs) return { gateway, netns, ready: false, why: 'it has ended: what it serves is closed' };
  try {
    const said = JSON.parse(await adminGet(netns, adminPort, '/status')) as {
      ready: boolean;
      control: { state: string };
    };
    return {
      gateway,
      netns,
      ready: said.ready,
      ...(said.ready ? {} : { why: `control plane ${said.control.state}` }),
    };
  } catch (error) {
    return { gateway, netns, ready: false, why: errorText(error) };
  }
}

/** As the control plane wrote them last; none where it has not started yet. */
function problemsOf(state: string): readonly string[] {
  try {
    return JSON.parse(readFileSync(join(state, 'control', 'problems.json'), 'utf8')) as string[];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    return [`the control plane's word about manifests cannot be read: ${errorText(error)}`];
  }
}

async function statusOf(state: string): Promise<Status> {
  const ledger = readLedger(state);
  if (!ledger) {
    const node = await nodeStatus('this node');
    return { ok: node.ready, nodes: [node] };
  }
  const runs = (name: string): boolean => {
    const mark = ledger.processes[name];
    return mark !== undefined && isAlive(mark);
  };
  const nodes = await Promise.all(
    ledger.nodes.map(({ name, netns }) =>
      runs(agentProcess(name))
        ? nodeStatus(name, netns)
        : { node: name, netns, ready: false, why: 'its agent has ended', pods: [], waiting: {} },
    ),
  );
  const control = runs('control') ? 'running' : 'ended';
  const waypoints = await Promise.all(
    ledger.waypoints.map(({ gateway, netns, process }) => waypointStatus(gateway, netns, runs(process))),
  );
  const configuration = problemsOf(state);
  const ok =
    control === 'running' &&
    [...nodes, ...waypoints].every(({ ready }) => ready) &&
    configuration.length === 0;
  return { ok, control, nodes, waypoints, configuration };
}

function* lines(status: Status): Generator<string> {
  if (status.control !== undefined) yield `control plane: ${status.control}`;
  for (const { node, netns, ready, why, pods, waiting, control } of status.nodes) {
    const facts = [ready ? 'ready' : 'not ready', why, control && `control plane ${control}`].filter(Boolean);
    yield `${node}${netns === undefined ? '' : ` (${netns})`}: ${facts.join(', ')}`;
    for (const { uid, certificate } of pods) {
      yield `  ${uid}: in the mesh${certificate ? '' : ', no certificate yet'}`;
    }
    for (const [uid, reason] of Object.entries(waiting)) yield `  ${uid}: waiting, ${reason}`;
    if (ready && pods.length === 0) yield '  no pod of this node is in the mesh';
  }
  for (const problem of status.configuration ?? []) yield `not in force as it is written: ${problem}`;
  for (const { gateway, netns, ready, why } of status.waypoints ?? [])
    yield `waypoint ${gateway} (${netns}): ${ready ? 'ready' : `not ready, ${why}`}`;
}

export function statusCommand(): Command {
  return new Command('status')
    .description(
      'what runs, and which pods are in the mesh: of a testbed, of the cluster that KUBECONFIG names, or of the agent of this node; exit code 1 where something is not ready',
    )
    .option('--kubernetes', 'the cluster, also without KUBECONFIG')
    .option('--no-kubernetes', 'not the cluster, also with KUBECONFIG')
    .option('-n, --namespace <name>', "of a cluster: where Weft's parts run", systemNamespace)
    .option('--all', 'of a cluster: pods that are not in the mesh too, and why')
    .option(
      '--state <dir>',
      "a testbed's state directory; without a testbed, the agent of this node",
      stateDefault,
    )
    .option('--json', 'print one JSON object only')
    .action(async (options: ClusterFlags & { state: string; kubernetes?: boolean }) => {
      if (!readLedger(options.state) && wantsCluster(options.kubernetes)) return printClusterStatus(options);
      const status = await statusOf(options.state);
      console.log(options.json ? JSON.stringify(status) : [...lines(status)].join('\n'));
      process.exitCode = status.ok ? 0 : 1;
    });
}
