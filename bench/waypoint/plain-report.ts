/** What a run of suite.ts found: its figures, its goals, and the table that people read. */
import { cpuOf } from '../harness/load.js';
import { figure, table, type Report } from '../harness/report.js';
import { ratiosByRound, spreadOf, valuesOf, type Sample, type Spread } from '../harness/statistics.js';
import { closedLoops, manyConnections, openConnections, othersMax, type Path } from './measure.js';
import { stateOf } from '../result/goals.js';
import {
  goalTable,
  noiseOf,
  reportHead,
  spanText,
  systemCallRows,
  type EnvoyFound,
  type Goal,
  type ReportedOptions,
  type SystemCalls,
} from './report.js';

export interface WaypointReport extends Report {
  /** Why there are no figures of Envoy's. */
  readonly missing?: string;
  readonly systemCalls: SystemCalls;
  readonly goals: readonly Goal[];
}

/** Of the slower proxy's capacity. */
export const openShare = 0.7;
export const manyRoutes = 5000;
const costRatioMax = 1.2;
/** What was reached before HTTP/2 had an engine of its own. */
const requestsRatioMin = 1.25;
export const main: Path = { name: 'main' };
export const routed: Path = { name: 'routes' };

const metrics: Readonly<Record<string, { readonly title: string; readonly unit: string }>> = {
  ...Object.fromEntries(
    closedLoops.map((connections) => [
      `requests${connections}`,
      { title: `requests, ${connections} connections`, unit: '1/s' },
    ]),
  ),
  p50: { title: 'p50, open loop', unit: 'us' },
  p99: { title: 'p99, open loop', unit: 'us' },
  ...Object.fromEntries(
    closedLoops.map((connections) => [
      `cpu${connections}`,
      { title: `proxy CPU per request, ${connections} connections`, unit: 'us' },
    ]),
  ),
  cpuOpen: { title: 'proxy CPU per request, open loop', unit: 'us' },
  own64: { title: "the proxy's CPU: the proxy, 64 connections", unit: 'share' },
  others64: { title: "the proxy's CPU: others meanwhile", unit: 'share' },
  loadBusy64: { title: "the load's CPU: busy meanwhile", unit: 'share' },
  residentIdle: { title: 'memory, just started', unit: 'MB' },
  resident: { title: `memory, ${manyConnections} connections`, unit: 'MB' },
  residentAfter: { title: 'memory, after full load', unit: 'MB' },
};

/** Say how far to trust the others; a ratio of them says nothing. */
const ofTheMachine: ReadonlySet<string> = new Set(['own64', 'others64', 'loadBusy64']);

/** Samples to report. Pure but for what it says of the machine. */
export function reportOf(
  options: ReportedOptions,
  samples: readonly Sample[],
  systemCalls: SystemCalls,
  perSecond: number,
  envoy: EnvoyFound,
): WaypointReport {
  const ratios: Record<string, number> = {};
  const spread: Record<string, Spread> = {};
  const noise: Record<string, Spread> = {};
  const compare = (key: string, path: Path, metric: string, variant: string, base: string): void => {
    const found = spreadOf(ratiosByRound(samples, path.name, metric, variant, base));
    if (!found) return;
    ratios[key] = found.median;
    spread[key] = found;
  };
  for (const metric of Object.keys(metrics)) {
    if (ofTheMachine.has(metric)) continue;
    compare(`main.${metric}`, main, metric, 'weft', 'envoy');
    const floor = noiseOf(samples, main.name, metric);
    if (floor) noise[`main.${metric}`] = floor;
  }
  // Divided the other way round: what a request costs with all those routes, against one.
  compare('routes.weft', routed, 'requests16', 'weft', 'weft-routes');
  compare('routes.envoy', routed, 'requests16', 'envoy', 'envoy-routes');
  const goal = (what: string, wanted: string, key: string, holds: (ratio: number) => boolean): Goal => {
    const found = spread[key];
    return { what, wanted, found, state: stateOf(found, holds) };
  };
  return {
    suite: 'waypoint',
    ...reportHead(options, samples, { openPerSecond: perSecond, openConnections }, envoy),
    ratios,
    spread,
    noise,
    systemCalls,
    goals: [
      ...closedLoops.map((connections) =>
        goal(
          `requests a second, ${connections} connections, Weft / Envoy`,
          `at least ${requestsRatioMin}`,
          `main.requests${connections}`,
          (ratio) => ratio >= requestsRatioMin,
        ),
      ),
      goal('p50, Weft / Envoy', 'less than 1', 'main.p50', (ratio) => ratio < 1),
      goal('memory after full load, Weft / Envoy', 'at most 1', 'main.residentAfter', (ratio) => ratio <= 1),
      goal(
        `cost of ${manyRoutes} routes against one, Weft`,
        `at most ${costRatioMax}`,
        'routes.weft',
        (ratio) => ratio <= costRatioMax,
      ),
    ],
  };
}

export function printWaypoint(report: WaypointReport): string {
  const { medians, ratios, spread, noise, settings, systemCalls, goals, missing, rounds } = report;
  const disturbed = Math.max(
    ...closedLoops.flatMap((connections) =>
      ['envoy', 'weft'].map((name) => medians[`main.${name}.others${connections}`] ?? 0),
    ),
  );
  const cell = (path: Path, variant: string, metric: string): string => {
    if (variant === 'envoy' && missing !== undefined) return 'missing';
    const value = medians[`${path.name}.${variant}.${metric}`];
    return value === undefined ? '' : figure(value);
  };
  const within = (path: Path, variant: string, metric: string): string =>
    spanText(spreadOf(valuesOf(rounds, path.name, variant, metric)));
  const rows = Object.entries(metrics).map(([metric, { title, unit }]) => [
    title,
    unit,
    cell(main, 'none', metric),
    cell(main, 'envoy', metric),
    within(main, 'envoy', metric),
    cell(main, 'weft', metric),
    within(main, 'weft', metric),
    ratios[`main.${metric}`] === undefined ? '' : `${figure(ratios[`main.${metric}`])} x`,
    spanText(spread[`main.${metric}`]),
    spanText(noise[`main.${metric}`]),
  ]);
  const routes = (['weft', 'envoy'] as const).map((name) => [
    name,
    cell(routed, name, 'requests16'),
    missing !== undefined && name === 'envoy' ? 'missing' : cell(routed, `${name}-routes`, 'requests16'),
    ratios[`routes.${name}`] === undefined ? '' : `${figure(ratios[`routes.${name}`])} x`,
    spanText(spread[`routes.${name}`]),
  ]);
  const calls = systemCallRows(systemCalls, (name) => name);
  return [
    `${settings['rounds']} rounds, ${settings['seconds']} s each, open loop ${settings['longSeconds']} s; answers of ${settings['bodyBytes']} bytes; Envoy ${settings['envoy']}; Node flags: ${settings['nodeFlags'] || 'none'}`,
    `the proxy has CPU ${cpuOf.server} for itself, load and backends share CPU ${cpuOf.client}; none: load to backend without a proxy`,
    `open loop: ${settings['openPerSecond']} requests a second (${openShare * 100} % of the slower proxy's capacity) on ${openConnections} connections, timed from when they were due`,
    ...(missing === undefined ? [] : [missing]),
    ...(disturbed > othersMax
      ? [
          `DISTURBED: other programs took ${Math.round(disturbed * 100)} % of the proxy's CPU; requests a second and latency say little, CPU per request says more`,
        ]
      : []),
    '',
    table(
      [
        '',
        'unit',
        'none',
        'envoy',
        'over rounds',
        'weft',
        'over rounds',
        'weft / envoy',
        'over rounds',
        'none / its median',
      ],
      rows,
    ),
    '',
    table(
      ['requests a second, 16 connections', '1 route', `${manyRoutes} routes`, '1 / all', 'over rounds'],
      routes,
    ),
    '',
    table(['system calls per request, traced, 16 connections', 'all', 'which'], calls),
    '',
    goalTable(goals),
  ].join('\n');
}
