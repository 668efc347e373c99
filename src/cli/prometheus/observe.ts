/** What Prometheus has observed in a range that is longer than the control plane's memory. */
import { WeftError } from '../../base/errors.js';
import type { Edge, EdgeQuery } from '../../model/edge.js';
import type { Observation } from '../edges/observation.js';
import { askPrometheus, type PrometheusServer } from './client.js';
import type { Sample } from './decode.js';
import { edgesOf } from './edges.js';
import { policyEdges, policyQuery, refusedEdges, refusedQuery } from './refusals.js';
import { allCounted, queryOf, sinceQuery, type Counted } from './queries.js';

/** Points of a range, among which the first one with metrics of the mesh is looked for. */
const sincePoints = 60;
const stepMsMin = 1_000;

type Ask = (query: string) => Promise<readonly Sample[]>;

/** Edges of traffic. One query after the other: each takes Prometheus' memory. */
async function trafficEdges(ask: Ask, seconds: number, namespace: string | undefined): Promise<Edge[]> {
  const samples = {} as Record<Counted, readonly Sample[]>;
  for (const counted of allCounted) samples[counted] = await ask(queryOf(counted, seconds, namespace));
  const edges = edgesOf(samples);
  return [...edges, ...refusedEdges(await ask(refusedQuery(seconds, namespace)), edges)];
}

async function edgesOfPolicies(ask: Ask, seconds: number, namespace: string | undefined): Promise<Edge[]> {
  const refused = await ask(policyQuery('refused', seconds, namespace));
  const audited = await ask(policyQuery('audited', seconds, namespace));
  return [...policyEdges('refused', refused), ...policyEdges('audited', audited)];
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

/**
 * Error: WEFT_PROMETHEUS.
 * @param about edges of traffic, or those that say what policies did
 */
export async function observePrometheus(
  server: PrometheusServer,
  { namespace, sinceMs }: EdgeQuery,
  nowMs: number,
  about: 'traffic' | 'policies' = 'traffic',
): Promise<Observation> {
  const observedSinceMs = await sinceMsOf(server, sinceMs, nowMs);
  if (observedSinceMs === undefined)
    throw new WeftError(
      'WEFT_PROMETHEUS',
      `Prometheus at ${server.url.origin} has no metrics of Weft in this range: does it scrape the agents and waypoints (docs/metrics.md)?`,
    );
  let undecodable = 0;
  const ask: Ask = async (query) => {
    const answer = await askPrometheus(server, 'query', { query, time: String(nowMs / 1_000) });
    if (answer.kind !== 'vector') return [];
    undecodable += answer.undecodable;
    return answer.samples;
  };
  const seconds = Math.max(1, Math.round((nowMs - sinceMs) / 1_000));
  const read = about === 'policies' ? edgesOfPolicies : trafficEdges;
  const edges = await read(ask, seconds, namespace);
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
      ...(undecodable > 0 ? [`${undecodable} samples of Prometheus could not be read, and are missing`] : []),
      ...(about === 'traffic'
        ? ['from Prometheus: without ports, methods, paths and what audit mode found']
        : []),
    ],
  };
}
