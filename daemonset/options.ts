/** The agent's command line flags. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { withUsageErrors } from '../src/base/usage.js';
import { otlpUrl, type OtlpLogOptions } from '../src/telemetry/otlp/load.js';
import { relayDefault, relays, type Relay } from '../src/model/relay.js';
import { workersDefault } from './workers.js';

export interface AgentOptions extends OtlpLogOptions {
  readonly node: string;
  /** host:port of the control plane */
  readonly control: string;
  readonly root: string;
  readonly token: string;
  /** Namespace of the agents; part of the node's name toward the control plane. */
  readonly namespace: string;
  readonly instance: string;
  readonly run: string;
  /** What relays the bytes of connections that the kernel does not carry. */
  readonly relay: Relay;
  /** Directory with the sockets of this node's carriers. */
  readonly carrierDir: string;
  readonly workers: number;
  readonly trustDomain: string;
  readonly drainMs: number;
  /** How long after SIGTERM the agent keeps the node and waits for a successor; at most `drainMs`. */
  readonly successorMs: number;
  /**
   * A directory that only this agent uses and that survives a restart of its container. It holds the agent's readiness and whether it has
   * handed over.
   */
  readonly ownDir?: string;
  /** How long the kernel honors verdicts after the agent last renewed their lease, which it does every second. */
  readonly verdictLeaseMs: number;
  /** Spliced bytes that may queue for one reader; 0 disables splicing. */
  readonly spliceBytesMax: number;
  /** Splicing stops while TCP of this kernel holds more bytes than this; 3/64 of memory if absent. */
  readonly spliceNodeBytesMax?: number;
  /** Also splice blocking sockets. Their calls may then fail with EAGAIN when a signal interrupts them. */
  readonly spliceBlocking?: boolean;
  /** Directories whose network namespaces discovery may refer to. */
  readonly netnsDirs: readonly string[];
  /** Namespaces whose Workload objects this machine accepts; '*' accepts all. */
  readonly workloadNamespaces: readonly string[];
  /** Mount point of the node's control groups, if the agent runs in a container. */
  readonly cgroups?: string;
  /** The node's CNI directories; if absent, no plugin is installed. */
  readonly cniBinDir?: string;
  readonly cniConfDir?: string;
  /** Directory on the node's disk, under the same path inside and outside a container. */
  readonly cniState: string;
  readonly cniPlugin: 'install' | 'remove';
  /** What new pods of enrolled namespaces do while no agent responds. */
  readonly cniWhenAway: 'wait' | 'start';
  /** File with a bearer token. A client that sends it may read metrics that name pods, principals and policies of other machines. */
  readonly metricsToken?: string;
  /** File for the connection log; `connections.log` in the run directory if absent. */
  readonly connectionLog?: string;
}

/** Parses the command line; commander ends the process if it is invalid. `run` defaults to /run/weft/INSTANCE. */
export function parseOptions(argv: readonly string[]): AgentOptions {
  const program = new Command('weft agent')
    .description('run the agent of a node')
    .requiredOption('--node <name>', "this node's name")
    .requiredOption('--control <addr:port>', 'address of the control plane')
    .requiredOption('--root <file>', 'root certificates of the control plane')
    .requiredOption('--token <file>', "the node's join token")
    .option('--namespace <name>', 'namespace of the agents', 'weft-system')
    .option('--instance <name>', 'name of the pins in the BPF file system', 'agent')
    .option('--run <dir>', 'directory for the state that other programs read')
    .addOption(
      new Option('--relay <which>', 'what relays the bytes: the carrier, or threads of the agent')
        .choices(relays)
        .default(relayDefault()),
    )
    .option('--carrier-dir <dir>', "directory with the sockets of this node's carriers (RUN/carrier)")
    .option('--workers <n>', 'threads that relay, with --relay typescript', Number, workersDefault)
    .option('--trust-domain <name>', 'SPIFFE trust domain', 'cluster.local')
    .option('--verdict-lease-ms <ms>', 'how long the kernel honors verdicts without an agent', Number, 15_000)
    .option(
      '--splice-bytes-max <n>',
      'spliced bytes that may queue for one reader; 0 disables splicing',
      Number,
      2 << 20,
    )
    .option(
      '--splice-node-bytes-max <n>',
      'splicing stops while TCP of the machine holds more bytes than this (3/64 of memory)',
      Number,
    )
    .option(
      '--splice-blocking',
      'also splice blocking sockets: a signal may then end their calls with EAGAIN',
    )
    .option('--netns-dirs <dirs...>', 'directories whose network namespaces the control plane may refer to', [
      '/run/netns',
      '/var/run/netns',
    ])
    .option(
      '--workload-namespaces <namespaces...>',
      "namespaces whose Workload objects this machine accepts; '*' accepts all",
      [],
    )
    .option(
      '--connection-log <file>',
      'file for one JSON line per connection; /dev/stderr mixes them with other logs',
    )
    .option(
      '--metrics-token <file>',
      'bearer token that grants access to metrics with names from other machines',
    )
    .option(
      '--otlp-metrics-endpoint <url>',
      'OTLP/HTTP collector for metrics, such as http://collector:4318/v1/metrics (default: they are only served)',
      otlpUrl,
    )
    .option(
      '--otlp-logs-endpoint <url>',
      'OTLP/HTTP collector for the connection log, such as http://collector:4318/v1/logs (default: only the file)',
      otlpUrl,
    )
    .option('--cgroups <dir>', "mount point of the node's control groups, in a container")
    .option('--cni-bin-dir <dir>', "directory of the node's CNI plugins")
    .option('--cni-conf-dir <dir>', "directory of the node's CNI configuration")
    .option(
      '--cni-state <dir>',
      "directory on the node's disk, under the same path inside and outside a container",
      '/var/lib/weft',
    )
    .addOption(
      new Option('--cni-plugin <what>', 'install the CNI plugin, or remove an installed one')
        .choices(['install', 'remove'])
        .default('install'),
    )
    .addOption(
      new Option('--cni-when-away <what>', 'what new pods of enrolled namespaces do while no agent responds')
        .choices(['wait', 'start'])
        .default('wait'),
    )
    .option('--drain-ms <ms>', 'how long open connections may continue after SIGTERM', Number, 10_000)
    .option(
      '--successor-ms <ms>',
      'how long after SIGTERM the agent keeps the node for a successor; 0: it does not wait for one',
      Number,
      0,
    )
    .option(
      '--own-dir <dir>',
      'directory of this agent alone: its file `ready` is rewritten each second while the agent is ready',
    );
  withUsageErrors(program).parse(argv);
  const options = program.opts<AgentOptions>();
  const run = options.run ?? `/run/weft/${options.instance}`;
  return { ...options, run, carrierDir: options.carrierDir ?? join(run, 'carrier') };
}

const connectionsMax = 100_000;
/** Descriptors that the agent needs besides connections: maps, listeners, logs, the pods' network namespaces. */
const ownDescriptors = 512;
const descriptorsUnknown = 1024;

/**
 * Connections that one worker may relay. Each needs two descriptors, and all workers share the descriptors of the process.
 * @param limits the text of /proc/self/limits
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
