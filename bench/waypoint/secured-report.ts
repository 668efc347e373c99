/** What a run of secured.ts found: its figures, and the table that people read. */
import { cpuOf } from '../harness/load.js';
import { figure, table, type Report } from '../harness/report.js';
import { ratiosByRound, spreadOf, valuesOf, type Sample, type Spread } from '../harness/statistics.js';
import { closedLoops, manyConnections, openConnections, othersMax, type Path } from './measure.js';
import {
  noiseOf,
  reportHead,
  spanText,
  systemCallRows,
  type EnvoyFound,
  type ReportedOptions,
  type SystemCalls,
} from './report.js';
import { variants, type Variant } from './secured-targets.js';

export interface SecuredReport extends Report {
  readonly missing?: string;
  /** What was seen on each one's wire before it was measured. */
  readonly proofs: Readonly<Record<string, string>>;
  readonly systemCalls: SystemCalls;
}

const bases = ['envoy-tls', 'envoy-hbone'] as const satisfies readonly Variant[];

export const securedPath: Path = { name: 'secured' };
/** CPU 0 is what limits a closed loop from here on. */
const fullFrom = 0.9;
const metrics: Readonly<Record<string, { readonly title: string; readonly unit: string }>> = {
  ...Object.fromEntries(
    closedLoops.map((count) => [
      `cpu${count}`,
      { title: `proxy CPU per request, ${count} connections`, unit: 'us' },
    ]),
  ),
  cpuOpen: { title: 'proxy CPU per request, open loop', unit: 'us' },
  p50: { title: 'p50, open loop', unit: 'us' },
  p99: { title: 'p99, open loop', unit: 'us' },
  aroundOpen: { title: 'CPU 0: ends, backends, load; open loop', unit: 'share' },
  ...Object.fromEntries(
    closedLoops.map((count) => [
      `requests${count}`,
      { title: `requests, ${count} connections`, unit: '1/s' },
    ]),
  ),
  ...Object.fromEntries(
    closedLoops.map((count) => [
      `load${count}`,
      { title: `CPU 0: busy, ${count} connections`, unit: 'share' },
    ]),
  ),
  own64: { title: 'CPU 1: the proxy, 64 connections', unit: 'share' },
  others64: { title: 'CPU 1: others meanwhile', unit: 'share' },
  residentIdle: { title: 'memory, just started', unit: 'MB' },
  resident: { title: `memory, ${manyConnections} connections`, unit: 'MB' },
  residentAfter: { title: 'memory, after full load', unit: 'MB' },
};
const ofTheMachine = (metric: string): boolean => /^(own|others|load|around)/.test(metric);

/** Samples to report. Pure but for what it says of the machine. */
export function securedReportOf(
  options: ReportedOptions,
  samples: readonly Sample[],
  systemCalls: SystemCalls,
  perSecond: number,
  envoy: EnvoyFound,
  proofs: SecuredReport['proofs'],
): SecuredReport {
  const head = reportHead(options, samples, { openPerSecond: perSecond, openConnections }, envoy);
  const { medians } = head;
  const ratios: Record<string, number> = {};
  const spread: Record<string, Spread> = {};
  const noise: Record<string, Spread> = {};
  for (const metric of Object.keys(metrics)) {
    if (ofTheMachine(metric)) continue;
    for (const base of bases) {
      if (isLimited(medians, 'weft', metric) || isLimited(medians, base, metric)) continue;
      const found = spreadOf(ratiosByRound(samples, securedPath.name, metric, 'weft', base));
      if (!found) continue;
      ratios[`${base}.${metric}`] = found.median;
      spread[`${base}.${metric}`] = found;
    }
    const floor = noiseOf(samples, securedPath.name, metric);
    if (floor) noise[`${securedPath.name}.${metric}`] = floor;
  }
  return { suite: 'waypoint-tls', ...head, ratios, spread, noise, proofs, systemCalls };
}

/** A closed loop's requests a second that CPU 0 gave, not the proxy. */
function isLimited(medians: SecuredReport['medians'], variant: Variant, metric: string): boolean {
  const count = /^requests(\d+)$/.exec(metric)?.[1];
  return count !== undefined && (medians[`${securedPath.name}.${variant}.load${count}`] ?? 0) >= fullFrom;
}

export function printSecured(report: SecuredReport): string {
  const { medians, ratios, spread, settings, missing, rounds, proofs, systemCalls } = report;
  const of = (variant: Variant, metric: string): number | undefined =>
    medians[`${securedPath.name}.${variant}.${metric}`];
  const cell = (variant: Variant, metric: string): string => {
    if (missing !== undefined && variant.startsWith('envoy')) return 'missing';
    return isLimited(medians, variant, metric) ? 'CPU 0 full' : figure(of(variant, metric));
  };
  const rows = Object.entries(metrics).map(([metric, { title, unit }]) => [
    title,
    unit,
    ...(Object.keys(variants) as Variant[]).map((variant) => cell(variant, metric)),
    spanText(spreadOf(valuesOf(rounds, securedPath.name, 'weft', metric))),
    ...bases.flatMap((base) => {
      const ratio = ratios[`${base}.${metric}`];
      return ratio === undefined ? ['', ''] : [`${figure(ratio)} x`, spanText(spread[`${base}.${metric}`])];
    }),
  ]);
  const disturbed = Math.max(
    ...([...bases, 'weft'] as const).flatMap((variant) =>
      closedLoops.map((count) => of(variant, `others${count}`) ?? 0),
    ),
  );
  const loadOpen = Math.max(...(Object.keys(variants) as Variant[]).map((name) => of(name, 'loadOpen') ?? 0));
  const calls = systemCallRows(systemCalls, (name) => variants[name as Variant].what);
  return [
    `${settings['rounds']} rounds, ${settings['seconds']} s each, open loop ${settings['longSeconds']} s; answers of ${settings['bodyBytes']} bytes; Envoy ${settings['envoy']}; Node flags: ${settings['nodeFlags'] || 'none'}`,
    'Weft, HBONE: the waypoint as it runs in a mesh. Envoy, HBONE: laid out as a waypoint of Istio, the counterpart. Envoy, mTLS: mutual TLS 1.3 and',
    'HTTP/1.1 within, a connection for each of the client, as sidecars have it. Ends alone: HBONE from end to end, without a proxy',
    `the proxy has CPU ${cpuOf.server} for itself; load, backends and both ends share CPU ${cpuOf.client}: where that is full, requests a second are not the proxy's`,
    `open loop: ${settings['openPerSecond']} requests a second on ${settings['openConnections']} connections, timed from when they were due; CPU per request once connections stand`,
    ...(missing === undefined ? [] : [missing]),
    ...(disturbed > othersMax || loadOpen > 0.8
      ? [
          `DISTURBED: other programs took up to ${Math.round(disturbed * 100)} % of the proxy's CPU, and CPU 0 was ${Math.round(loadOpen * 100)} % busy in the open loop; latency says little, CPU per request says more`,
        ]
      : []),
    '',
    table(
      [
        '',
        'unit',
        ...Object.values(variants).map(({ what }) => what),
        'over rounds',
        'Weft / Envoy mTLS',
        'over rounds',
        'Weft / Envoy HBONE',
        'over rounds',
      ],
      rows,
    ),
    '',
    table(['system calls per request, traced, 16 connections', 'all', 'which'], calls),
    '',
    ...Object.entries(proofs).map(
      ([name, proof]) => `seen on the wire of ${variants[name as Variant].what}: ${proof}`,
    ),
  ].join('\n');
}
