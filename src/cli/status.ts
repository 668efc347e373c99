/** `weft status` without a cluster: programs and enrolled pods of a testbed, or of the agent of this node. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { clusterOptions, installationOption, jsonOption, stateOption } from './place.js';
import { printClusterStatus, type ClusterFlags } from './cluster/command.js';
import { wantsCluster } from './wants-cluster.js';
import type { AgentStatus } from './cluster/agents.js';
import { errorText } from '../base/errors.js';
import { adminGet, adminPort } from './admin.js';
import type { RelayStatus } from '../model/relay.js';
import { relayProblem, relayText } from './relay-text.js';
import { isAlive } from './run.js';
import { agentProcess, type AgentReadiness } from './standalone/agent.js';
import { readLedger } from './standalone/ledger.js';

export interface NodeStatus {
  readonly node: string;
  readonly netns?: string;
  readonly ready: boolean;
  readonly why?: string;
  readonly pods: AgentReadiness['pods'];
  readonly waiting: Readonly<Record<string, string>>;
  readonly control?: string;
  /** Absent: the agent does not respond, or is of an older build. */
  readonly relay?: RelayStatus;
  readonly version?: string;
  /** Resources that the agent cannot decode. */
  readonly undecodable?: AgentStatus['undecodable'];
  readonly certificates?: AgentStatus['certificates'];
}
export interface WaypointStatus {
  readonly gateway: string;
  readonly netns: string;
  readonly ready: boolean;
  readonly why?: string;
  /** What the waypoint says of itself. */
  readonly report?: WaypointReport;
}
interface WaypointReport {
  readonly ready: boolean;
  /** Older waypoints do not report it. */
  readonly version?: string;
  readonly control: { readonly state: string };
  readonly undecodable?: readonly unknown[];
  readonly certificate?: { readonly notAfter: string };
  /** Client certificates that policies name, and which cannot be used. Older waypoints do not report them. */
  readonly clientCertificates?: readonly {
    readonly name: string;
    readonly problem: string;
    readonly isKept: boolean;
  }[];
}
export interface Status {
  readonly ok: boolean;
  /** State of the testbed's control plane. Undefined without a testbed. */
  readonly control?: 'running' | 'ended';
  readonly nodes: readonly NodeStatus[];
  readonly waypoints?: readonly WaypointStatus[];
  /** Of a testbed: objects of its manifests that are not in force as written. */
  readonly configuration?: readonly string[];
}

/** Connection to the control plane, or why there is none. */
const controlText = ({ state, why }: NonNullable<AgentReadiness['control']>): string =>
  state === 'connected' || why === '' ? state : `${state} (${why})`;

async function nodeStatus(node: string, netns?: string): Promise<NodeStatus> {
  const where = netns === undefined ? {} : { netns };
  try {
    const report = JSON.parse(await adminGet(netns, adminPort, '/status')) as AgentReadiness &
      Partial<Pick<AgentStatus, 'relay' | 'version' | 'undecodable' | 'certificates'>>;
    const { version, undecodable, certificates } = report;
    const problem = report.relay && relayProblem(report.relay);
    return {
      node,
      ...where,
      ready: report.ready && problem === undefined,
      pods: report.pods,
      waiting: report.waiting ?? {},
      ...(report.control === undefined ? {} : { control: controlText(report.control) }),
      ...(report.relay === undefined ? {} : { relay: report.relay }),
      ...(version === undefined ? {} : { version }),
      ...(undecodable === undefined ? {} : { undecodable }),
      ...(certificates === undefined ? {} : { certificates }),
    };
  } catch (error) {
    return { node, ...where, ready: false, why: errorText(error), pods: [], waiting: {} };
  }
}

async function waypointStatus(gateway: string, netns: string, runs: boolean): Promise<WaypointStatus> {
  if (!runs) return { gateway, netns, ready: false, why: 'it has ended, so its Services are closed' };
  try {
    const report = JSON.parse(await adminGet(netns, adminPort, '/status')) as WaypointReport;
    return {
      gateway,
      netns,
      ready: report.ready,
      report,
      ...(report.ready ? {} : { why: `control plane ${report.control.state}` }),
    };
  } catch (error) {
    return { gateway, netns, ready: false, why: errorText(error) };
  }
}

/** The problems that the control plane wrote last. Empty if it has not started yet. */
function problemsOf(state: string): readonly string[] {
  try {
    return JSON.parse(readFileSync(join(state, 'control', 'problems.json'), 'utf8')) as string[];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    return [`cannot read the control plane's list of problems: ${errorText(error)}`];
  }
}

/** `Secret shop/pay-client: …`, as problems of objects begin. */
export const certificateProblems = ({ gateway, report }: WaypointStatus): readonly string[] =>
  (report?.clientCertificates ?? []).map(({ name, problem, isKept }) => {
    const effect = isKept ? 'the former one stays in use' : 'requests that need it get 503';
    return `Secret ${gateway.split('/')[0]}/${name}: waypoint ${gateway} cannot use its client certificate, and ${effect}: ${problem}`;
  });

/**
 * The agent that the testbed started has ended. Another one may serve the node by now, started by hand or by a supervisor: whoever listens on
 * the node's admin port says so itself.
 */
async function endedStatus(state: string, node: string, netns: string): Promise<NodeStatus> {
  const status = await nodeStatus(node, netns);
  if (status.ready || status.relay !== undefined) return status;
  const log = join(state, `${agentProcess(node)}.log`);
  const why = `its agent has ended (${log} says why): new connections are refused, those that a carrier relays go on for the next agent`;
  return { ...status, why };
}

/** The state of the testbed at `state`; without one, of the agent in this network namespace. */
export async function statusOf(state: string): Promise<Status> {
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
      runs(agentProcess(name)) ? nodeStatus(name, netns) : endedStatus(state, name, netns),
    ),
  );
  const control = runs('control') ? 'running' : 'ended';
  const waypoints = await Promise.all(
    ledger.waypoints.map(({ gateway, netns, process }) => waypointStatus(gateway, netns, runs(process))),
  );
  const configuration = [...problemsOf(state), ...waypoints.flatMap(certificateProblems)];
  const ok =
    control === 'running' &&
    [...nodes, ...waypoints].every(({ ready }) => ready) &&
    configuration.length === 0;
  return { ok, control, nodes, waypoints, configuration };
}

function* lines(status: Status): Generator<string> {
  if (status.control !== undefined) yield `control plane: ${status.control}`;
  for (const { node, netns, ready, why, pods, waiting, control, relay } of status.nodes) {
    const state = [ready ? 'ready' : 'not ready', why, control && `control plane ${control}`].filter(Boolean);
    yield `${node}${netns === undefined ? '' : ` (${netns})`}: ${state.join(', ')}`;
    if (relay) yield `  relay: ${relayText(relay)}`;
    for (const { uid, certificate } of pods) {
      yield `  ${uid}: in the mesh${certificate ? '' : ', no certificate yet'}`;
    }
    for (const [uid, reason] of Object.entries(waiting)) yield `  ${uid}: waiting, ${reason}`;
    if (ready && pods.length === 0) yield '  no pod of this node is in the mesh';
  }
  for (const problem of status.configuration ?? []) yield `not in force as written: ${problem}`;
  for (const { gateway, netns, ready, why } of status.waypoints ?? [])
    yield `waypoint ${gateway} (${netns}): ${ready ? 'ready' : `not ready, ${why}`}`;
}

export function statusCommand(): Command {
  const command = new Command('status').description(
    'show programs and enrolled pods: of a testbed, of the cluster of KUBECONFIG, or without either of the agent of this node; exit code 1 if something is not ready',
  );
  return jsonOption(installationOption(clusterOptions(stateOption(command))))
    .option('--all', 'of a cluster: also list pods that are not in the mesh, and why')
    .action(async (options: ClusterFlags & { state: string; kubernetes?: boolean }) => {
      const { kubernetes, state } = options;
      if (kubernetes === true || (!readLedger(state) && wantsCluster(kubernetes)))
        return printClusterStatus(options);
      const status = await statusOf(options.state);
      console.log(options.json ? JSON.stringify(status) : [...lines(status)].join('\n'));
      process.exitCode = status.ok ? 0 : 1;
    });
}
