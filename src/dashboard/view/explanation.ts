/** What the page asks `weft explain`, and what it shows of the response (docs/explain.schema.json). Pure. */
import type { EdgeState } from '../../model/mesh-snapshot.js';

const outcomes = ['allowed', 'refused', 'depends', 'unknown'] as const;

export interface ShownExplanation {
  readonly outcome: (typeof outcomes)[number];
  readonly ways: readonly {
    readonly from: string;
    readonly to: string;
    readonly path: string;
    readonly why: string;
    readonly pathWhy: string;
    readonly policy?: string;
    readonly code?: string;
    readonly count: number;
  }[];
  readonly notes: readonly string[];
}

/**
 * What to ask, the best first: the Service as clients dial it, which `weft explain` knows without a port if it has only one; else the workload
 * by the port of its pods, which is the port of edges.
 */
export function explainQueries({ source, destination, service, port, routes }: EdgeState): string[] {
  const busiest = [...routes].sort((a, b) => b.requests - a.requests)[0];
  // Routes beyond the limits are counted as `other`.
  const isRequest =
    busiest !== undefined && /^[A-Z]+$/.test(busiest.method) && busiest.pathTemplate.startsWith('/');
  const request = isRequest ? { method: busiest.method, path: busiest.pathTemplate } : {};
  const query = (asked: Readonly<Record<string, string>>): string =>
    new URLSearchParams({ source, ...asked, ...request }).toString();
  return [
    ...(service === undefined || service === '' ? [] : [query({ destination: service })]),
    query({ destination, port: String(port) }),
  ];
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const record = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

/** Error: a sentence, if it is no explanation. */
export function explanationOf(json: string): ShownExplanation {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    throw new Error('the server did not send an explanation');
  }
  const { now, ...rest } = record(parsed);
  const one = now === undefined ? rest : record(now);
  const outcome = outcomes.find((known) => known === one.outcome);
  if (outcome === undefined) throw new Error('the server did not send an explanation');
  return {
    outcome,
    ways: list(one.ways).map((way) => {
      const { from, to, path, why, pathWhy, policy, code, count } = record(way);
      return {
        from: text(from),
        to: text(to),
        path: text(path),
        why: text(why),
        pathWhy: text(pathWhy),
        ...(policy === undefined ? {} : { policy: text(policy) }),
        ...(code === undefined ? {} : { code: text(code) }),
        count: typeof count === 'number' ? count : 1,
      };
    }),
    notes: list(one.notes).map(text),
  };
}
