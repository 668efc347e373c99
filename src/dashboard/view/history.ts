/** The line of success over time, so that a drop stands beside its cause. Pure. */
import type { EdgeState, HistoryState } from '../../model/mesh-snapshot.js';

/** An interval of the line. */
export interface SharePoint {
  /** Where the interval begins. */
  readonly timeMs: number;
  readonly successShare: number;
}

/** The line of the mesh. */
export const meshPoints = ({ points }: HistoryState): SharePoint[] =>
  points.flatMap(({ timeMs, successShare }) =>
    successShare === undefined ? [] : [{ timeMs, successShare }],
  );

/** The line of an edge. */
export const edgePoints = ({ fromMs, slotMs }: HistoryState, { shares = [] }: EdgeState): SharePoint[] =>
  shares.flatMap((successShare, at) =>
    successShare === null ? [] : [{ timeMs: fromMs + at * slotMs, successShare }],
  );

export interface ChartPoint {
  readonly x: number;
  readonly y: number;
}

interface Box {
  readonly fromMs: number;
  readonly toMs: number;
  /** Length of the intervals. */
  readonly slotMs: number;
  readonly width: number;
  readonly height: number;
}

/**
 * Lines of shares in a box of this size; 1 is at its top, and its bottom is at `lowest`. An interval without a point ends a line: what is not
 * known is neither a success nor a failure.
 */
export function shareLines(
  points: readonly SharePoint[],
  { fromMs, toMs, slotMs, width, height }: Box,
): { readonly lines: readonly (readonly ChartPoint[])[]; readonly lowest: number } {
  const known = points.filter(({ timeMs }) => timeMs >= fromMs && timeMs <= toMs);
  const least = Math.min(1, ...known.map(({ successShare }) => successShare));
  const lowest = Math.min(0.9, Math.floor(least * 10) / 10);
  const span = Math.max(1, toMs - fromMs);
  const xOf = (ms: number): number => ((Math.min(ms, toMs) - fromMs) / span) * width;
  const lines: ChartPoint[][] = [];
  let lastMs = -Infinity;
  for (const { timeMs, successShare } of known) {
    if (timeMs - lastMs > slotMs) lines.push([]);
    const y = ((1 - successShare) / (1 - lowest)) * height;
    // A step as long as its interval: also one between two gaps is seen.
    lines.at(-1)?.push({ x: xOf(timeMs), y }, { x: xOf(timeMs + slotMs), y });
    lastMs = timeMs;
  }
  return { lines, lowest };
}
