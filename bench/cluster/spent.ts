/** CPU seconds by role, as far as pods can read them: processes of the two pods, and Weft's programs by their own metrics. */
import { readdirSync, readFileSync } from 'node:fs';
import { WeftError } from '../../src/base/errors.js';
import { endedChildrenCpuSeconds, processCpuSeconds } from '../harness/cost.js';
import { adminPort, provingStats, readStats } from '../peers/sidecar.js';
import { ports, weftMetricsPort, type ClientPlan } from './plan.js';

export type Numbers = Readonly<Record<string, number>>;

const answerMsMax = 5_000;
/** Names of the applications' processes. The meter itself does not count. */
const applications = ['echo-server', 'iperf3', 'fortio'];
const proxy = 'envoy';
/** The counters to read: the proving ones of the inbound side, and handshakes of the outbound side. */
const counted = [...provingStats, ...['tcp', 'http'].map((name) => `cluster.outbound_${name}.ssl.handshake`)];

/** Program -> CPU seconds so far, of all processes of this pod (its containers share their processes). */
export function cpuByProgram(): Numbers {
  const sums: Record<string, number> = {};
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const name = readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
      sums[name] = (sums[name] ?? 0) + processCpuSeconds(Number(pid));
    } catch {
      // The process has ended meanwhile.
    }
  }
  return sums;
}

/** CPU seconds in the metrics of an agent or waypoint; undefined if the text has none. Pure. */
export function processSecondsOf(metrics: string): number | undefined {
  const found = /^weft_process_cpu_seconds_total(?:\{[^}]*\})? (\S+)/m.exec(metrics);
  const seconds = Number(found?.[1]);
  return found === null || !Number.isFinite(seconds) ? undefined : seconds;
}

async function get(url: string): Promise<string> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(answerMsMax) });
  const text = await answer.text();
  if (!answer.ok) throw new WeftError('WEFT_COMMAND', `GET ${url}: ${answer.status}`);
  return text;
}

export interface Seconds {
  readonly application: number;
  /** Undefined if there are no proxies, or if one of them did not respond. */
  readonly proxy?: number;
}

const sumOf = (of: Numbers, names: readonly string[]): number =>
  names.reduce((sum, name) => sum + (of[name] ?? 0), 0);
const hostOf = (address: string): string => (address.includes(':') ? `[${address}]` : address);

/** CPU seconds so far, of the client's and the server's side together. */
export async function secondsSoFar({ serverPod, proxies, sidecar }: ClientPlan): Promise<Seconds> {
  const there = JSON.parse(await get(`http://${hostOf(serverPod)}:${ports.meter}/`)) as Numbers;
  const application = sumOf(there, applications) + endedChildrenCpuSeconds();
  if (sidecar) return { application, proxy: sumOf(there, [proxy]) + sumOf(cpuByProgram(), [proxy]) };
  if (proxies.length === 0) return { application };
  const each = await Promise.all(
    proxies.map((address) =>
      get(`http://${hostOf(address)}:${weftMetricsPort}/metrics`).then(processSecondsOf, () => undefined),
    ),
  );
  // The sum of only some proxies would be too low.
  if (each.includes(undefined)) return { application };
  return { application, proxy: each.reduce<number>((sum, one) => sum + (one ?? 0), 0) };
}

/** Counters of this pod's Envoy, without those at zero. */
export async function envoyCounters(): Promise<Numbers> {
  const stats = readStats(await get(`http://127.0.0.1:${adminPort}/stats`));
  return Object.fromEntries([...stats].filter(([name, value]) => counted.includes(name) && value > 0));
}

/** Counters of both Envoys. Names begin with `client` and `server`. */
export async function countersOfBoth({ serverPod, sidecar }: ClientPlan): Promise<Numbers> {
  if (!sidecar) return {};
  const ends = {
    client: await envoyCounters(),
    server: JSON.parse(await get(`http://${hostOf(serverPod)}:${ports.meter}/counters`)) as Numbers,
  };
  return Object.fromEntries(
    Object.entries(ends).flatMap(([end, of]) =>
      Object.entries(of).map(([name, value]) => [`${end} ${name}`, value]),
    ),
  );
}
