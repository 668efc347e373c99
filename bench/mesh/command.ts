/** `npm run bench`: the comparison, the costs besides traffic, and the goals of the other suites, as one result. */
import { Option, type Command } from 'commander';
import { errorText, WeftError } from '../../src/base/errors.js';
import { writeOutputs, type Outputs } from '../report/commands.js';
import { printResult } from '../report/terminal.js';
import type { BenchResult } from '../result/result.js';
import { costs as allCosts, type Cost, type CostResult } from './costs/index.js';
import { idleConnections } from './costs/idle-connections.js';
import { runGoals } from './goals.js';
import { commandTarget, parseTarget } from './target.js';
import {
  findPeers,
  focuses,
  meshWorkloads,
  resultOf,
  runMesh,
  type MeshOptions,
  type Peers,
} from './suite.js';

interface Given extends Outputs {
  readonly quick?: true;
  readonly rounds?: number;
  readonly seconds?: number;
  readonly focus?: string;
  readonly variants?: readonly string[];
  readonly workloads?: readonly string[];
  readonly envoy?: string;
  readonly target?: string;
  readonly targetCommand?: string;
  readonly targetPath: string;
  readonly costs: boolean;
  readonly goals: boolean;
  readonly control?: true;
  readonly state: string;
}

interface Begun {
  readonly onProgress: (text: string) => void;
  readonly interrupted: () => boolean;
}

type NumberWithin = (min: number, max: number, whole: boolean) => (text: string) => number;

const nothing: CostResult = { samples: [], failures: [], missing: [] };
/** Each cost creates its own testbeds. Memory and start times vary little, so fewer rounds suffice. */
const costRoundsMax = 3;

/** Measures the costs one after the other. An interruption keeps the completed ones. */
async function runCosts(
  options: MeshOptions,
  { names, envoy, fortio }: Peers,
  costs: readonly Cost[],
): Promise<CostResult> {
  const { quick, focus, seconds, state, note, interrupted } = options;
  const parts: CostResult[] = [];
  for (const [at, { workload, measure }] of costs.entries()) {
    try {
      parts.push(
        await measure({
          rounds: Math.min(options.rounds, quick ? 1 : costRoundsMax),
          seconds,
          quick,
          state,
          ...(focus ? { placement: focus.placement, variants: names } : {}),
          ...(envoy === undefined || !names.has('sidecar') ? {} : { envoy }),
          ...(fortio === undefined ? {} : { fortio }),
          onProgress: (text) => {
            if (interrupted()) throw new WeftError('WEFT_INTERRUPTED', workload.title);
            note(`beside traffic, ${at + 1} of ${costs.length}: ${text}`);
          },
        }),
      );
    } catch (error) {
      if (interrupted()) break;
      parts.push({ ...nothing, missing: [{ what: workload.title, why: errorText(error) }] });
    }
  }
  return {
    samples: parts.flatMap(({ samples }) => samples),
    failures: parts.flatMap(({ failures }) => failures),
    missing: parts.flatMap(({ missing }) => missing),
  };
}

/** Exit code of a run that a signal ended with a result, as a shell reports it. */
const interruptedExitCode = 130;

export async function compareVariants(
  given: Given,
  { onProgress, interrupted }: Begun,
): Promise<BenchResult> {
  const startedAt = new Date().toISOString();
  const quick = given.quick === true;
  const rounds = given.rounds ?? (quick ? 2 : 5);
  if (given.target !== undefined && given.targetCommand !== undefined)
    throw new WeftError('WEFT_BENCH_TARGET', 'give --target or --target-command, not both');
  const target =
    given.target !== undefined
      ? await parseTarget(given.target)
      : given.targetCommand === undefined
        ? undefined
        : commandTarget(given.targetCommand, given.targetPath);
  for (const name of given.workloads ?? [])
    if (!meshWorkloads.some((workload) => workload.name === name))
      throw new WeftError(
        'WEFT_BENCH_VARIANT',
        `no workload ${name}: there are ${meshWorkloads.map((workload) => workload.name).join(', ')}`,
      );
  const focus = given.focus === undefined ? undefined : focuses[given.focus];
  const options: MeshOptions = {
    rounds,
    seconds: given.seconds ?? (quick ? 0.4 : 1),
    quick,
    ...(focus ? { focus } : {}),
    ...(given.envoy === undefined ? {} : { envoy: given.envoy }),
    ...(given.variants === undefined ? {} : { variants: given.variants }),
    ...(given.workloads === undefined ? {} : { workloads: given.workloads }),
    ...(target ? { target } : {}),
    state: given.state,
    note: onProgress,
    interrupted,
  };
  const peers = findPeers(options);
  const part = await runMesh(options, peers);
  if (part.samples.length === 0) {
    if (interrupted())
      throw new WeftError(
        'WEFT_INTERRUPTED',
        'interrupted before the end of the first round: no result is written',
      );
    throw new WeftError(
      'WEFT_BENCH_NOT_CARRIED',
      `no measurement succeeded: ${part.failures[0]?.why ?? 'no workload fits these options'}`,
    );
  }
  // A run with selected variants or workloads skips costs and goals, so that it ends soon.
  const whole = given.variants === undefined && given.workloads === undefined && !target;
  const costs = !given.costs || !whole ? [] : focus ? [idleConnections] : allCosts;
  const beside = interrupted() ? nothing : await runCosts(options, peers, costs);
  const goals =
    given.goals && whole && !focus && !quick && !interrupted()
      ? await runGoals({
          rounds,
          state: given.state,
          control: given.control === true,
          onProgress,
          interrupted,
        })
      : { goals: [], missing: [] };
  return resultOf(
    {
      ...part,
      interrupted: part.interrupted || interrupted(),
      samples: [...part.samples, ...beside.samples],
      failures: [...part.failures, ...beside.failures],
      missing: [...part.missing, ...beside.missing, ...goals.missing],
      goals: goals.goals,
      where: target ? 'own' : 'standalone',
      startedAt,
      settings: {
        rounds,
        seconds: options.seconds,
        quick,
        ...(given.focus ? { focus: given.focus } : {}),
        ...(target ? { target: target.shown } : {}),
      },
      workloads: [...meshWorkloads, ...costs.map(({ workload }) => workload)],
    },
    ({ placement, variant, workload }) =>
      (!focus || (focus.placement === placement && focus.variants.includes(variant))) &&
      given.variants?.includes(variant) !== false &&
      given.workloads?.includes(workload) !== false &&
      (whole || !allCosts.some((cost) => cost.workload.name === workload)),
  );
}

/** The default command. */
export function registerMesh(program: Command, begin: () => Begun, within: NumberWithin): void {
  program
    .command('mesh', { isDefault: true })
    .description('no mesh, sidecars and Weft side by side; the default suite')
    .option('--quick', 'two short rounds and fewer points, for a first impression in some minutes')
    .option('--rounds <n>', 'number of rounds (5)', within(1, 1000, true))
    .option('--seconds <s>', 'duration of each measurement (1)', within(0.1, 300, false))
    .addOption(
      new Option(
        '--focus <what>',
        'only what a relay carries, at the points that have goals: across nodes, or on one node where it is encrypted',
      ).choices(Object.keys(focuses)),
    )
    .option(
      '--variants <name...>',
      'only these variants, without costs besides traffic and without goals; no mesh is always included',
    )
    .option(
      '--workloads <name...>',
      'only these workloads between pods, without costs besides traffic and without goals',
    )
    .option('--envoy <file>', 'Envoy binary to use instead of a download')
    .option('--target <url>', 'your own application, reachable from this machine, behind every variant')
    .option(
      '--target-command <command>',
      'your own application, started in each pod with PORT in its environment',
    )
    .option('--target-path <path>', 'path of requests to --target-command', '/')
    .option('--no-costs', 'skip the costs besides traffic: memory, rules, starts, call graphs')
    .option('--no-goals', 'skip the suites that measure the other goals')
    .option('--control', 'also measure the goals of the control plane; builds Kubernetes if needed')
    .option('--json <file>', 'write the result: bench/result/schema.ts')
    .option('--html <file>', 'write one self-contained page with plots')
    .option('--plots <dir>', 'write each plot as SVG, light and dark')
    .option('--smp <file>', 'write the result in the format of Service Mesh Performance')
    .option('--state <dir>', 'state directory of the testbed', '/run/weft/bench')
    .action(async (given: Given) => {
      const result = await compareVariants(given, begin());
      writeOutputs(result, given);
      console.log(printResult(result, { width: process.stdout.columns ?? 120 }));
      if (result.interrupted) process.exitCode = interruptedExitCode;
    });
}
