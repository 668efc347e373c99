/** What `weft top` shows: the rows that matter most first, and what changed since the last refresh. Pure. */
import type { Statistic, Subject } from '../../telemetry/observed/statistics.js';
import { countText, unknown } from '../edges/cells.js';
import {
  failedColumn,
  latencyColumns,
  linesOf,
  refusedColumn,
  requestsColumn,
  successColumn,
} from '../stat/rows.js';

export const sorts = ['requests', 'failures', 'latency'] as const;
export type Sort = (typeof sorts)[number];

const values: Readonly<Record<Sort, (one: Statistic) => readonly number[]>> = {
  requests: ({ requests, connections }) => [requests, connections],
  failures: ({ failures, refused }) => [failures, refused],
  latency: ({ latencyMs, requests }) => [latencyMs?.p99 ?? 0, requests],
};

/** The greatest first; the order of equals does not depend on the order in which they come. */
export function sorted(statistics: readonly Statistic[], sort: Sort): Statistic[] {
  const of = values[sort];
  return [...statistics].sort((a, b) => {
    const [ofA, ofB] = [of(a), of(b)];
    for (const [i, value] of ofA.entries()) if (value !== ofB[i]) return (ofB[i] ?? 0) - value;
    return a.id < b.id ? -1 : 1;
  });
}

/** What has been counted since the last refresh: `+12`, `+12, 3 failed`, `new`; empty: nothing, or there was no refresh before. */
export function changeText(before: ReadonlyMap<string, Statistic> | undefined, now: Statistic): string {
  if (!before) return '';
  const last = before.get(now.id);
  if (!last) return 'new';
  // Counts that leave the window make a sum smaller, and are no change.
  const more = (of: 'requests' | 'connections' | 'failures'): number => Math.max(0, now[of] - last[of]);
  const counted = now.requests > 0 ? more('requests') : more('connections');
  const failed = more('failures') > 0 ? `${countText(more('failures'))} failed` : '';
  return [...(counted > 0 ? [`+${countText(counted)}`] : []), ...(failed === '' ? [] : [failed])].join(', ');
}

/** The table of a refresh. */
export function topLines(
  subject: Subject,
  statistics: readonly Statistic[],
  sort: Sort,
  before?: ReadonlyMap<string, Statistic>,
): string[] {
  return linesOf(subject, sorted(statistics, sort), [
    {
      head: 'COUNT',
      cell: ({ requests, connections }) =>
        requests > 0 ? countText(requests) : connections > 0 ? `${countText(connections)} conn` : unknown,
    },
    requestsColumn,
    successColumn,
    ...latencyColumns,
    failedColumn,
    refusedColumn,
    { head: 'CHANGE', cell: (one) => changeText(before, one) },
  ]);
}
