/** `npm run bench`: the comparison, what it costs beside traffic, and the goals of the other suites, as one result. */
import type { Command } from 'commander';
import { errorText, WeftError } from '../../src/base/errors.js';
import { writeOutputs, type Outputs } from '../report/commands.js';
import { printResult } from '../report/terminal.js';
import type { BenchResult } from '../result/result.js';
import { costs, type CostResult } from './costs/index.js';
import { runGoals } from './goals.js';
import { commandTarget, parseTarget } from './target.js';
import { findPeers, meshWorkloads, resultOf, runMesh, type MeshOptions, type Peers } from './suite.js';

interface Given extends Outputs {
  readonly quick?: true;
  readonly rounds?: number;
  readonly seconds?: number;
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
/** Each makes beds of its own: fewer rounds say as much of memory and of starts. */
const costRoundsMax = 3;

/** One after the other; what was done by an interruption is kept. */
async function runCosts(options: MeshOptions, { names, envoy, fortio }: Peers): Promise<CostResult> {
  const { quick, seconds, state, note, interrupted } = options;
  const parts: CostResult[] = [];
  for (const [at, { workload, measure }] of costs.entries()) {
    try {
      parts.push(
        await measure({
          rounds: Math.min(options.rounds, quick ? 1 : costRoundsMax),
          seconds,
          quick,
          state,
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

/** What a signal ended with something to show: as a shell reports it. */
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
  const options: MeshOptions = {
    rounds,
    seconds: given.seconds ?? (quick ? 0.4 : 1),
    quick,
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
        'interrupted before the first round was done: nothing is written',
      );
    throw new WeftError(
      'WEFT_BENCH_NOT_CARRIED',
      `nothing could be measured: ${part.failures[0]?.why ?? 'a run with these options has no such workload'}`,
    );
  }
  // Who asks for some of it wants those, soon.
  const whole = given.variants === undefined && given.workloads === undefined && !target;
  const beside = given.costs && whole && !interrupted() ? await runCosts(options, peers) : nothing;
  const goals =
    given.goals && whole && !quick && !interrupted()
      ? await runGoals({
          rounds,
          state: given.state,
          control: given.control === true,
          onProgress,
          interrupted,
        })
      : { goals: [], missing: [] };
  return resultOf({
    ...part,
    interrupted: part.interrupted || interrupted(),
    samples: [...part.samples, ...beside.samples],
    failures: [...part.failures, ...beside.failures],
    missing: [...part.missing, ...beside.missing, ...goals.missing],
    goals: goals.goals,
    where: target ? 'own' : 'standalone',
    startedAt,
    settings: { rounds, seconds: options.seconds, quick, ...(target ? { target: target.shown } : {}) },
    workloads: [...meshWorkloads, ...costs.map(({ workload }) => workload)],
  });
}

/** The command that runs where none is named. */
export function registerMesh(program: Command, begin: () => Begun, within: NumberWithin): void {
  program
    .command('mesh', { isDefault: true })
    .description('no mesh, sidecars and Weft side by side; what runs where no suite is named')
    .option('--quick', 'two short rounds and fewer points: some minutes, for a look')
    .option('--rounds <n>', 'how often all is measured (5)', within(1, 1000, true))
    .option('--seconds <s>', 'how long each measurement takes (1)', within(0.1, 300, false))
    .option(
      '--variants <name...>',
      'some variants alone, without what is no traffic and without goals; no mesh is always there',
    )
    .option(
      '--workloads <name...>',
      'some workloads between pods alone, without what is no traffic and without goals',
    )
    .option('--envoy <file>', 'a binary of Envoy instead of the one that is fetched')
    .option('--target <url>', 'your own application, wherever this machine reaches it, behind every variant')
    .option('--target-command <command>', 'the same, started in each place with PORT in its environment')
    .option('--target-path <path>', 'what --target-command is asked for', '/')
    .option('--no-costs', 'without what is no traffic: memory, rules, starts, call graphs')
    .option('--no-goals', 'without the suites that measure the other goals')
    .option('--control', 'with the goals of the control plane: builds Kubernetes where none is built')
    .option('--json <file>', 'write the result: bench/result/schema.ts')
    .option('--html <file>', 'one page with plots, that needs nothing else')
    .option('--plots <dir>', 'each plot as SVG, light and dark')
    .option('--smp <file>', 'in the format of Service Mesh Performance')
    .option('--state <dir>', 'where the testbed is written down', '/run/weft/bench')
    .action(async (given: Given) => {
      const result = await compareVariants(given, begin());
      writeOutputs(result, given);
      console.log(printResult(result, { width: process.stdout.columns ?? 120 }));
      if (result.interrupted) process.exitCode = interruptedExitCode;
    });
}
