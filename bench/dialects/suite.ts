/** Istio's YAML at scale, and what its routes cost: `npm run bench -- dialects`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { WeftError } from '../../src/base/errors.js';
import { distRoot } from '../../src/cli/run.js';
import { cpuOf, loadProgram, runJson, Servers } from '../harness/load.js';
import { figure, table, type Report } from '../harness/report.js';
import { ratiosByRound, spreadOf, valuesOf, type Sample } from '../harness/statistics.js';
import { stateOf } from '../result/goals.js';
import { goalTable, reportHead, spanText, type Goal } from '../waypoint/report.js';
import { bodyBytes, freePorts } from '../waypoint/scene.js';
import { needTools } from '../waypoint/tools.js';
import { measureRequest, requestConnections, requestPath } from './request.js';

export interface DialectsOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly virtualServices: number;
  readonly destinationRules: number;
  readonly onProgress: (text: string) => void;
  readonly interrupted: () => boolean;
}
export interface DialectsReport extends Report {
  readonly goals: readonly Goal[];
}

const changes = 200;
const coldMsMax = 20_000;
const costRatioMax = 1.05;
const compileMsMax = 600_000;
const cpu = `cpu${requestConnections}`;
const compilePath = 'compile';
const deliveryPath = 'delivery';
/** The limit of the control bench, for a change's way to a node. */
const deliveryMsMax = 500;
const largePath = 'large';
/** VirtualServices, rules of each (2 MB), changes of the Service that they name. */
const large = [10, 13_000, 5] as const;
const delivery = { nodes: 20, rate: 20, seconds: 20 } as const;

/** Figures of the compilation: title, unit, metric. */
const compiled = [
  ['objects', '', 'objects'],
  ['resources', '', 'resources'],
  ['read and validated', 'ms', 'readMs'],
  ['compiled', 'ms', 'compileMs'],
  ['encoded', 'ms', 'encodeMs'],
  ['cold, all of it', 'ms', 'coldMs'],
  ['one VirtualService changed, median', 'ms', 'changeMsMedian'],
  ['one VirtualService changed, longest', 'ms', 'changeMsMax'],
  ['memory afterwards', 'bytes', 'residentBytes'],
] as const;

/** Runs a program of this suite; what it prints, as numbers. Errors: WEFT_COMMAND. */
async function measured(program: string, args: readonly number[]): Promise<Record<string, number>> {
  const found = (await runJson(
    undefined,
    process.execPath,
    ['--max-old-space-size=4096', join(distRoot, 'bench', 'dialects', program), ...args.map(String)],
    compileMsMax,
  )) as Record<string, number | string>;
  if ((found['problems'] ?? 0) !== 0)
    throw new WeftError('WEFT_COMMAND', `objects of the bench are not in force: ${found['firstProblem']}`);
  return Object.fromEntries(
    Object.entries(found).filter((pair): pair is [string, number] => typeof pair[1] === 'number'),
  );
}

/** Compiles, and delivers changes, in processes of their own, one after the other. */
async function measureControl(options: DialectsOptions): Promise<Sample[]> {
  const samples: Sample[] = [];
  const { nodes, rate, seconds } = delivery;
  const size = [options.virtualServices, options.destinationRules];
  for (let round = 0; round < options.rounds; round++) {
    const of = (path: string, values: Sample['values']): void =>
      void samples.push({ round, path, variant: 'weft', values });
    options.onProgress(`round ${round + 1} of ${options.rounds}: compile`);
    of(compilePath, await measured('compile.js', [...size, changes]));
    options.onProgress(`round ${round + 1} of ${options.rounds}: deliver`);
    of(deliveryPath, await measured('delivery.js', [...size, nodes, rate, seconds]));
    options.onProgress(`round ${round + 1} of ${options.rounds}: large objects`);
    of(largePath, await measured('large.js', large));
  }
  return samples;
}

/** Errors: WEFT_START, WEFT_COMMAND, WEFT_INTERRUPTED. */
export async function runDialects(options: DialectsOptions): Promise<DialectsReport> {
  if (availableParallelism() < 2)
    throw new WeftError('WEFT_START', 'one CPU is not enough: the proxy needs one for itself');
  needTools(['wrk'], options.onProgress);
  const onProgress = (text: string): void => {
    if (options.interrupted()) throw new WeftError('WEFT_INTERRUPTED', 'interrupted, nothing is written');
    options.onProgress(text);
  };
  const controlSamples = await measureControl({ ...options, onProgress });
  const dir = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  const servers = new Servers();
  try {
    const endpoints = await freePorts(2);
    await servers.start(undefined, endpoints[0] ?? 0, loadProgram('responder'), [
      String(cpuOf.client),
      String(bodyBytes),
      ...endpoints.flatMap((port, at) => [String(at), String(port)]),
    ]);
    const envoy = { missing: 'not compared' };
    const requests = await measureRequest({
      ...{ servers, dir, envoy, endpoints, onProgress, nodeFlags: [] },
      rounds: options.rounds,
      seconds: options.seconds,
    });
    return dialectsReportOf(options, [...controlSamples, ...requests]);
  } finally {
    await servers.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Pure but for what it says of the machine. */
function dialectsReportOf(options: DialectsOptions, samples: readonly Sample[]): DialectsReport {
  const { virtualServices, destinationRules } = options;
  const ratio = (variant: string) =>
    spreadOf(ratiosByRound(samples, requestPath.name, cpu, variant, 'gateway'));
  const istio = ratio('istio');
  const noise = ratio('again');
  const cold = spreadOf(valuesOf(samples, compilePath, 'weft', 'coldMs'));
  const delivered = spreadOf(valuesOf(samples, deliveryPath, 'weft', 'deliveryMsP99'));
  const key = `${requestPath.name}.${cpu}.istio`;
  return {
    suite: 'dialects',
    ...reportHead(
      { ...options, longSeconds: options.seconds, nodeFlags: [] },
      samples,
      { virtualServices, destinationRules },
      { version: 'not compared' },
    ),
    ratios: istio ? { [key]: istio.median } : {},
    spread: istio ? { [key]: istio } : {},
    noise: noise ? { [`${requestPath.name}.${cpu}`]: noise } : {},
    goals: [
      {
        what: `${virtualServices} VirtualServices and ${destinationRules} DestinationRules, from cold`,
        wanted: `at most ${coldMsMax} ms`,
        found: cold,
        state: stateOf(cold, (ms) => ms <= coldMsMax),
      },
      {
        what: 'one VirtualService changed: time until the waypoints have it, p99',
        wanted: `at most ${deliveryMsMax} ms`,
        found: delivered,
        state: stateOf(delivered, (ms) => ms <= deliveryMsMax),
      },
      {
        what: 'Istio route / the same Gateway API route, CPU per request',
        wanted: `at most ${costRatioMax}`,
        found: istio,
        // Single rounds differ by more than what is looked for, so the median decides.
        state:
          istio === undefined ? 'not measured' : istio.median <= costRatioMax ? 'reached' : 'not reached',
      },
    ],
  };
}

export function printDialects({ rounds, settings, noise, goals }: DialectsReport): string {
  const row = (title: string, unit: string, path: string, variant: string, metric: string): string[] => {
    const found = spreadOf(valuesOf(rounds, path, variant, metric));
    return [title, unit, figure(found?.median), spanText(found)];
  };
  const apart = noise[`${requestPath.name}.${cpu}`];
  return [
    `${settings['rounds']} rounds; requests: ${requestConnections} connections, one core for the proxy`,
    '',
    table(
      ['', 'unit', 'median', 'over rounds'],
      [
        ...compiled.map(([title, unit, metric]) => row(title, unit, compilePath, 'weft', metric)),
        row('a change to the waypoints, p50', 'ms', deliveryPath, 'weft', 'deliveryMsMedian'),
        row('a change to the waypoints, p99', 'ms', deliveryPath, 'weft', 'deliveryMsP99'),
        row('a change to the waypoints, longest', 'ms', deliveryPath, 'weft', 'deliveryMsMax'),
        row('CPUs while they went on', '', deliveryPath, 'weft', 'deliveryCpu'),
        row('a Service that large VirtualServices name, changed', 'ms', largePath, 'weft', 'largeChangeMs'),
        row('until they are compiled, too', 'ms', largePath, 'weft', 'largeAllMs'),
        row('longest stretch meanwhile', 'ms', largePath, 'weft', 'largeBusyMs'),
        row('CPU per request, Gateway API route', 'us', requestPath.name, 'gateway', cpu),
        row('CPU per request, Istio route', 'us', requestPath.name, 'istio', cpu),
        ['two processes with the same route (noise)', 'x', figure(apart?.median), spanText(apart)],
      ],
    ),
    '',
    goalTable(goals),
  ].join('\n');
}
