/** The program of the Job: runs the workloads of the plan in BENCH_PLAN from its pod, and prints one report as its last line. */
import { execFile } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { errorText, WeftError } from '../../src/base/errors.js';
import { sleep } from '../../src/base/wait.js';
import { numberAt, runJson } from '../harness/load.js';
import { loadArgs, readOpen, readSummary, type Protocol } from '../load/fortio.js';
import {
  bulkStreams,
  connectionsAtOnce,
  messageBytes,
  ports,
  protocols,
  requestConnections,
  warmSeconds,
  workloadNames,
  type ClientPlan,
  type ClientReport,
  type Measured,
  type Rate,
} from './plan.js';
import { countersOfBoth, secondsSoFar } from './spent.js';

const slackMs = 30_000;
const answersMsMax = 60_000;
const trialSecondsMax = 1;
const smallBytes = 128;
const notPinned = '-1';

type Values = Readonly<Record<string, number>>;
interface Done {
  readonly values: Values;
  readonly short?: string;
  /** Divisor of the CPU time. */
  readonly requests?: number;
  readonly gigabytes?: number;
}
interface Step {
  readonly workload: string;
  readonly point: string;
  readonly perSecondWanted?: number;
  readonly run: () => Promise<Done>;
}

/** The standard output of a program. Throws WEFT_COMMAND with the end of its output. */
function printed(command: string, args: readonly string[], timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(
      command,
      args,
      { encoding: 'utf8', timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: 16 << 20 },
      (error, stdout, stderr) => {
        if (!error) return resolve(stdout);
        const said = `${stderr.trim()}\n${stdout.trim()}`.trim().slice(-500) || errorText(error);
        reject(new WeftError('WEFT_COMMAND', `${command}: ${said}`, { cause: error }));
      },
    );
  });
}

async function pingpong(plan: ClientPlan, bytes: number, milliseconds: number): Promise<unknown> {
  const args = [plan.service, String(ports.echo), notPinned, String(bytes), String(milliseconds)];
  return runJson(undefined, 'pingpong', args, milliseconds + slackMs);
}

async function fortio(
  plan: ClientPlan,
  protocol: Protocol,
  seconds: number,
  open?: { readonly perSecond: number; readonly log: string },
): Promise<unknown> {
  const args = loadArgs({
    protocol,
    host: plan.service,
    port: ports[protocol],
    connections: requestConnections,
    seconds,
    ...open,
  });
  return JSON.parse(await printed('fortio', args, seconds * 1000 + slackMs));
}

function stepsOf(plan: ClientPlan): Step[] {
  const { seconds } = plan;
  const capacity = (protocol: Protocol, at: number): Step => ({
    workload: workloadNames.capacity(protocol),
    point: '',
    run: async () => {
      const { requests, perSecond } = readSummary(await fortio(plan, protocol, at));
      return { values: { perSecond }, requests };
    },
  });
  if (plan.what === 'trial')
    return protocols.map((protocol) => capacity(protocol, Math.min(seconds, trialSecondsMax)));
  return [
    ...Object.entries(messageBytes).map(([point, bytes]) => ({
      workload: workloadNames.pingPong,
      point,
      run: () => pingPongStep(plan, bytes),
    })),
    ...Object.entries(bulkStreams).map(([point, streams]) => ({
      workload: workloadNames.bulk,
      point,
      run: () => bulkStep(plan, streams),
    })),
    { workload: workloadNames.churn, point: '', run: () => churnStep(plan) },
    ...protocols.flatMap((protocol): Step[] => [
      capacity(protocol, seconds),
      ...(plan.rates[protocol] ?? []).map((rate) => ({
        workload: workloadNames.atRate(protocol),
        point: rate.point,
        perSecondWanted: rate.perSecond,
        run: () => atRateStep(plan, protocol, rate),
      })),
    ]),
  ];
}

async function pingPongStep(plan: ClientPlan, bytes: number): Promise<Done> {
  const result = await pingpong(plan, bytes, Math.round(plan.seconds * 1000));
  return {
    values: {
      p50: numberAt(result, 'p50_us'),
      p99: numberAt(result, 'p99_us'),
      p999: numberAt(result, 'p999_us'),
    },
    requests: numberAt(result, 'all_trips'),
  };
}

async function churnStep({ service, seconds }: ClientPlan): Promise<Done> {
  const milliseconds = Math.round(seconds * 1000);
  const result = await runJson(
    undefined,
    'connections',
    [service, ports.echo, notPinned, smallBytes, milliseconds, connectionsAtOnce].map(String),
    milliseconds + slackMs,
  );
  return { values: { perSecond: numberAt(result, 'per_second') }, requests: numberAt(result, 'opened') };
}

/** iperf3 takes whole seconds. */
async function bulkStep(plan: ClientPlan, streams: number): Promise<Done> {
  const seconds = Math.max(1, Math.round(plan.seconds));
  const to = ['-c', plan.service, '-p', String(ports.bulk), '--connect-timeout', '5000'];
  const args = [...to, '-t', String(seconds), '-P', String(streams), '-J'];
  const result: unknown = JSON.parse(await printed('iperf3', args, seconds * 1000 + slackMs));
  return {
    values: { gbit: numberAt(result, 'end', 'sum_received', 'bits_per_second') / 1e9 },
    gigabytes: numberAt(result, 'end', 'sum_received', 'bytes') / 1e9,
  };
}

async function atRateStep(plan: ClientPlan, protocol: Protocol, { perSecond }: Rate): Promise<Done> {
  const log = `/tmp/${protocol}.log`;
  const seconds = plan.seconds + warmSeconds;
  try {
    const { requests } = readSummary(await fortio(plan, protocol, seconds, { perSecond, log }));
    const text = readFileSync(log, 'utf8');
    const result = readOpen(text, { perSecond, connections: requestConnections, seconds }, warmSeconds);
    if ('short' in result) return { values: { perSecond: result.perSecond }, short: result.short };
    return { values: { ...result.latenciesUs }, requests };
  } finally {
    rmSync(log, { force: true });
  }
}

/** Waits until all servers respond: pods may be ready before their mesh has enrolled them. */
async function untilAllRespond(plan: ClientPlan): Promise<void> {
  const endMs = Date.now() + answersMsMax;
  for (;;) {
    try {
      await pingpong(plan, smallBytes, 10);
      for (const protocol of protocols) readSummary(await fortio(plan, protocol, 0.1));
      return;
    } catch (error) {
      if (Date.now() > endMs)
        throw new WeftError('WEFT_BENCH_JOB', `the server does not respond: ${errorText(error)}`, {
          cause: error,
        });
      await sleep(250);
    }
  }
}

/** Adds CPU per request or GB, of the processes that can be read. A clock tick is 10 ms: less cannot be distinguished from zero. */
async function withCpu(plan: ClientPlan, run: () => Promise<Done>): Promise<Done> {
  const before = await secondsSoFar(plan);
  const done = await run();
  const after = await secondsSoFar(plan);
  const application = after.application - before.application;
  const proxy =
    after.proxy === undefined || before.proxy === undefined ? undefined : after.proxy - before.proxy;
  const per = (amount: number, unit: 'Us' | 'SecondsPerGb'): Values => ({
    [`application${unit}`]: application / amount,
    ...(proxy === undefined ? {} : { [`proxy${unit}`]: proxy / amount }),
  });
  const { requests, gigabytes } = done;
  return {
    ...done,
    values: {
      ...done.values,
      ...(requests === undefined ? {} : per(requests / 1e6, 'Us')),
      ...(gigabytes === undefined ? {} : per(gigabytes, 'SecondsPerGb')),
    },
  };
}

/** Versions of the programs in the image. */
async function versions(): Promise<Record<string, string>> {
  const found: Record<string, string> = { 'node in the image': process.version };
  for (const [program, args, pattern] of [
    ['fortio', ['version'], /(\d+\.\d+\.\d+)/],
    ['iperf3', ['--version'], /iperf (\S+)/],
    ['envoy', ['--version'], /version: \w+\/([^/]+)\//],
  ] as const) {
    const version = pattern.exec(await printed(program, args, slackMs))?.[1];
    if (version !== undefined) found[program] = version;
  }
  return found;
}

async function measure(plan: ClientPlan): Promise<ClientReport> {
  await untilAllRespond(plan);
  const samples: Measured[] = [];
  const failures: { workload: string; point: string; why: string }[] = [];
  for (const { run, ...step } of stepsOf(plan)) {
    try {
      const { values, short } = await withCpu(plan, run);
      samples.push({ ...step, values, ...(short === undefined ? {} : { short }) });
    } catch (error) {
      const { workload, point } = step;
      failures.push({ workload, point, why: errorText(error).slice(0, 500) });
    }
  }
  return {
    samples,
    failures,
    counters: await countersOfBoth(plan),
    versions: plan.what === 'trial' ? await versions() : {},
  };
}

// The first process of a container has no default handlers of signals.
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => process.exit(1));
try {
  console.log(JSON.stringify(await measure(JSON.parse(process.env['BENCH_PLAN'] ?? '{}') as ClientPlan)));
} catch (error) {
  console.error(errorText(error));
  process.exitCode = 1;
}
