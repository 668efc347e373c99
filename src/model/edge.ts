/**
 * Edges: what programs observed between workloads, added up. Agents report connections, waypoints requests, each with what it knows. Commands
 * (`weft policy observe`) and SMI's TrafficMetrics read them from the control plane, which keeps the last 15 minutes.
 */
import type { Brand } from '../base/brand.js';
import type { EdgeReporter } from './edge-reporter.js';
import type { SpiffeId } from './identity.js';

export type { EdgeReporter };
export { latencyBoundsMs } from './latency-bounds.js';

/** Names that are not known are empty. */
export interface EdgeParty {
  readonly namespace: string;
  readonly workload: string;
  readonly pod: string;
  /** Undefined: not proven. */
  readonly identity: SpiffeId | undefined;
}

/** The ways that an edge's connections or requests took: `Path` of a connection record, or `waypoint`. */
export const edgePaths = [
  'hbone',
  'local',
  'kernel',
  'plain',
  'inbound-hbone',
  'inbound-plain',
  'refused',
  'waypoint',
] as const;

/** Name of a namespace, workload, path or method under which observations beyond the limits are counted. */
export const otherName = 'other';

/** Whether a side has names beyond the limits of what programs observe: a namespace may be called `other`, a pod and a workload at the same time are not. */
export const isOtherParty = ({ workload, pod, identity }: EdgeParty): boolean =>
  workload === otherName && pod === otherName && identity === undefined;

/** How long the control plane keeps edges. Older reports are of no use. */
export const edgesKeptMs = 900_000;

/** The control plane rounds the times of counts to slots of this length. */
export const edgeSlotMs = 30_000;

/** Some counts of one slot: which part of the 15 minutes they are of. */
export interface EdgeSlot {
  /** Its beginning, in milliseconds since the epoch: a multiple of `edgeSlotMs`. */
  readonly atMs: number;
  readonly connections: number;
  readonly requests: number;
  readonly failures: number;
  readonly refused: number;
}

export interface EdgeCounts {
  /** Those that were opened, without refused and failed ones. */
  readonly connections: number;
  /** Connections and requests that the mesh refused: by a policy, or because it does not know the destination or the client. */
  readonly refused: number;
  /** Of those that passed: would have been refused without audit mode. */
  readonly audited: number;
  /** From the source to the destination. Of connections, at their end. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly requests: number;
  /**
   * Responses of 500 and above, gRPC statuses that mean the same, requests without a complete response, and connections that were
   * permitted but not accepted.
   */
  readonly failures: number;
  /** By `latencyBoundsMs`; empty: no request. */
  readonly latencyCounts: readonly number[];
  readonly lastSeenMs: number;
  /** In the order of time, without those that have no counts; absent: the query did not ask for them. */
  readonly slots?: readonly EdgeSlot[];
}

export interface Edge {
  readonly reporter: EdgeReporter;
  readonly source: EdgeParty;
  readonly destination: EdgeParty;
  /** Host name of the Service that was dialed; empty: none. */
  readonly service: string;
  /** The destination's port: of the endpoint, or of the Service if no endpoint is known. */
  readonly port: number;
  /** `Path` of a connection record, or `waypoint`. `refused`: refused or failed before it had another path. */
  readonly path: string;
  /** Empty for connections, like `pathTemplate`. */
  readonly method: string;
  /** For example `/orders/*`: segments that look like identifiers are `*`. */
  readonly pathTemplate: string;
  /** The policies that refused, or would have refused in audit mode, with commas between them; empty: none. */
  readonly policy: string;
  readonly counts: EdgeCounts;
}

export interface EdgeQuery {
  /** Edges from or to it; undefined: all namespaces. */
  readonly namespace?: string | undefined;
  /** Milliseconds since the epoch: edges that were seen after it. */
  readonly sinceMs: number;
  /** Counts have slots. */
  readonly isBySlot?: boolean;
}

export interface EdgeAnswer {
  readonly edges: readonly Edge[];
  /** Since when all that answered have observed. */
  readonly sinceMs: number;
  /** Replicas that did not answer. */
  readonly missing: readonly string[];
  /** Counts have slots: all that answered know the question. */
  readonly isBySlot?: boolean;
}

const policyNamesMax = 8;

/** The policies of an edge as its text; those beyond the eighth are left out. Pure. */
export const policyText = (names: readonly string[]): string => names.slice(0, policyNamesMax).join(',');

/** The names of the policies of an edge. Pure. */
export const policyNames = (text: string): readonly string[] =>
  text === '' ? [] : text.split(',').map((name) => name.trim());

/** Everything of an edge but its counts. */
export type EdgeKey = Brand<string, 'EdgeKey'>;

const partOf = ({ namespace, workload, pod, identity }: EdgeParty): readonly unknown[] => [
  namespace,
  workload,
  pod,
  identity,
];

export const noCounts: EdgeCounts = {
  connections: 0,
  refused: 0,
  audited: 0,
  bytesSent: 0,
  bytesReceived: 0,
  requests: 0,
  failures: 0,
  latencyCounts: [],
  lastSeenMs: 0,
};

/** The key by which edges with the same names are added up. */
export const edgeKey = (edge: Omit<Edge, 'counts'>): EdgeKey =>
  JSON.stringify([
    edge.reporter,
    ...partOf(edge.source),
    ...partOf(edge.destination),
    edge.service,
    edge.port,
    edge.path,
    edge.method,
    edge.pathTemplate,
    edge.policy,
  ]) as EdgeKey;

const added = (a: readonly number[], b: readonly number[]): readonly number[] =>
  (a.length >= b.length ? a : b).map((_, i) => (a[i] ?? 0) + (b[i] ?? 0));

/** Slots of the same time are added up. */
function addSlots(a: readonly EdgeSlot[], b: readonly EdgeSlot[]): readonly EdgeSlot[] {
  const sums = new Map(a.map((slot) => [slot.atMs, slot]));
  for (const slot of b) {
    const same = sums.get(slot.atMs);
    sums.set(
      slot.atMs,
      same
        ? {
            atMs: slot.atMs,
            connections: same.connections + slot.connections,
            requests: same.requests + slot.requests,
            failures: same.failures + slot.failures,
            refused: same.refused + slot.refused,
          }
        : slot,
    );
  }
  return [...sums.values()].sort((one, other) => one.atMs - other.atMs);
}

/** The sum of two counts of one edge. */
export const addCounts = (a: EdgeCounts, b: EdgeCounts): EdgeCounts => ({
  connections: a.connections + b.connections,
  refused: a.refused + b.refused,
  audited: a.audited + b.audited,
  bytesSent: a.bytesSent + b.bytesSent,
  bytesReceived: a.bytesReceived + b.bytesReceived,
  requests: a.requests + b.requests,
  failures: a.failures + b.failures,
  latencyCounts: added(a.latencyCounts, b.latencyCounts),
  lastSeenMs: Math.max(a.lastSeenMs, b.lastSeenMs),
  ...(a.slots || b.slots ? { slots: addSlots(a.slots ?? [], b.slots ?? []) } : {}),
});
