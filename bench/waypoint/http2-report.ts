/** What a run of http2.ts found: ratios, goals, and the tables that people read. */
import { cpuOf } from '../harness/load.js';
import { figure, table, type Report } from '../harness/report.js';
import { ratiosByRound, spreadOf, valuesOf, type Sample, type Spread } from '../harness/statistics.js';
import { stateOf } from '../result/goals.js';
import { othersMax } from './measure.js';
import {
  goalTable,
  noiseOf,
  reportHead,
  spanText,
  type EnvoyFound,
  type Goal,
  type ReportedOptions,
} from './report.js';

export const http2Parts = ['http2', 'grpc', 'streams'] as const;
/** Also the path of its samples. */
export type Http2Part = (typeof http2Parts)[number];

/** Requests at a time, on one connection. */
export const streamCounts = [1, 16, 64];
export const openStreams = 64;
export const streamsOfEcho = 16;
export const messageSizes = [128, 1024];
/** Of the slower proxy's capacity. */
export const halfLoad = 0.5;
/** CPU 0 is what limits a closed loop from here on. */
const fullFrom = 0.9;

interface Metric {
  readonly title: string;
  readonly unit: string;
  /** Weft divided by Envoy. */
  readonly goal?: { readonly wanted: string; readonly holds: (ratio: number) => boolean };
  /** Says how far to trust the others; a ratio of it says nothing. */
  readonly isOfTheMachine?: true;
}

const atMost: Metric['goal'] = { wanted: 'at most 1', holds: (ratio) => ratio <= 1 };
const unary: Readonly<Record<string, Metric>> = {
  ...Object.fromEntries(
    streamCounts.map((count) => [
      `cpu${count}`,
      { title: `proxy CPU per request, ${count} streams`, unit: 'us', goal: atMost },
    ]),
  ),
  cpuOpen: { title: 'proxy CPU per request, half load', unit: 'us' },
  p50: {
    title: 'p50, half load',
    unit: 'us',
    goal: { wanted: 'less than 1', holds: (ratio) => ratio < 1 },
  },
  p99: { title: 'p99, half load', unit: 'us' },
  ...Object.fromEntries(
    streamCounts.map((count) => [`requests${count}`, { title: `requests, ${count} streams`, unit: '1/s' }]),
  ),
  ...Object.fromEntries(
    streamCounts.map((count) => [
      `load${count}`,
      { title: `CPU 0: busy, ${count} streams`, unit: 'share', isOfTheMachine: true },
    ]),
  ),
  loadOpen: { title: 'CPU 0: busy, half load', unit: 'share', isOfTheMachine: true },
  residentAfter: { title: 'memory, after full load', unit: 'MB', goal: atMost },
};
const echo: Readonly<Record<string, Metric>> = Object.fromEntries(
  messageSizes.flatMap((size): [string, Metric][] => [
    [
      `perCore${size}`,
      {
        title: `messages of ${size} B per CPU second of the proxy`,
        unit: '1/s',
        goal: { wanted: 'at least 1', holds: (ratio) => ratio >= 1 },
      },
    ],
    [`messages${size}`, { title: `messages of ${size} B`, unit: '1/s' }],
    [`p50of${size}`, { title: `${size} B there and back, p50`, unit: 'us' }],
    [`load${size}`, { title: `CPU 0: busy, ${size} B`, unit: 'share', isOfTheMachine: true }],
  ]),
);
const metricsOf = (part: Http2Part): Readonly<Record<string, Metric>> => (part === 'streams' ? echo : unary);
const titles: Readonly<Record<Http2Part, string>> = {
  http2: 'HTTP/2',
  grpc: 'gRPC, unary',
  streams: `gRPC, ${streamsOfEcho} calls in both directions`,
};

export type Http2Wire = 'plain' | 'hbone';

export interface Http2Report extends Report {
  readonly missing?: string;
  /** With HBONE: what was seen on each one's wire before it was measured. */
  readonly http2Proofs: Readonly<Record<string, string>>;
  readonly goals: readonly Goal[];
}

/** Samples to report. Pure but for what it says of the machine. `perSecond`: of the open loops, by part. */
export function http2ReportOf(
  options: ReportedOptions & { readonly wire: Http2Wire },
  samples: readonly Sample[],
  perSecond: Readonly<Record<string, number>>,
  envoy: EnvoyFound,
  proofs: Http2Report['http2Proofs'],
): Http2Report {
  const ratios: Record<string, number> = {};
  const spread: Record<string, Spread> = {};
  const noise: Record<string, Spread> = {};
  const goals: Goal[] = [];
  for (const part of http2Parts) {
    if (!samples.some(({ path }) => path === part)) continue;
    for (const [metric, { title, goal, isOfTheMachine }] of Object.entries(metricsOf(part))) {
      if (isOfTheMachine) continue;
      const key = `${part}.${metric}`;
      const found = ['envoy', 'weft'].some((variant) => isLimited(samples, part, variant, metric))
        ? undefined
        : spreadOf(ratiosByRound(samples, part, metric, 'weft', 'envoy'));
      if (found) {
        ratios[key] = found.median;
        spread[key] = found;
      }
      const floor = noiseOf(samples, part, metric);
      if (floor) noise[key] = floor;
      if (goal)
        goals.push({
          what: `${titles[part]}: ${title}, Weft / Envoy`,
          wanted: goal.wanted,
          found,
          state: stateOf(found, goal.holds),
        });
    }
  }
  const open = Object.fromEntries(
    Object.entries(perSecond).map(([part, value]) => [`${part}PerSecond`, value]),
  );
  const head = reportHead(options, samples, { ...open, openStreams }, envoy);
  return {
    suite: options.wire === 'plain' ? 'waypoint-http2' : 'waypoint-http2-tls',
    ...head,
    settings: { ...head.settings, wire: options.wire },
    ratios,
    spread,
    noise,
    http2Proofs: proofs,
    goals,
  };
}

/** A closed loop's rate or latency that CPU 0 gave, not the proxy. */
function isLimited(samples: readonly Sample[], part: Http2Part, variant: string, metric: string): boolean {
  const count = /^(?:requests|messages|p50of)(\d+)$/.exec(metric)?.[1];
  if (count === undefined) return false;
  const busy = spreadOf(valuesOf(samples, part, variant, `load${count}`));
  return busy !== undefined && busy.median >= fullFrom;
}

export function printHttp2(report: Http2Report): string {
  const { rounds: samples, ratios, spread, noise, settings, missing, http2Proofs, goals } = report;
  const variants = ['none', 'envoy', 'weft'] as const;
  const tables = http2Parts
    .filter((part) => samples.some(({ path }) => path === part))
    .flatMap((part) => {
      const cell = (variant: string, metric: string): string => {
        if (variant === 'envoy' && missing !== undefined) return 'missing';
        if (isLimited(samples, part, variant, metric) && variant !== 'none') return 'CPU 0 full';
        return figure(spreadOf(valuesOf(samples, part, variant, metric))?.median);
      };
      const rows = Object.entries(metricsOf(part)).map(([metric, { title, unit }]) => {
        const key = `${part}.${metric}`;
        return [
          title,
          unit,
          ...variants.map((variant) => cell(variant, metric)),
          spanText(spreadOf(valuesOf(samples, part, 'weft', metric))),
          ratios[key] === undefined ? '' : `${figure(ratios[key])} x`,
          spanText(spread[key]),
          spanText(noise[key]),
        ];
      });
      const disturbed = Math.max(
        ...['envoy', 'weft'].flatMap((variant) =>
          [...streamCounts, ...messageSizes].map(
            (count) => spreadOf(valuesOf(samples, part, variant, `others${count}`))?.median ?? 0,
          ),
        ),
      );
      const half = settings[`${part}PerSecond`];
      const title = `${titles[part]}${half === undefined ? '' : `; half load: ${half} requests a second`}`;
      return [
        '',
        ...(disturbed > othersMax
          ? [
              `DISTURBED: other programs took ${Math.round(disturbed * 100)} % of the proxy's CPU; CPU per request says more than the rest`,
            ]
          : []),
        table(
          [title, 'unit', ...variants, 'over rounds', 'weft / envoy', 'over rounds', 'none / its median'],
          rows,
        ),
      ];
    });
  return [
    `${settings['rounds']} rounds, ${settings['seconds']} s each, half load ${settings['longSeconds']} s; responses of ${settings['bodyBytes']} bytes; Envoy ${settings['envoy']}; Node flags: ${settings['nodeFlags'] || 'none'}`,
    settings['wire'] === 'plain'
      ? `plain connections; the proxy has CPU ${cpuOf.server} for itself, load and backends share CPU ${cpuOf.client}; none: load to backend without a proxy`
      : `HBONE on both sides; the proxy has CPU ${cpuOf.server} for itself; load, backends and both ends share CPU ${cpuOf.client}: where that is full, rates are not the proxy's; none: ends alone`,
    `one connection of the client; half load: ${halfLoad * 100} % of the slower proxy's capacity, at most ${openStreams} streams at a time, timed from when requests were due`,
    ...(missing === undefined ? [] : [missing]),
    ...tables,
    '',
    goalTable(goals),
    ...Object.entries(http2Proofs).map(([name, proof]) => `seen on the wire of ${name}: ${proof}`),
  ].join('\n');
}
