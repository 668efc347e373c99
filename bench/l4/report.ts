/** The report of the l4 suite. */
import { figure, machine, table, type Report } from '../harness/report.js';
import {
  median,
  ratiosByRound,
  spreadOf,
  valuesOf,
  type Sample,
  type Spread,
} from '../harness/statistics.js';
import { again, direct, mesh, others, paths } from './variants.js';

/** Metrics that are compared with direct, and their units. */
export const comparedMetrics = {
  p50: 'us',
  p99: 'us',
  p999: 'us',
  p50Large: 'us',
  p99Large: 'us',
  throughput: 'Gbit/s',
  throughput16: 'Gbit/s',
  connections: '1/s',
  p50Blocking: 'us',
  requestsMixed: '1/s',
  p99Mixed: 'us',
  throughputMixed: 'Gbit/s',
} as const;

/** Metrics without a ratio to direct. */
const costMetrics = {
  proxyUsPerTrip: 'proxies: CPU us per round trip',
  proxyUsPerConnection: 'proxies: CPU us per connection',
  proxySecondsPerGb: 'proxies: CPU s per GB',
  machineSecondsPerGb: 'whole machine: CPU s per GB',
  proxyMegabytes: 'proxies: resident MB, all, after bulk',
} as const;

export interface ReportSettings {
  readonly rounds: number;
  readonly seconds: number;
  readonly atOnce: number;
  readonly messageBytes: number;
  readonly largeMessageBytes: number;
}

/** Samples to report. Pure but for what it says of the machine. */
export function reportOf(settings: ReportSettings, samples: readonly Sample[]): Report {
  const ratios: Record<string, number> = {};
  const spread: Record<string, Spread> = {};
  const noise: Record<string, Spread> = {};
  const medians: Record<string, number> = {};
  for (const { name: path } of paths) {
    for (const metric of Object.keys(comparedMetrics)) {
      for (const { name } of others) {
        const found = spreadOf(ratiosByRound(samples, path, metric, name, direct.name));
        // The mesh's keys are without a variant, as in files of earlier versions.
        const key = name === mesh.name ? `${path}.${metric}` : `${path}.${name}.${metric}`;
        if (found) {
          ratios[key] = found.median;
          spread[key] = found;
        }
      }
      const floor = spreadOf(ratiosByRound(samples, path, metric, again.name, direct.name));
      if (floor) noise[`${path}.${metric}`] = floor;
    }
    for (const { name: variant } of [direct, ...others, again]) {
      for (const metric of [...Object.keys(comparedMetrics), ...Object.keys(costMetrics), 'failed']) {
        const values = valuesOf(samples, path, variant, metric);
        if (values.length > 0) medians[`${path}.${variant}.${metric}`] = median(values);
      }
    }
  }
  return {
    suite: 'l4',
    settings: { ...settings },
    machine: machine(),
    ratios,
    spread,
    noise,
    medians,
    rounds: samples,
  };
}

const span = (of: Spread | undefined): string => (of ? `${figure(of.min)}..${figure(of.max)}` : '');
const times = (ratio: number | undefined): string => (ratio === undefined ? '' : `${figure(ratio)} x`);

/** The report as tables; `earlier`: ratios of another run, as a further column. */
export function printL4(report: Report, earlier?: Readonly<Record<string, number>>): string {
  const { medians, ratios, spread, noise, settings } = report;
  const measuredPaths = paths.filter(({ name }) => `${name}.direct.p50` in medians);
  const tables = measuredPaths.flatMap(({ name: path }) => {
    const measured = others.filter(({ name }) => `${path}.${name}.p50` in medians);
    const head = ['', 'unit', 'direct', ...measured.flatMap(({ name }) => [name, '/ direct'])];
    const rows = Object.entries(comparedMetrics).map(([metric, unit]) => {
      const key = `${path}.${metric}`;
      return [
        `${path} ${metric}`,
        unit,
        figure(medians[`${path}.direct.${metric}`]),
        ...measured.flatMap(({ name }) => [
          figure(medians[`${path}.${name}.${metric}`]),
          times(ratios[name === mesh.name ? key : `${path}.${name}.${metric}`]),
        ]),
        span(spread[key]),
        span(noise[key]),
        ...(earlier ? [times(earlier[key])] : []),
      ];
    });
    const costs = Object.entries(costMetrics).map(([metric, title]) => [
      title,
      '',
      figure(medians[`${path}.direct.${metric}`]),
      ...measured.flatMap(({ name }) => [figure(medians[`${path}.${name}.${metric}`]), '']),
    ]);
    const further = ['mesh over rounds', 'direct / direct', ...(earlier ? ['earlier'] : [])];
    return ['', table([...head, ...further], [...rows, ...costs])];
  });
  return [
    `${settings['rounds']} rounds, ${settings['seconds']} s each; ${settings['messageBytes']}-byte messages; medians over rounds, ratios paired by round`,
    ...tables,
  ].join('\n');
}
