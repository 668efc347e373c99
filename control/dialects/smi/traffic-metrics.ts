/**
 * SMI's TrafficMetrics (metrics.smi-spec.io/v1alpha1) from edges. Pure.
 *
 * Source: apis/traffic-metrics/v1alpha1 of the specification. It is about HTTP traffic, so only requests count, once each, where the waypoint
 * observed them; a pair of pods between which agents saw connections alone is an edge without requests.
 */
import { latencyBoundsMs, type Edge } from '../../../src/model/edge.js';
import { namespaceOf, labelsOf, selects, type Labels } from '../../../src/model/labels.js';
import type { PodObject, ServiceObject, SmiObject } from '../../objects/objects.js';
import {
  apexOf,
  instancesOf,
  metricKinds,
  peerOf,
  refKey,
  resourceOf,
  type Backend,
  type EdgeEnd,
  type MetricPlural,
  type MetricsLookup,
  type ResourceRef,
} from './metric-resources.js';
import { percentile, quantity } from './metric-values.js';
import { serviceName } from './specs.js';
import { weightsOf } from './weights.js';

export const metricsGroup = 'metrics.smi-spec.io';
export const metricsVersion = 'v1alpha1';
export const metricsApiVersion = `${metricsGroup}/${metricsVersion}`;

export interface Metric {
  readonly name: string;
  readonly unit?: string;
  readonly value: string;
}
export interface TrafficMetrics {
  readonly kind: 'TrafficMetrics';
  readonly apiVersion: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly creationTimestamp: string;
    readonly labels?: Labels;
  };
  readonly timestamp: string;
  readonly window: string;
  readonly resource: ResourceRef;
  readonly edge: {
    readonly direction: 'from' | 'to';
    readonly side: 'client' | 'server';
    readonly resource: Partial<ResourceRef>;
  };
  /** Of a TrafficSplit. */
  readonly backend?: Backend;
  readonly metrics: readonly Metric[];
}

/** What was observed, from `sinceMs` to `nowMs` (epoch ms). */
export interface Observed {
  readonly edges: readonly Edge[];
  readonly sinceMs: number;
  readonly nowMs: number;
}

class Tally {
  #requests = 0;
  #failures = 0;
  readonly #latencies: number[] = Array.from({ length: latencyBoundsMs.length + 1 }, () => 0);

  add({ reporter, method, counts }: Edge): void {
    // Connections have no method. Requests that a policy refused reached nobody.
    if (reporter !== 'waypoint' || method === '' || counts.refused >= counts.requests) return;
    this.#requests += counts.requests - counts.refused;
    this.#failures += counts.failures;
    for (const [index, count] of counts.latencyCounts.entries())
      if (index < this.#latencies.length) this.#latencies[index] = (this.#latencies[index] ?? 0) + count;
  }

  merge(other: Tally): void {
    this.#requests += other.#requests;
    this.#failures += other.#failures;
    for (const [index, count] of other.#latencies.entries())
      this.#latencies[index] = (this.#latencies[index] ?? 0) + count;
  }

  metrics(): readonly Metric[] {
    const latency = (name: string, share: number): Metric => ({
      name: `${name}_response_latency`,
      unit: 'ms',
      value: quantity(percentile(this.#latencies, latencyBoundsMs, share)),
    });
    return [
      latency('p99', 0.99),
      latency('p90', 0.9),
      latency('p50', 0.5),
      { name: 'success_count', value: quantity(Math.max(0, this.#requests - this.#failures)) },
      { name: 'failure_count', value: quantity(this.#failures) },
    ];
  }
}

const timeText = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');

function trafficMetrics(
  resource: ResourceRef & { readonly name: string },
  edge: TrafficMetrics['edge'],
  tally: Tally,
  { sinceMs, nowMs }: Observed,
  more: { readonly backend?: Backend; readonly labels?: Labels } = {},
): TrafficMetrics {
  const { namespace, name } = resource;
  const timestamp = timeText(nowMs);
  const { backend, labels = {} } = more;
  return {
    kind: 'TrafficMetrics',
    apiVersion: metricsApiVersion,
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      creationTimestamp: timestamp,
      ...(Object.keys(labels).length > 0 ? { labels } : {}),
    },
    timestamp,
    window: `${Math.max(1, Math.round((nowMs - sinceMs) / 1000))}s`,
    resource,
    edge,
    ...(backend ? { backend } : {}),
    metrics: tally.metrics(),
  };
}

/** All traffic that a resource received. */
const received = { direction: 'from', side: 'server', resource: {} } as const;

/** What distinguishes an item of a list from the others; lists are sorted by it. */
export const itemKey = ({ resource, edge, backend }: TrafficMetrics): string =>
  JSON.stringify([
    refKey(resource),
    edge.direction,
    refKey({ kind: '', ...edge.resource }),
    backend?.name ?? '',
  ]);
const sorted = (items: readonly TrafficMetrics[]): readonly TrafficMetrics[] =>
  items
    .map((item) => ({ item, key: itemKey(item) }))
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .map(({ item }) => item);

/** Which resources of a list are wanted. */
export interface Wanted {
  readonly name?: string;
  readonly mayHave?: (labels: Labels) => boolean;
}

/**
 * The resources of a kind, each with what it received, sorted by namespace and name; of a TrafficSplit one object for each backend. A resource
 * without traffic has counts of 0.
 * @param namespace undefined: of all namespaces, or the kind has none
 */
export function trafficMetricsList(
  plural: MetricPlural,
  namespace: string | undefined,
  observed: Observed,
  lookup: MetricsLookup,
  { name, mayHave = () => true }: Wanted = {},
): readonly TrafficMetrics[] {
  const isWanted = (of: string, labels: Labels): boolean =>
    (name === undefined || of === name) && mayHave(labels);
  if (plural === 'trafficsplits') {
    const traffic = splitTraffic(observed, lookup);
    return sorted(
      [...lookup.splits(namespace)]
        .filter((split) => isWanted(split.metadata.name, labelsOf(split)))
        .flatMap((split) => ofSplit(split, observed, traffic)),
    );
  }
  const wanted = [...instancesOf(plural, namespace, observed.edges, lookup)].filter(([, { ref, labels }]) =>
    isWanted(ref.name, labels),
  );
  // Of what made pods only the pods' labels are known.
  const hasOwnLabels = ['pods', 'services', 'namespaces', 'nodes'].includes(plural);
  const tallies = new Map(wanted.map(([key]) => [key, new Tally()]));
  for (const edge of observed.edges) {
    const ref = resourceOf(plural, edge, 'destination', lookup);
    if (ref) tallies.get(refKey(ref))?.add(edge);
  }
  return sorted(
    wanted.map(([key, { ref, labels }]) =>
      trafficMetrics(
        ref,
        received,
        tallies.get(key) ?? new Tally(),
        observed,
        hasOwnLabels ? { labels } : {},
      ),
    ),
  );
}

/** Whether nothing of it passed: then no traffic was exchanged. */
const isRefused = ({ path, counts: { connections, requests, refused } }: Edge): boolean =>
  path === 'refused' || (refused > 0 && connections === 0 && refused >= requests);

/** Both ends of a connection through a waypoint are reported by the waypoint: what agents saw of its halves is no edge. */
const isHalf = (edge: Edge, { pod, isWaypoint }: MetricsLookup): boolean =>
  edge.reporter !== 'waypoint' &&
  [edge.source, edge.destination].some((party) => {
    const of = pod(party.namespace, party.pod);
    return of !== undefined && isWaypoint(of);
  });

/**
 * The edges of a resource: from each resource that sent to it, and to each that it sent to.
 * @param mayName whether the reader may know the resources of a namespace. Edges to others are one edge for each direction, without a name
 */
export function trafficMetricsEdges(
  plural: Exclude<MetricPlural, 'trafficsplits'>,
  namespace: string | undefined,
  name: string,
  observed: Observed,
  lookup: MetricsLookup,
  mayName: (namespace: string) => boolean,
): readonly TrafficMetrics[] {
  const { kind } = metricKinds[plural];
  const self = { kind, ...(namespace === undefined ? {} : { namespace }), name };
  const key = refKey(self);
  const found = new Map<string, { readonly edge: TrafficMetrics['edge']; readonly tally: Tally }>();
  const add = (edge: Edge, own: EdgeEnd, other: EdgeEnd): void => {
    // The agent of a pod's own node, or a waypoint: another node's agent might name any pod as the other end.
    if (edge.reporter !== own && edge.reporter !== 'waypoint') return;
    const direction = own === 'destination' ? 'from' : 'to';
    const ref = resourceOf(plural, edge, own, lookup);
    if (!ref || refKey(ref) !== key) return;
    const peer = peerOf(plural, edge, other, lookup);
    const home = peer?.kind === 'Namespace' ? peer.name : peer?.namespace;
    const isNamed = peer && (home === undefined || home === ownNamespace || mayName(home));
    const resource = isNamed ? peer : { kind };
    const id = `${direction} ${refKey(resource)}`;
    let known = found.get(id);
    if (!known) {
      const side = direction === 'from' ? 'server' : 'client';
      found.set(id, (known = { edge: { direction, side, resource }, tally: new Tally() }));
    }
    known.tally.add(edge);
  };
  const ownNamespace = plural === 'namespaces' ? name : namespace;
  for (const edge of observed.edges) {
    if (isRefused(edge) || isHalf(edge, lookup)) continue;
    add(edge, 'destination', 'source');
    add(edge, 'source', 'destination');
  }
  return sorted([...found.values()].map(({ edge, tally }) => trafficMetrics(self, edge, tally, observed)));
}

function backendsOf(split: SmiObject<'TrafficSplit'>): readonly Backend[] {
  const apex = apexOf(split);
  const { backends } = split.spec ?? {};
  if (apex === undefined || !backends) return [];
  try {
    const weights = weightsOf(backends);
    return backends.flatMap(({ service }, index) => {
      const name = serviceName(service, namespaceOf(split));
      return name === undefined ? [] : [{ apex, name, weight: weights[index] ?? 0 }];
    });
  } catch {
    // The status of the TrafficSplit says which weight cannot be read.
    return [];
  }
}

/** What splits count, computed once for all of them: there may be many, of one root Service. */
interface SplitTraffic {
  /** The requests to a Service by pod. */
  readonly pods: (namespace: string, service: string) => ReadonlyMap<PodObject, Tally>;
  /** Of these pods those that a backend selects. */
  readonly selected: (namespace: string, service: string, backend: string) => readonly PodObject[];
}

function splitTraffic({ edges }: Observed, lookup: MetricsLookup): SplitTraffic {
  const byService = new Map<string, Map<PodObject, Tally>>();
  for (const edge of edges) {
    const dialed = resourceOf('services', edge, 'destination', lookup);
    const pod = dialed && lookup.pod(edge.destination.namespace, edge.destination.pod);
    if (!pod) continue;
    const key = refKey(dialed);
    const pods = byService.get(key) ?? new Map<PodObject, Tally>();
    const tally = pods.get(pod) ?? new Tally();
    tally.add(edge);
    byService.set(key, pods.set(pod, tally));
  }
  const pods: SplitTraffic['pods'] = (namespace, name) =>
    byService.get(refKey({ kind: metricKinds.services.kind, namespace, name })) ??
    new Map<PodObject, Tally>();
  const services = new Map<string, ReadonlyMap<string, ServiceObject>>();
  const servicesOf = (namespace: string): ReadonlyMap<string, ServiceObject> => {
    const known = services.get(namespace);
    if (known) return known;
    const found = new Map([...lookup.services(namespace)].map((one) => [one.metadata.name, one]));
    services.set(namespace, found);
    return found;
  };
  const known = new Map<string, readonly PodObject[]>();
  return {
    pods,
    selected(namespace, service, backend) {
      const key = `${namespace}/${service}/${backend}`;
      let found = known.get(key);
      if (!found) {
        const selector = servicesOf(namespace).get(backend)?.spec.selector;
        found = [...pods(namespace, service).keys()].filter((pod) => selects(selector, labelsOf(pod)));
        known.set(key, found);
      }
      return found;
    },
  };
}

/** The requests to the root Service by backend: of backends whose selectors select the same pod, the first. */
function ofSplit(
  split: SmiObject<'TrafficSplit'>,
  observed: Observed,
  traffic: SplitTraffic,
): readonly TrafficMetrics[] {
  const namespace = namespaceOf(split);
  const backends = backendsOf(split);
  const tallies = backends.map(() => new Tally());
  const left = new Map(traffic.pods(namespace, backends[0]?.apex ?? ''));
  for (const [index, { apex, name }] of backends.entries()) {
    if (left.size === 0) break;
    for (const pod of traffic.selected(namespace, apex, name)) {
      const tally = left.get(pod);
      if (tally) tallies[index]?.merge(tally);
      left.delete(pod);
    }
  }
  const ref = { kind: metricKinds.trafficsplits.kind, namespace, name: split.metadata.name };
  return backends.flatMap((backend, index) => {
    const tally = tallies[index];
    return tally
      ? [
          trafficMetrics(ref, { direction: 'from', side: 'client', resource: {} }, tally, observed, {
            backend,
            labels: labelsOf(split),
          }),
        ]
      : [];
  });
}
