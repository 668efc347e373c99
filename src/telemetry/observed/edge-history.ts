/** What was observed over time, from edges with slots. Pure. */
import { edgeSlotMs, edgesKeptMs, type EdgeAnswer, type EdgeSlot } from '../../model/edge.js';
import type { HistoryPoint, HistoryState } from '../../model/mesh-snapshot.js';
import { distinctEdges, isRequestEdge } from './distinct-edges.js';
import { edgeStateId } from './edge-states.js';

export interface EdgeHistory {
  readonly history: HistoryState;
  /** By the id of the edge's state; of edges with requests. */
  readonly shares: ReadonlyMap<string, readonly (number | null)[]>;
}

interface Sum {
  connections: number;
  requests: number;
  failures: number;
  refused: number;
  /** Of requests that were not refused. */
  passed: number;
  failed: number;
}

const shareDigits = 1e4;

function addTo(sums: Map<number, Sum>, slot: EdgeSlot, isRequest: boolean): void {
  const sum = sums.get(slot.atMs) ?? {
    connections: 0,
    requests: 0,
    failures: 0,
    refused: 0,
    passed: 0,
    failed: 0,
  };
  sum.connections += slot.connections;
  sum.requests += slot.requests;
  sum.failures += slot.failures;
  sum.refused += slot.refused;
  sum.passed += slot.requests - Math.min(slot.refused, slot.requests);
  if (isRequest) sum.failed += slot.failures;
  sums.set(slot.atMs, sum);
}

/** Undefined: there was no request that the mesh did not refuse. */
const shareOf = ({ passed, failed }: Sum): number | undefined =>
  passed > 0 ? Math.max(0, 1 - failed / passed) : undefined;

/** Rounded down: a share below 1 is never shown as 1. */
const rounded = (share: number): number => Math.floor(share * shareDigits) / shareDigits;

const pointOf = (timeMs: number, sum: Sum): HistoryPoint => {
  const { connections, requests, failures, refused } = sum;
  const successShare = shareOf(sum);
  return {
    timeMs,
    connections,
    requests,
    failures,
    refused,
    ...(successShare === undefined ? {} : { successShare: rounded(successShare) }),
  };
};

/**
 * What was reported in each slot since all replicas have observed. What a replica has forgotten, because it started anew, is not known: slots
 * before are left out, though other replicas have counts of them.
 */
export function edgeHistory(
  { edges, sinceMs }: Pick<EdgeAnswer, 'edges' | 'sinceMs'>,
  nowMs: number,
): EdgeHistory {
  const fromMs = Math.floor(Math.max(sinceMs, nowMs - edgesKeptMs) / edgeSlotMs) * edgeSlotMs;
  const all = new Map<number, Sum>();
  const byEdge = new Map<string, Map<number, Sum>>();
  let last = 0;
  for (const edge of distinctEdges(edges)) {
    const id = edgeStateId(edge);
    let own = byEdge.get(id);
    if (!own) byEdge.set(id, (own = new Map()));
    for (const slot of edge.counts.slots ?? []) {
      const at = (slot.atMs - fromMs) / edgeSlotMs;
      if (at < 0) continue;
      last = Math.max(last, at);
      addTo(all, slot, isRequestEdge(edge));
      addTo(own, slot, isRequestEdge(edge));
    }
  }
  const shares = new Map<string, readonly (number | null)[]>();
  for (const [id, sums] of byEdge) {
    if (![...sums.values()].some(({ passed }) => passed > 0)) continue;
    const ofEdge = new Array<number | null>(last + 1).fill(null);
    for (const [atMs, sum] of sums) {
      const share = shareOf(sum);
      if (share !== undefined) ofEdge[(atMs - fromMs) / edgeSlotMs] = rounded(share);
    }
    shares.set(id, ofEdge);
  }
  const points = [...all].sort(([a], [b]) => a - b).map(([timeMs, sum]) => pointOf(timeMs, sum));
  return { history: { fromMs, slotMs: edgeSlotMs, points }, shares };
}
