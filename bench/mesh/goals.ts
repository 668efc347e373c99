/** Goals that other suites measure. The suites run after the comparison, and the result contains their figures. */
import { errorText } from '../../src/base/errors.js';
import { runControl } from '../control/suite.js';
import { ratiosByRound } from '../harness/statistics.js';
import { runKernel } from '../kernel/suite.js';
import { runL4 } from '../l4/suite.js';
import { goalAtLeast, goalBelow } from '../result/goals.js';
import type { BenchResult, Goal } from '../result/result.js';
import { http2Parts } from '../waypoint/http2-report.js';
import { runHttp2 } from '../waypoint/http2.js';
import { runWaypoint } from '../waypoint/suite.js';

export interface GoalsOptions {
  readonly rounds: number;
  readonly state: string;
  /** Needs a built Kubernetes. A build takes a quarter of an hour. */
  readonly control: boolean;
  readonly onProgress: (text: string) => void;
  readonly interrupted: () => boolean;
}

export type GoalsResult = Pick<BenchResult, 'goals' | 'missing'>;

async function kernel({ rounds, state, onProgress, interrupted }: GoalsOptions): Promise<Goal[]> {
  const report = await runKernel({ rounds, seconds: 1, state, onProgress, interrupted });
  const all = (name: string): number[] => report.rounds.flatMap(({ values }) => values[name] ?? []);
  const small = all('connect() carried, small tables');
  const full = all('connect() carried, 100000 verdicts, 5000 services, 50000 endpoints');
  const from = 'npm run bench -- kernel';
  return [
    goalBelow('first connection between two workloads, p99', 2000, 'us', from, all('first connection p99')),
    goalBelow(
      'connect() of a pod that is not enrolled',
      200,
      'ns',
      from,
      all('connect() of a pod not enrolled'),
    ),
    goalBelow(
      'connect() with 100 000 verdicts and 50 000 endpoints / with few',
      1.1,
      'x',
      from,
      full.map((value, at) => value / (small[at] ?? NaN)),
    ),
    goalBelow(
      'last of 1 000 connections cut after a policy change',
      200,
      'ms',
      from,
      all('cut of 1000 after the policy file changed'),
    ),
  ];
}

/** Bulk transfer between non-blocking sockets, which are spliced. */
async function l4({ rounds, state, onProgress, interrupted }: GoalsOptions): Promise<Goal[]> {
  const report = await runL4({
    rounds,
    seconds: 1,
    atOnce: 8,
    variants: ['mesh'],
    paths: ['same-node'],
    state,
    onProgress,
    interrupted,
  });
  const goal = (what: string, limit: number, metric: string): Goal =>
    goalAtLeast(
      `same node, spliced / no mesh: ${what}`,
      limit,
      'npm run bench -- l4',
      ratiosByRound(report.rounds, 'same-node', metric, 'mesh', 'direct'),
    );
  return [
    goal('one stream', 1, 'throughput'),
    goal('requests beside 15 streams', 1.2, 'requestsMixed'),
    goal('15 streams beside requests', 1, 'throughputMixed'),
  ];
}

async function waypoint({ rounds, onProgress, interrupted }: GoalsOptions): Promise<Goal[]> {
  const options = { rounds, seconds: 1, longSeconds: 2, nodeFlags: [], onProgress, interrupted };
  const reports = [
    { goals: (await runWaypoint(options)).goals, title: 'waypoint', flags: '' },
    {
      goals: (await runHttp2({ ...options, wire: 'plain', parts: http2Parts })).goals,
      title: 'waypoint',
      flags: '',
    },
    {
      goals: (await runHttp2({ ...options, wire: 'hbone', parts: http2Parts })).goals,
      title: 'waypoint, HBONE on both sides',
      flags: ' --tls',
    },
  ];
  return reports.flatMap(({ goals, title, flags }) =>
    goals.map(({ what, wanted, found, state }) => ({
      what: `${title}: ${what}`,
      wanted,
      ...(found ? { found } : {}),
      state,
      unit: 'x',
      from: `npm run bench -- waypoint${flags}`,
    })),
  );
}

async function control({ onProgress }: GoalsOptions): Promise<Goal[]> {
  const report = await runControl({
    pods: 10_000,
    services: 1_000,
    nodes: 200,
    rate: 20,
    seconds: 30,
    onProgress,
  });
  const from = 'npm run bench -- control';
  return [
    goalBelow('10 000 pods, 200 nodes: change to node, p99', 500, 'ms', from, [report.changeMs.p99]),
    goalBelow('10 000 pods, 200 nodes: cold start to the last node', 30, 's', from, [
      report.coldStartMs / 1000,
    ]),
    goalBelow('10 000 pods, 200 nodes: memory of the control plane', 1000, 'MB', from, [
      report.residentBytes.peak / 1e6,
    ]),
  ];
}

/** Runs each suite. The reason why a suite cannot run becomes part of the result. */
export async function runGoals(options: GoalsOptions): Promise<GoalsResult> {
  const goals: Goal[] = [];
  const missing: BenchResult['missing'][number][] = [];
  const suites: [string, (of: GoalsOptions) => Promise<Goal[]>][] = [
    ['l4', l4],
    ['kernel', kernel],
    ['waypoint', waypoint],
    ...(options.control ? [['control', control] as [string, typeof control]] : []),
  ];
  for (const [name, run] of suites) {
    if (options.interrupted()) break;
    try {
      goals.push(...(await run(options)));
    } catch (error) {
      missing.push({ what: `goals of the ${name} suite`, why: errorText(error) });
    }
  }
  if (!options.control)
    missing.push({
      what: 'goals of the control suite',
      why: 'it builds Kubernetes where none is built: npm run bench -- control, or --control',
    });
  return { goals, missing };
}
