/** What Prometheus has observed in a range that is longer than the control plane's memory. */
import { WeftError } from '../../base/errors.js';
import type { EdgeQuery } from '../../model/edge.js';
import type { Observation } from '../edges/observation.js';
import { askPrometheus, type PrometheusServer } from './client.js';
import type { Sample } from './decode.js';
import { edgesOf } from './edges.js';
import { allCounted, queryOf, sinceQuery, type Counted } from './queries.js';

/** Points of a range, among which the first one with metrics of the mesh is looked for. */
const sincePoints = 60;
const stepMsMin = 1_000;

async function samplesOf(server: PrometheusServer, query: string, nowMs: number): Promise<readonly Sample[]> {
  const answer = await askPrometheus(server, 'query', { query, time: String(nowMs / 1_000) });
  return answer.kind === 'vector' ? answer.samples : [];
}

/** The first of the points of a range at which Prometheus has metrics of the mesh, and their distance. */
async function firstPoint(
  server: PrometheusServer,
  fromMs: number,
  toMs: number,
): Promise<{ readonly firstMs: number | undefined; readonly stepMs: number }> {
  const stepMs = Math.max(stepMsMin, Math.ceil((toMs - fromMs) / sincePoints));
  const answer = await askPrometheus(server, 'query_range', {
    query: sinceQuery,
    start: String(fromMs / 1_000),
    end: String(toMs / 1_000),
    step: String(stepMs / 1_000),
  });
  return { firstMs: answer.kind === 'times' ? answer.firstMs : undefined, stepMs };
}

/** Since when Prometheus has metrics of the mesh, to a second; undefined: it has none in the range. */
async function sinceMsOf(
  server: PrometheusServer,
  fromMs: number,
  nowMs: number,
): Promise<number | undefined> {
  let found: number | undefined;
  let [startMs, toMs] = [fromMs, nowMs];
  for (;;) {
    const { firstMs, stepMs } = await firstPoint(server, startMs, toMs);
    if (firstMs !== undefined) found = Math.min(nowMs, Math.max(fromMs, firstMs));
    // Each range is a step of the one before, whatever the server responds.
    if (firstMs === undefined || firstMs <= startMs || stepMs <= stepMsMin) return found;
    // It began between this point and the one before.
    [startMs, toMs] = [Math.max(fromMs, firstMs - stepMs), firstMs];
  }
}

/** Error: WEFT_PROMETHEUS. */
export async function observePrometheus(
  server: PrometheusServer,
  { namespace, sinceMs }: EdgeQuery,
  nowMs: number,
): Promise<Observation> {
  const observedSinceMs = await sinceMsOf(server, sinceMs, nowMs);
  if (observedSinceMs === undefined)
    throw new WeftError(
      'WEFT_PROMETHEUS',
      `Prometheus at ${server.url.origin} has no metrics of Weft in this range: does it scrape the agents and waypoints (docs/metrics.md)?`,
    );
  const seconds = Math.max(1, Math.round((nowMs - sinceMs) / 1_000));
  const samples = {} as Record<Counted, readonly Sample[]>;
  // One after the other: a query of a long range takes Prometheus' memory.
  for (const counted of allCounted)
    samples[counted] = await samplesOf(server, queryOf(counted, seconds, namespace), nowMs);
  const edges = edgesOf(samples, nowMs);
  const isPartial = observedSinceMs > sinceMs;
  return {
    edges,
    nowMs,
    observedSinceMs,
    rated: { edges, fromMs: observedSinceMs },
    missing: [],
    gaps: [
      ...(isPartial
        ? [`Prometheus has metrics of the mesh since ${new Date(observedSinceMs).toISOString()}`]
        : []),
      'from Prometheus: without ports, methods, paths and what audit mode found; refused connections are not in its metrics by workload',
    ],
  };
}
