/** What earlier snapshots said, so that a drop stands beside its cause. Bounded. Pure. */
import type { EdgeState, MeshSnapshot } from '../../model/mesh-snapshot.js';
import { sumsOf } from './edges.js';

export interface Point {
  readonly timeMs: number;
  readonly requestsPerSecond: number | undefined;
  readonly successShare: number | undefined;
  readonly refused: number;
}

export interface History {
  readonly points: readonly Point[];
  readonly byEdge: ReadonlyMap<string, readonly Point[]>;
}

export const emptyHistory: History = { points: [], byEdge: new Map() };

/** 15 minutes of a snapshot every 5 seconds. */
const pointsMax = 180;
/** Memory of the page stays bounded in a large mesh. */
const edgesMax = 2_000;

const pointOf = (timeMs: number, edges: readonly EdgeState[]): Point => {
  const { requestsPerSecond, successShare, refused } = sumsOf(edges);
  return { timeMs, requestsPerSecond, successShare, refused };
};

/** Edges that are gone are forgotten. A snapshot of the same moment adds nothing. */
export function addPoint(history: History, { takenMs, edges }: MeshSnapshot): History {
  if (history.points.at(-1)?.timeMs === takenMs) return history;
  const byEdge = new Map(
    edges
      .slice(0, edgesMax)
      .map((edge) => [
        edge.id,
        [...(history.byEdge.get(edge.id) ?? []), pointOf(takenMs, [edge])].slice(-pointsMax),
      ]),
  );
  return { points: [...history.points, pointOf(takenMs, edges)].slice(-pointsMax), byEdge };
}

export interface ChartPoint {
  readonly x: number;
  readonly y: number;
}

/** Points of a line of shares, in a box of this size; 1 is at its top, and its bottom is at `lowest`. */
export function sharePoints(
  points: readonly Point[],
  box: { readonly fromMs: number; readonly toMs: number; readonly width: number; readonly height: number },
): { readonly line: readonly ChartPoint[]; readonly lowest: number } {
  const known = points.filter(({ timeMs }) => timeMs >= box.fromMs && timeMs <= box.toMs);
  const least = Math.min(1, ...known.map(({ successShare = 1 }) => successShare));
  const lowest = Math.min(0.9, Math.floor(least * 10) / 10);
  const span = Math.max(1, box.toMs - box.fromMs);
  const line = known.flatMap(({ timeMs, successShare }) =>
    successShare === undefined
      ? []
      : [
          {
            x: ((timeMs - box.fromMs) / span) * box.width,
            y: ((1 - successShare) / (1 - lowest)) * box.height,
          },
        ],
  );
  return { line, lowest };
}
