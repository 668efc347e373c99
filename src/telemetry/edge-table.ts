/**
 * The edges that a program has observed since its last report. Their number is bounded, with a share for each pod and each namespace that
 * calls; what exceeds it is counted in edges whose other side is `other`.
 */
import { FairLimit } from '../base/fair-limit.js';
import {
  edgeKey,
  latencyBoundsMs,
  otherName,
  type Edge,
  type EdgeCounts,
  type EdgeKey,
  type EdgeParty,
} from '../model/edge.js';
import { bucketOf } from './buckets.js';

export type EdgeNames = Omit<Edge, 'counts'>;

export const edgesMax = 4_096;
/** Edges with `other` names: one for each pod of a node, path and direction, or for each Service of a waypoint. */
const othersMax = 1_024;
/** Reports without an observation after which an edge is forgotten. */
const idleTakesMax = 6;
/** An edge with open connections is reported at least this often, so that it stays visible. */
const openAgainMs = 60_000;

/** What was observed of one edge since the last report. Counted in place. */
export class EdgeTally {
  connections = 0;
  refused = 0;
  audited = 0;
  bytesSent = 0;
  bytesReceived = 0;
  requests = 0;
  failures = 0;
  latencyCounts: number[] | undefined;
  /** Connections under way. */
  open = 0;
  seenMs = 0;
  reportedMs = 0;
  idleTakes = 0;

  constructor(readonly names: EdgeNames) {}

  opened(count = 1): void {
    this.connections += count;
    this.open += count;
  }

  closed(bytesSent: number, bytesReceived: number, count = 1): void {
    this.bytesSent += bytesSent;
    this.bytesReceived += bytesReceived;
    this.open = Math.max(0, this.open - count);
  }

  request(durationMs: number): void {
    this.requests++;
    this.latencyCounts ??= latencyBoundsMs.map(() => 0).concat(0);
    const at = bucketOf(latencyBoundsMs, durationMs);
    this.latencyCounts[at] = (this.latencyCounts[at] ?? 0) + 1;
  }

  add(counts: EdgeCounts): void {
    this.connections += counts.connections;
    this.refused += counts.refused;
    this.audited += counts.audited;
    this.bytesSent += counts.bytesSent;
    this.bytesReceived += counts.bytesReceived;
    this.requests += counts.requests;
    this.failures += counts.failures;
    this.seenMs = Math.max(this.seenMs, counts.lastSeenMs);
    if (counts.latencyCounts.length === 0) return;
    this.latencyCounts ??= [];
    for (const [at, value] of counts.latencyCounts.entries())
      this.latencyCounts[at] = (this.latencyCounts[at] ?? 0) + value;
  }

  get isEmpty(): boolean {
    return (
      this.connections +
        this.refused +
        this.requests +
        this.failures +
        this.bytesSent +
        this.bytesReceived ===
        0 && this.seenMs === 0
    );
  }

  /** Returns the counts and resets them. */
  take(nowMs: number): EdgeCounts {
    const { connections, refused, audited, bytesSent, bytesReceived, requests, failures } = this;
    const lastSeenMs = this.seenMs === 0 || this.open > 0 ? nowMs : this.seenMs;
    const latencyCounts = this.latencyCounts ?? [];
    this.connections = this.refused = this.audited = this.requests = this.failures = 0;
    this.bytesSent = this.bytesReceived = this.seenMs = 0;
    this.latencyCounts = undefined;
    return {
      connections,
      refused,
      audited,
      bytesSent,
      bytesReceived,
      requests,
      failures,
      latencyCounts,
      lastSeenMs,
    };
  }
}

interface Held {
  readonly tally: EdgeTally;
  readonly release: () => void;
}

const otherParty: EdgeParty = {
  namespace: otherName,
  workload: otherName,
  pod: otherName,
  identity: undefined,
};

/** The edge under which observations beyond the limit are counted. It keeps the side that the program itself vouches for. */
export function otherOf({ reporter, source, destination, service, path }: EdgeNames): EdgeNames {
  const rest = { reporter, path, port: 0, method: '', pathTemplate: '', policy: '' };
  if (reporter === 'source') return { ...rest, source, destination: otherParty, service: '' };
  if (reporter === 'destination') return { ...rest, source: otherParty, destination, service: '' };
  const { namespace } = destination;
  return { ...rest, source: otherParty, destination: { ...otherParty, namespace }, service };
}

export class EdgeTable {
  readonly #edges = new Map<EdgeKey, Held>();
  readonly #others = new Map<EdgeKey, Held>();
  readonly #shares: FairLimit;

  /** `onLimit`: an observation was counted under `other`. */
  constructor(
    private readonly onLimit: () => void,
    max = edgesMax,
  ) {
    this.#shares = new FairLimit(max);
  }

  get size(): number {
    return this.#edges.size + this.#others.size;
  }

  /** The tally of an edge. At the limit it is that of an `other` edge. */
  of(names: EdgeNames): EdgeTally {
    const key = edgeKey(names);
    const held = this.#edges.get(key);
    if (held) return held.tally;
    const { namespace, pod } = names.source;
    const member = `${namespace}/${pod}`;
    if (this.#shares.take(member, namespace) !== undefined) {
      this.onLimit();
      return this.#other(otherOf(names));
    }
    const tally = new EdgeTally(names);
    this.#edges.set(key, { tally, release: () => this.#shares.release(member, namespace) });
    return tally;
  }

  #other(names: EdgeNames): EdgeTally {
    const key = edgeKey(names);
    const held = this.#others.get(key);
    if (held) return held.tally;
    const tally = new EdgeTally(names);
    // Beyond this limit nobody takes the counts.
    if (this.#others.size < othersMax) this.#others.set(key, { tally, release: () => undefined });
    return tally;
  }

  add({ counts, ...names }: Edge): void {
    this.of(names).add(counts);
  }

  /** Something of this edge is still open. */
  touch(names: EdgeNames, nowMs: number): void {
    this.of(names).seenMs = nowMs;
  }

  /** Nobody will report the end of the connections that are open. */
  forgetOpen(): void {
    for (const { tally } of this.#edges.values()) tally.open = 0;
    for (const { tally } of this.#others.values()) tally.open = 0;
  }

  /** The edges that were observed since the last call, and those with connections that are still open, once a minute. */
  take(nowMs: number): Edge[] {
    return [...this.#takeOf(this.#edges, nowMs), ...this.#takeOf(this.#others, nowMs)];
  }

  *#takeOf(edges: Map<EdgeKey, Held>, nowMs: number): Generator<Edge> {
    for (const [key, { tally, release }] of edges) {
      if (!tally.isEmpty || (tally.open > 0 && nowMs - tally.reportedMs >= openAgainMs)) {
        tally.idleTakes = 0;
        tally.reportedMs = nowMs;
        yield { ...tally.names, counts: tally.take(nowMs) };
      } else if (tally.open === 0 && ++tally.idleTakes > idleTakesMax) {
        edges.delete(key);
        release();
      }
    }
  }
}
