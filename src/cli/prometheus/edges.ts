/** Edges from what Prometheus has: as programs report them, without ports, methods and path templates, which metrics do not have. Pure. */
import {
  addCounts,
  edgeKey,
  latencyBoundsMs,
  noCounts,
  type Edge,
  type EdgeCounts,
  type EdgeParty,
} from '../../model/edge.js';
import { edgeReporters, type EdgeReporter } from '../../model/edge-reporter.js';
import type { SpiffeId } from '../../model/identity.js';
import { isFailedResponse } from '../../telemetry/failed-response.js';
import type { Sample } from './decode.js';
import type { Counted } from './queries.js';

type Labels = Sample['labels'];

const known = (name: string | undefined): string => (name === undefined || name === 'unknown' ? '' : name);

/** The identity of a label; undefined: none is known. Istio's programs write it without `spiffe://` in some places. */
export const identityOf = (principal: string | undefined): SpiffeId | undefined =>
  principal?.startsWith('spiffe://') === true ? (principal as SpiffeId) : undefined;

function partyOf(labels: Labels, side: 'source' | 'destination'): EdgeParty {
  return {
    namespace: known(labels[`${side}_workload_namespace`]),
    workload: known(labels[`${side}_workload`]),
    pod: '',
    identity: identityOf(labels[`${side}_principal`]),
  };
}

const reporterOf = (text: string | undefined): EdgeReporter | undefined =>
  edgeReporters.find((one) => one === text);

/** Metrics tell mutual TLS, and pods of one node; not the kernel from the relay. */
function pathOf(reporter: EdgeReporter, labels: Labels): string {
  if (reporter === 'waypoint') return 'waypoint';
  if (labels['response_flags'] === 'DENY') return 'refused';
  const inbound = reporter === 'destination' ? 'inbound-' : '';
  switch (labels['connection_security_policy']) {
    case 'mutual_tls':
      return `${inbound}hbone`;
    case 'same_node':
      return 'local';
    default:
      return `${inbound}plain`;
  }
}

/** Flags of requests that a policy, the lack of a token, or a rate limit refused. */
const refusedFlags: readonly (string | undefined)[] = ['RBAC', 'JWT', 'RL'];
/** A decision service that does not respond has the same flag as one that denies. */
const isRefusedBy = (flag: string | undefined, status: number): boolean =>
  refusedFlags.includes(flag) || (flag === 'UAEX' && status < 500);

function countsOf(counted: Counted, { labels, value }: Sample): Partial<EdgeCounts> {
  switch (counted) {
    case 'requests': {
      const status = Number(labels['response_code'] ?? 0);
      const flag = labels['response_flags'];
      if (isRefusedBy(flag, status)) return { requests: value, refused: value };
      const isFailed = isFailedResponse({ status, grpcStatus: labels['grpc_response_status'], flag });
      return { requests: value, failures: isFailed ? value : 0 };
    }
    case 'opened':
      return { connections: value };
    case 'bytesSent':
      return { bytesSent: value };
    case 'bytesReceived':
      return { bytesReceived: value };
    case 'latencies':
      return {};
  }
}

/** The place of a cumulative bucket among `latencyBoundsMs`; undefined: another program's bound. */
function bucketOf(le: string | undefined): number | undefined {
  if (le === '+Inf') return latencyBoundsMs.length;
  const at = (latencyBoundsMs as readonly number[]).indexOf(Number(le));
  return at < 0 ? undefined : at;
}

/** From counts of all up to a bound to counts of a bucket. Extrapolated counts may be a little smaller than those of a lower bound. */
function perBucket(cumulative: readonly number[]): number[] {
  let below = 0;
  return cumulative.map((count) => {
    const own = Math.max(0, count - below);
    below = Math.max(below, count);
    return own;
  });
}

interface Building {
  readonly names: Omit<Edge, 'counts'>;
  counts: EdgeCounts;
  /** By bound, of all up to it. */
  cumulative?: number[];
}

function namesOf(labels: Labels): Omit<Edge, 'counts'> | undefined {
  const reporter = reporterOf(labels['reporter']);
  if (!reporter) return undefined;
  return {
    reporter,
    source: partyOf(labels, 'source'),
    destination: partyOf(labels, 'destination'),
    service: known(labels['destination_service']),
    port: 0,
    path: pathOf(reporter, labels),
    method: '',
    pathTemplate: '',
    policy: '',
  };
}

const rounded = (counts: EdgeCounts): EdgeCounts => ({
  ...counts,
  connections: Math.round(counts.connections),
  requests: Math.round(counts.requests),
  refused: Math.round(counts.refused),
  failures: Math.round(counts.failures),
  bytesSent: Math.round(counts.bytesSent),
  bytesReceived: Math.round(counts.bytesReceived),
});

const isSeen = ({ counts }: Edge): boolean =>
  counts.connections + counts.requests + counts.refused + counts.bytesSent + counts.bytesReceived > 0;

/** The edges of what was counted. Metrics do not say when an edge was seen last: the time is 0. */
export function edgesOf(samples: Readonly<Record<Counted, readonly Sample[]>>): Edge[] {
  const edges = new Map<string, Building>();
  for (const [counted, all] of Object.entries(samples) as [Counted, readonly Sample[]][])
    for (const sample of all) {
      const names = namesOf(sample.labels);
      if (!names) continue;
      const key = edgeKey(names);
      let building = edges.get(key);
      if (!building) edges.set(key, (building = { names, counts: noCounts }));
      building.counts = addCounts(building.counts, { ...noCounts, ...countsOf(counted, sample) });
      const bucket = counted === 'latencies' ? bucketOf(sample.labels['le']) : undefined;
      if (bucket === undefined) continue;
      building.cumulative ??= new Array<number>(latencyBoundsMs.length + 1).fill(0);
      building.cumulative[bucket] = (building.cumulative[bucket] ?? 0) + sample.value;
    }
  return [...edges.values()]
    .map(({ names, counts, cumulative }) => ({
      ...names,
      counts: rounded({ ...counts, latencyCounts: cumulative ? perBucket(cumulative) : [] }),
    }))
    .filter(isSeen);
}
