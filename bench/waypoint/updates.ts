/**
 * What a mesh update costs a waypoint's worker while many streams are live: gRPC calls in both directions that wait for their next
 * message, through HBONE. An update changes one pod.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WeftError } from '../../src/base/errors.js';
import { sleep, until } from '../../src/base/wait.js';
import { processCpuSeconds } from '../harness/cost.js';
import { cpuOf, loadProgram, Servers } from '../harness/load.js';
import { figure, table, type Report } from '../harness/report.js';
import { spreadOf, valuesOf, type Sample } from '../harness/statistics.js';
import { stateOf } from '../result/goals.js';
import { proveHttp2Routed } from './http2-client.js';
import { goalTable, reportHead, spanText, type Goal } from './report.js';
import { startSecured } from './secured-targets.js';
import type { WaypointOptions } from './suite.js';
import { needHeader, needTools } from './tools.js';
import { podUpdates } from './weft.js';

/** On `connections` connections, since one may have 200 at a time. */
const liveStreams = 10_000;
const connections = 100;
const updatesPerRound = 50;
const gapMs = 20;
const costMsMax = 5;
const openMsMax = 60_000;
const pathName = 'updates';

const titles: Readonly<Record<keyof typeof podUpdates, string>> = {
  pod: 'of a pod that no Service has',
  endpoint: 'of a further endpoint of the Service',
};
const kinds = Object.keys(podUpdates) as (keyof typeof podUpdates)[];

export interface UpdatesReport extends Report {
  readonly goals: readonly Goal[];
}

/** As runWaypoint. Without Envoy: its updates come by other ways. */
export async function runUpdates(options: WaypointOptions): Promise<UpdatesReport> {
  const onProgress = (text: string): void => {
    if (options.interrupted()) throw new WeftError('WEFT_INTERRUPTED', 'interrupted, nothing is written');
    options.onProgress(text);
  };
  needTools(['tcpdump'], onProgress);
  needHeader('nghttp2/nghttp2.h', 'libnghttp2-dev', onProgress);
  const dir = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  const servers = new Servers();
  let load: ChildProcess | undefined;
  // The worker applies the kinds in turn, each as often as a round sends updates.
  const updates = kinds.flatMap((kind) =>
    Array.from({ length: updatesPerRound }, (_, at) => podUpdates[kind][at % 2]).filter(
      (one) => one !== undefined,
    ),
  );
  const envoy = { missing: 'not compared' };
  try {
    const { targets } = await startSecured(
      { ...options, protocol: 'http2', names: ['weft'], envoy, servers, dir, onProgress, updates },
      proveHttp2Routed,
    );
    const [target] = targets;
    const pid = target?.pid;
    if (!target || pid === undefined) throw new WeftError('WEFT_START', 'no proxy was started');
    onProgress(`opening ${liveStreams} streams`);
    const before = target.count();
    const holder = spawn(
      loadProgram('h2client'),
      [
        ...['127.0.0.1', String(target.port), String(cpuOf.client), 'hold', String(connections)],
        ...[liveStreams / connections, 128, 0, 600_000, 0].map(String),
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    load = holder;
    let said = '';
    holder.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
    const checkLoad = (): void => {
      if (holder.exitCode !== null) throw new WeftError('WEFT_COMMAND', `h2client: ${said.trim()}`);
    };
    await until('all streams are open', openMsMax, () => {
      checkLoad();
      return target.count() - before >= liveStreams;
    });
    await sleep(1_000);
    const samples: Sample[] = [];
    for (let round = 0; round < options.rounds; round++) {
      onProgress(`round ${round + 1} of ${options.rounds}: updates`);
      const idle = await spentMs(pid, () => undefined);
      const values: Record<string, number> = { idle };
      for (const kind of kinds)
        values[kind] = Math.max(0, (await spentMs(pid, () => process.kill(pid, 'SIGUSR2'))) - idle);
      samples.push({ round, path: pathName, variant: 'weft', values });
      checkLoad();
    }
    return updatesReportOf(options, samples);
  } finally {
    load?.kill();
    await servers.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** CPU milliseconds of the process for each of `updatesPerRound` steps. */
async function spentMs(pid: number, step: () => void): Promise<number> {
  const before = processCpuSeconds(pid);
  for (let i = 0; i < updatesPerRound; i++) {
    step();
    await sleep(gapMs);
  }
  await sleep(gapMs);
  return ((processCpuSeconds(pid) - before) * 1000) / updatesPerRound;
}

/** Pure but for what it says of the machine. */
function updatesReportOf(options: WaypointOptions, samples: readonly Sample[]): UpdatesReport {
  return {
    suite: 'waypoint-updates',
    ...reportHead(options, samples, { liveStreams }, { version: 'not compared' }),
    ratios: {},
    spread: {},
    noise: {},
    goals: kinds.map((kind) => {
      const found = spreadOf(valuesOf(samples, pathName, 'weft', kind));
      return {
        what: `mesh update ${titles[kind]}, ${liveStreams} live streams, CPU of the worker`,
        wanted: `less than ${costMsMax} ms`,
        found,
        state: stateOf(found, (ms) => ms < costMsMax),
      };
    }),
  };
}

export const printUpdates = ({ rounds, settings, goals }: UpdatesReport): string =>
  [
    `${settings['rounds']} rounds of ${updatesPerRound} mesh updates, ${gapMs} ms apart; ${liveStreams} live streams that are idle; CPU time of the worker`,
    '',
    table(
      ['mesh update', 'unit', 'weft', 'over rounds'],
      kinds.map((kind) => {
        const found = spreadOf(valuesOf(rounds, pathName, 'weft', kind));
        return [titles[kind], 'ms', figure(found?.median), spanText(found)];
      }),
    ),
    '',
    goalTable(goals),
  ].join('\n');
