/** Parts that the reports of both waypoint suites share: settings, medians, noise, rows of tables. */
import { figure, machine, table, type Report } from '../harness/report.js';
import { median, spreadOf, valuesOf, type Sample, type Spread } from '../harness/statistics.js';
import { bodyBytes } from './scene.js';

/** Proxy -> system call -> calls per request, from one run under a tracer. */
export type SystemCalls = Readonly<Record<string, Readonly<Record<string, number>>>>;

/** Envoy's version, or why there is no Envoy. */
export type EnvoyFound = { readonly version: string } | { readonly missing: string };

export interface Goal {
  readonly what: string;
  readonly wanted: string;
  readonly found: Spread | undefined;
  /** `by the median alone`: not in every round. */
  readonly state: 'reached' | 'by the median alone' | 'not reached' | 'not measured';
}

/** The options that a report repeats. */
export interface ReportedOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly longSeconds: number;
  readonly nodeFlags: readonly string[];
}

/** The head of a report: how it was measured, on which machine, and the samples themselves. `open`: the settings of open loops. */
export const reportHead = (
  { rounds, seconds, longSeconds, nodeFlags }: ReportedOptions,
  samples: readonly Sample[],
  open: Readonly<Record<string, number>>,
  envoy: EnvoyFound,
): Pick<Report, 'settings' | 'machine' | 'medians' | 'rounds'> & { readonly missing?: string } => ({
  settings: {
    rounds,
    seconds,
    longSeconds,
    bodyBytes,
    ...open,
    nodeFlags: nodeFlags.join(' '),
    envoy: 'version' in envoy ? envoy.version : 'missing',
  },
  machine: machine(),
  medians: mediansOf(samples),
  rounds: samples,
  ...('missing' in envoy ? { missing: envoy.missing } : {}),
});

/** `<path>.<variant>.<metric>` -> median over rounds. */
function mediansOf(samples: readonly Sample[]): Record<string, number> {
  const medians: Record<string, number> = {};
  for (const { path, variant, values } of samples)
    for (const metric of Object.keys(values))
      medians[`${path}.${variant}.${metric}`] ??= median(valuesOf(samples, path, variant, metric));
  return medians;
}

/** The metric without a proxy, each round divided by the median of all: a ratio within this spread says nothing. */
export function noiseOf(samples: readonly Sample[], path: string, metric: string): Spread | undefined {
  const alone = valuesOf(samples, path, 'none', metric);
  const middle = alone.length > 0 ? median(alone) : 0;
  return middle > 0 ? spreadOf(alone.map((value) => value / middle)) : undefined;
}

/** `1.00..1.25`; empty where nothing was measured. */
export const spanText = (of: Spread | undefined): string =>
  of ? `${figure(of.min)}..${figure(of.max)}` : '';

/** A row per proxy: its title, all its calls per request, and those that matter, most frequent first. */
export const systemCallRows = (systemCalls: SystemCalls, titleOf: (name: string) => string): string[][] =>
  Object.entries(systemCalls).map(([name, calls]) => [
    titleOf(name),
    figure(Object.values(calls).reduce((sum, count) => sum + count, 0)),
    Object.entries(calls)
      .filter(([, count]) => count >= 0.005)
      .sort(([, x], [, y]) => y - x)
      .map(([call, count]) => `${call} ${count.toFixed(2)}`)
      .join(', '),
  ]);

/** Rows of a table of goals, with its head. */
export const goalTable = (goals: readonly Goal[]): string =>
  table(
    ['goal', 'wanted', 'found', 'over rounds', ''],
    goals.map(({ what, wanted, found, state }) => [
      what,
      wanted,
      figure(found?.median),
      spanText(found),
      state,
    ]),
  );

/** One file for all reports of a run: their figures have different paths. */
export const mergedReport = (reports: readonly (Report & { readonly goals?: readonly Goal[] })[]): Report => {
  const [first] = reports;
  if (!first) throw new RangeError('no report');
  const merged = <Key extends 'settings' | 'ratios' | 'spread' | 'noise' | 'medians'>(
    key: Key,
  ): Report[Key] => Object.assign({}, ...reports.map((report) => report[key])) as Report[Key];
  const goals = reports.flatMap((report) => report.goals ?? []);
  return {
    ...(Object.assign({}, ...[...reports].reverse()) as Report),
    settings: merged('settings'),
    ratios: merged('ratios'),
    spread: merged('spread'),
    noise: merged('noise'),
    medians: merged('medians'),
    rounds: reports.flatMap(({ rounds }) => rounds),
    ...(goals.length > 0 ? { goals } : {}),
  };
};
