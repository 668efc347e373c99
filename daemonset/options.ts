/** The agent's flags. */
import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { workersDefault } from './workers.js';

export interface AgentOptions {
  readonly node: string;
  /** host:port of the control plane */
  readonly control: string;
  readonly root: string;
  readonly token: string;
  /** Of the agents: in the node's name toward the control plane. */
  readonly namespace: string;
  readonly instance: string;
  readonly run: string;
  readonly workers: number;
  readonly trustDomain: string;
  readonly drainMs: number;
  /** How long, from SIGTERM on, it goes on as the node's agent until another asks for the node; `drainMs` at most. */
  readonly successorMs: number;
  /** A directory of this agent alone, which outlives a restart of its container: its readiness, and whether it has handed over. */
  readonly ownDir?: string;
  /** How long the kernel goes by verdicts after the agent last renewed their lease, which it does every second. */
  readonly verdictLeaseMs: number;
  /** Bytes that may wait, spliced, for one reader; 0: nothing is spliced. */
  readonly spliceBytesMax: number;
  /** Bytes that TCP of this kernel may hold while anything is spliced; 3/64 of memory where absent. */
  readonly spliceNodeBytesMax?: number;
  /** Splice sockets that block too: their calls may then fail with EAGAIN where a signal would interrupt them. */
  readonly spliceBlocking?: boolean;
  /** Directories in which discovery may name a network namespace. */
  readonly netnsDirs: readonly string[];
  /** Namespaces whose Workload objects this machine takes; '*': those of all. */
  readonly workloadNamespaces: readonly string[];
  /** Where the node's control groups are mounted, in a container. */
  readonly cgroups?: string;
  /** The node's CNI directories; absent: no plugin is put there. */
  readonly cniBinDir?: string;
  readonly cniConfDir?: string;
  /** Kept on the node's disk, under the same path inside and outside of a container. */
  readonly cniState: string;
  readonly cniPlugin: 'install' | 'remove';
  /** What new pods of enrolled namespaces do while no agent answers. */
  readonly cniWhenAway: 'wait' | 'start';
  /** A file: who shows what is in it may read metrics that name pods, principals and policies from elsewhere. */
  readonly metricsToken?: string;
  /** Where connection lines go; `connections.log` in the run directory where absent. */
  readonly connectionLog?: string;
}

/** `run` has its default. */
export function parseOptions(argv: readonly string[]): AgentOptions {
  const program = new Command('weft agent')
    .requiredOption('--node <name>', "this node's name")
    .requiredOption('--control <addr:port>', 'the control plane')
    .requiredOption('--root <file>', 'root certificates of the control plane')
    .requiredOption('--token <file>', "the node's join token")
    .option('--namespace <name>', 'of the agents', 'weft-system')
    .option('--instance <name>', 'name of the pins in the BPF file system', 'agent')
    .option('--run <dir>', 'where state for others is written')
    .option('--workers <n>', 'data path threads', Number, workersDefault)
    .option('--trust-domain <name>', 'SPIFFE trust domain', 'cluster.local')
    .option(
      '--verdict-lease-ms <ms>',
      'how long the kernel goes by verdicts without an agent',
      Number,
      15_000,
    )
    .option('--splice-bytes-max <n>', 'bytes that may wait for one reader past TCP; 0: none', Number, 2 << 20)
    .option(
      '--splice-node-bytes-max <n>',
      'nothing more goes past TCP while all TCP of the machine holds this (3/64 of memory)',
      Number,
    )
    .option(
      '--splice-blocking',
      'splice sockets that block too: a signal may then end their calls with EAGAIN',
    )
    .option('--netns-dirs <dirs...>', 'where the control plane may name a network namespace', [
      '/run/netns',
      '/var/run/netns',
    ])
    .option(
      '--workload-namespaces <namespaces...>',
      "namespaces whose Workload objects this machine takes; '*': of all",
      [],
    )
    .option('--connection-log <file>', 'a JSON line per connection; /dev/stderr puts it among the rest')
    .option('--metrics-token <file>', 'who shows it (Bearer) may read metrics with names from elsewhere')
    .option('--cgroups <dir>', "where the node's control groups are mounted, in a container")
    .option('--cni-bin-dir <dir>', "the node's CNI plugins")
    .option('--cni-conf-dir <dir>', "the node's CNI configuration")
    .option(
      '--cni-state <dir>',
      "on the node's disk, by the same path inside and outside of a container",
      '/var/lib/weft',
    )
    .addOption(
      new Option('--cni-plugin <what>', 'put the plugin there, or take out what is left of it')
        .choices(['install', 'remove'])
        .default('install'),
    )
    .addOption(
      new Option('--cni-when-away <what>', 'what new pods of enrolled namespaces do while no agent answers')
        .choices(['wait', 'start'])
        .default('wait'),
    )
    .option('--drain-ms <ms>', 'how long live connections may go on at SIGTERM', Number, 10_000)
    .option(
      '--successor-ms <ms>',
      "how long after SIGTERM it stays the node's agent until another takes over; 0: it does not wait for one",
      Number,
      0,
    )
    .option('--own-dir <dir>', 'of this agent alone: its file `ready` is new each second while it is ready');
  program.parse(argv);
  const options = program.opts<AgentOptions>();
  return { ...options, run: options.run ?? `/run/weft/${options.instance}` };
}

const connectionsMax = 100_000;
/** What the agent needs beside connections: maps, listeners, logs, the descriptors that hold pods' namespaces. */
const ownDescriptors = 512;
const descriptorsUnknown = 1024;

/**
 * Connections that one worker may carry: each needs two descriptors, and the workers share those of the process. `limits`: the text
 * of /proc/self/limits.
 */
export function connectionsOfWorker(
  workers: number,
  limits = readFileSync('/proc/self/limits', 'utf8'),
): number {
  const limit = /^Max open files\s+(\d+|unlimited)/m.exec(limits)?.[1];
  const descriptors = limit === 'unlimited' ? Infinity : Number(limit ?? descriptorsUnknown);
  const share = Math.floor((descriptors - ownDescriptors) / (2 * workers));
  return Math.max(16, Math.min(connectionsMax, share));
}
