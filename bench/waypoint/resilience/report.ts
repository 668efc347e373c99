/** What a run of resilience/suite.ts found: its figures, its goals, and the tables that people read. */
import { cpuOf } from '../../harness/load.js';
import { figure, table, type Report } from '../../harness/report.js';
import { ratiosByRound, spreadOf, valuesOf, type Sample, type Spread } from '../../harness/statistics.js';
import { stateOf } from '../../result/goals.js';
import { othersMax } from '../measure.js';
import type { ProxyKind } from '../plain-targets.js';
import {
  goalTable,
  noiseOf,
  reportHead,
  spanText,
  type EnvoyFound,
  type Goal,
  type ReportedOptions,
} from '../report.js';
import { cost, costConnections, keyed } from './cost.js';
import { flood, floodPerSecond, quietPerSecond } from './flood.js';
import { global, globalKeys, overload, sharedLimit } from './global.js';
import { ejected, reaction } from './reaction.js';
import { intervalMs, keysMax } from './scene.js';

export interface ResilienceReport extends Report {
  readonly missing?: string;
  readonly goals: readonly Goal[];
}

const kinds: readonly ProxyKind[] = ['envoy', 'weft'];
const cpu = `cpu${costConnections}`;
const costRatioMax = 1.05;
const keysRatioMax = 1.2;
const floodRatioMax = 2;
const decisionsMin = 50_000;
const passedShareMax = 1.02;

/** Ratios of one proxy's variants: title, path, metric, variant above and below. */
const compared: readonly (readonly [string, string, string, string, string])[] = [
  ['all features on / off, CPU per request', cost.name, cpu, '-all', ''],
  ['off, a second process / off (noise)', cost.name, cpu, '-again', ''],
  [`${keysMax} keys / one, CPU per request`, keyed.name, cpu, `-${keysMax}`, '-1'],
  ['one of three endpoints ejected / all good, p99', ejected.name, 'p99', '-ejected', '-good'],
];
/** Figures of one proxy's variant: title, unit, path, metric, variant. */
const measured: readonly (readonly [string, string, string, string, string])[] = [
  ['CPU per request, all features off', 'us', cost.name, cpu, ''],
  ['CPU per request, all features on', 'us', cost.name, cpu, '-all'],
  ['CPU per request, one key', 'us', keyed.name, cpu, '-1'],
  [`CPU per request, ${keysMax} keys`, 'us', keyed.name, cpu, `-${keysMax}`],
  ['p99, all endpoints good', 'us', ejected.name, 'p99', '-good'],
  ['p99, one of three ejected', 'us', ejected.name, 'p99', '-ejected'],
  ['consecutive failures: first to last request of the endpoint', 'ms', reaction.name, 'ejectionMs', ''],
  ['consecutive failures: requests of the endpoint', '', reaction.name, 'ejectionRequests', ''],
  ['share of failures: first to last request of the endpoint', 'ms', reaction.name, 'shareMs', ''],
  ['share of failures: requests of the endpoint', '', reaction.name, 'shareRequests', ''],
  ['full Service: of 100 requests reach the endpoint', '', reaction.name, 'past', ''],
  ['full Service: time until 503', 'ms', reaction.name, 'refusedMs', ''],
  ['p99 of 999 clients, quiet', 'us', flood.name, 'quiet', '-fair'],
  ['p99 of 999 clients, one more floods', 'us', flood.name, 'p99', '-fair'],
  ['the same / quiet', 'x', flood.name, 'ratio', '-fair'],
  ['share of the flood that is refused', '', flood.name, 'refusedShare', '-fair'],
  ['global limit, one key: decisions per CPU second', '1/s', global.name, 'decisions', ''],
  ['calls of the service', '1/s', global.name, 'calls', ''],
  [`global limit, ${globalKeys} keys: decisions per CPU second`, '1/s', global.name, 'decisionsMany', ''],
  ['calls of the service', '1/s', global.name, 'callsMany', ''],
  [`two replicas, ${sharedLimit} a second: requests`, '1/s', global.name, 'asked', ''],
  ['passed / limit', 'x', global.name, 'passedShare', ''],
  ['calls of Redis / calls of the service', 'x', global.name, 'roundTrips', ''],
];

const keyOf = (path: string, metric: string, variant: string): string => `${path}.${metric}.${variant}`;

/** Samples to report. Pure but for what it says of the machine. */
export function resilienceReportOf(
  options: ReportedOptions,
  samples: readonly Sample[],
  envoy: EnvoyFound,
): ResilienceReport {
  const ratios: Record<string, number> = {};
  const spread: Record<string, Spread> = {};
  for (const kind of kinds)
    for (const [, path, metric, above, below] of compared) {
      const found = spreadOf(ratiosByRound(samples, path, metric, `${kind}${above}`, `${kind}${below}`));
      if (!found) continue;
      ratios[keyOf(path, metric, `${kind}${above}`)] = found.median;
      spread[keyOf(path, metric, `${kind}${above}`)] = found;
    }
  const noise: Record<string, Spread> = {};
  const p99Noise = noiseOf(samples, ejected.name, 'p99');
  if (p99Noise) noise[`${ejected.name}.p99`] = p99Noise;
  const of = (path: string, metric: string, variant: string): Spread | undefined =>
    spreadOf(valuesOf(samples, path, variant, metric));
  const goal = (what: string, max: number, found: Spread | undefined, wanted = `at most ${max}`): Goal => ({
    what,
    wanted,
    found,
    state: stateOf(found, (value) => value <= max),
  });
  return {
    suite: 'waypoint-resilience',
    ...reportHead(options, samples, { quietPerSecond, floodPerSecond }, envoy),
    ratios,
    spread,
    noise,
    goals: [
      // Single rounds differ by more than what is looked for, so the median decides.
      medianGoal(
        'all features on / off, CPU per request, Weft',
        costRatioMax,
        spread[keyOf(cost.name, cpu, 'weft-all')],
      ),
      goal(
        `${keysMax} rate limit keys against one, CPU per request, Weft`,
        keysRatioMax,
        spread[keyOf(keyed.name, cpu, `weft-${keysMax}`)],
      ),
      goal('ejection after failures in a row, ms, Weft', intervalMs, of(reaction.name, 'ejectionMs', 'weft')),
      // A timer of the interval may be late.
      goal(
        'ejection by the share of failures, ms, Weft',
        1.1 * intervalMs,
        of(reaction.name, 'shareMs', 'weft'),
      ),
      goal('requests past a full Service, Weft', 0, of(reaction.name, 'past', 'weft')),
      medianGoal(
        'one of three endpoints ejected / all good, p99, Weft',
        p99Noise?.max ?? 1,
        spread[keyOf(ejected.name, 'p99', 'weft-ejected')],
        `within noise (${figure(p99Noise?.max)})`,
      ),
      {
        what: 'global limit, one key: decisions per CPU second, Weft',
        wanted: `at least ${decisionsMin}`,
        found: of(global.name, 'decisions', 'weft'),
        state: stateOf(of(global.name, 'decisions', 'weft'), (value) => value >= decisionsMin),
      },
      goal('calls of Redis for each batch of requests, Weft', 1, of(global.name, 'roundTrips', 'weft')),
      goal(
        `passed at ${overload} times a global limit over two replicas / limit, Weft`,
        passedShareMax,
        of(global.name, 'passedShare', 'weft'),
      ),
      medianGoal(
        'p99 of 999 clients while another floods / quiet, Weft',
        floodRatioMax,
        of(flood.name, 'ratio', 'weft-fair'),
      ),
    ],
  };
}

/** A goal that the median alone decides. */
const medianGoal = (
  what: string,
  max: number,
  found: Spread | undefined,
  wanted = `at most ${max}`,
): Goal => ({
  what,
  wanted,
  found,
  state: found === undefined ? 'not measured' : found.median <= max ? 'reached' : 'not reached',
});

export function printResilience(report: ResilienceReport): string {
  const { settings, rounds, spread, noise, ratios, medians, goals, missing } = report;
  const disturbed = Math.max(
    0,
    ...kinds.map((kind) => medians[`${cost.name}.${kind}.others${costConnections}`] ?? 0),
  );
  const rows = measured.map(([title, unit, path, metric, variant]) => [
    title,
    unit,
    ...kinds.flatMap((kind) => {
      const found = spreadOf(valuesOf(rounds, path, `${kind}${variant}`, metric));
      return [figure(found?.median), spanText(found)];
    }),
  ]);
  const ratioRows = compared.map(([title, path, metric, above]) => [
    title,
    ...kinds.flatMap((kind) => {
      const key = keyOf(path, metric, `${kind}${above}`);
      return [ratios[key] === undefined ? '' : `${figure(ratios[key])} x`, spanText(spread[key])];
    }),
    spanText(noise[`${path}.${metric}`]),
  ]);
  return [
    `${settings['rounds']} rounds, ${settings['seconds']} s each, open loop ${settings['longSeconds']} s; three endpoints; Envoy ${settings['envoy']}; Node flags: ${settings['nodeFlags'] || 'none'}`,
    `the proxy has CPU ${cpuOf.server} for itself, load and backends share CPU ${cpuOf.client}; CPU per request: closed loop of ${costConnections} connections; outlier interval ${intervalMs} ms`,
    `flood: 999 clients send ${quietPerSecond} requests a second together, one more sends ${floodPerSecond}`,
    ...(missing === undefined ? [] : [missing]),
    ...(disturbed > othersMax
      ? [
          `DISTURBED: other programs took ${Math.round(disturbed * 100)} % of the proxy's CPU; latency says little, CPU per request says more`,
        ]
      : []),
    '',
    table(['resilience', 'envoy', 'over rounds', 'weft', 'over rounds', 'none / its median'], ratioRows),
    '',
    table(['', 'unit', 'envoy', 'over rounds', 'weft', 'over rounds'], rows),
    '',
    goalTable(goals),
  ].join('\n');
}
