/** Statistics of what was observed: by workload, Service, route, pair of workloads, or policy. Pure. */
import { policyNames, type Edge } from '../../model/edge.js';
import { destinationOf, nameOf } from '../../model/party-name.js';
import { destinationKey, distinctEdges, isBeyondLimits } from './distinct-edges.js';
import { ratesOf, type ObservedTime, type Rates } from './rates.js';
import { sumsBy, type Traffic } from './traffic.js';

export const subjects = ['workloads', 'services', 'routes', 'edges', 'policies'] as const;
export type Subject = (typeof subjects)[number];

/** What a statistic is about; fields that do not apply are absent. */
export interface StatisticNames {
  /** Of workloads: `NAMESPACE/NAME`, or what is known instead. */
  readonly workload?: string;
  /** Of workloads: whether it is called, or calls. */
  readonly direction?: 'inbound' | 'outbound';
  /** Host name. */
  readonly service?: string;
  readonly source?: string;
  readonly destination?: string;
  readonly method?: string;
  readonly pathTemplate?: string;
  readonly policy?: string;
}

export interface Statistic extends StatisticNames, Traffic, Rates {
  /** Stable between refreshes. */
  readonly id: string;
}

interface StatisticsOptions extends ObservedTime {
  readonly by: Subject;
  /** Whether an edge is counted. Default: all are. */
  readonly only?: (edge: Edge) => boolean;
}

/** What an edge is counted under. */
function namesOf(edge: Edge, by: Subject): StatisticNames[] {
  const source = nameOf(edge.source);
  const destination = destinationOf(edge);
  const { service, method, pathTemplate, policy } = edge;
  switch (by) {
    case 'workloads':
      return [
        { workload: destination, direction: 'inbound' },
        { workload: source, direction: 'outbound' },
      ];
    case 'services':
      return service === '' ? [] : [{ service }];
    case 'routes':
      return method === '' ? [] : [{ destination: service || destination, method, pathTemplate }];
    case 'edges':
      return [{ source, destination }];
    case 'policies':
      return policyNames(policy).map((name) => ({ policy: name }));
  }
}

/**
 * Edges that name a policy, each reported by one program for one pair: an agent of either side names it, or both do. The program that saw more
 * counts.
 */
function policyEdges(edges: readonly Edge[]): Edge[] {
  const pairs = new Map<string, Map<string, Edge[]>>();
  for (const edge of edges) {
    if (edge.policy === '') continue;
    const key = JSON.stringify([
      edge.source.identity ?? nameOf(edge.source),
      destinationKey(edge),
      edge.policy,
    ]);
    let byReporter = pairs.get(key);
    if (!byReporter) pairs.set(key, (byReporter = new Map()));
    // A waypoint reports its own decisions, which no agent knows.
    const same = byReporter.get(edge.reporter);
    if (same) same.push(edge);
    else byReporter.set(edge.reporter, [edge]);
  }
  const seen = (all: readonly Edge[] = []): number =>
    all.reduce((sum, { counts }) => sum + counts.refused + counts.audited, 0);
  return [...pairs.values()].flatMap((byReporter) => {
    const source = byReporter.get('source');
    const destination = byReporter.get('destination');
    const ofAgents = seen(destination) > seen(source) ? destination : source;
    return [...(byReporter.get('waypoint') ?? []), ...(ofAgents ?? [])];
  });
}

/** Whether programs have observed more than they could name: such traffic is counted under `other`, or only where the other end is known. */
export const hasBeyondLimits = (edges: readonly Edge[]): boolean => edges.some(isBeyondLimits);

/** What was observed, by subject, in the order of their names. What several programs reported of the same traffic counts once. */
export function statistics(edges: readonly Edge[], options: StatisticsOptions): Statistic[] {
  const { by, only = () => true } = options;
  const counted = by === 'policies' ? policyEdges(edges) : distinctEdges(edges);
  const sums = sumsBy(counted.filter(only), (edge) =>
    namesOf(edge, by).map((names) => JSON.stringify(names)),
  );
  return [...sums]
    .map(([id, { sum }]) => {
      const { traffic } = sum;
      return { id, ...(JSON.parse(id) as StatisticNames), ...traffic, ...ratesOf(traffic, options) };
    })
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}
