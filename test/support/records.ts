/** The connection lines that an agent has written; empty if there are none yet. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../src/base/wait.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';

/** A line of the log. */
export interface LoggedRecord extends ConnectionRecord {
  /** When the line was written, in ISO format. */
  readonly time: string;
}

export function connectionRecords(runDir: string): LoggedRecord[] {
  const path = join(runDir, 'connections.log');
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as LoggedRecord);
}

/**
 * Waits until the last line of a pod's connections to a dialed address is the wanted one. The line of a connection that was accepted follows
 * up to 50 ms later than those of refused ones before it.
 */
export const latestRecord = (
  runDir: string,
  dialed: string,
  isWanted: (record: LoggedRecord) => boolean = () => true,
): Promise<LoggedRecord> =>
  until(`the record of a connection to ${dialed}`, 30_000, () => {
    const last = connectionRecords(runDir).findLast(
      ({ direction, dialled }) => direction === 'outbound' && dialled === dialed,
    );
    return last && isWanted(last) && last;
  });

/** Without the second line of a connection whose agent was killed between the first line and its acknowledgment to the carrier. */
export function withoutRepeats<T extends Pick<ConnectionRecord, 'id'>>(records: readonly T[]): T[] {
  const seen = new Set<string>();
  return records.filter(({ id }) => {
    if (id === undefined) return true;
    const isNew = !seen.has(id);
    seen.add(id);
    return isNew;
  });
}

/** Whether a record is of a connection that ended at `ms` or later. An earlier one may have had the same port. */
export const endedSince =
  (ms: number) =>
  ({ time }: LoggedRecord): boolean =>
    Date.parse(time) >= ms;

/**
 * The connections that have more than one of these records, as `CLIENT to SERVER`. A client's address alone identifies no connection: the
 * kernel gives a port to connections to several servers, and again after one has ended. So these are records of one client's address and one
 * server's whose lives overlap.
 */
export function recordedTwice(records: readonly LoggedRecord[]): string[] {
  const lives = records
    .map(({ source, destination, time, durationMs }) => {
      const end = Date.parse(time);
      return { who: `${source.address} to ${destination.address}`, begin: end - durationMs, end };
    })
    .sort((a, b) => a.begin - b.begin);
  const last = new Map<string, { readonly begin: number; readonly end: number }>();
  const twice = new Set<string>();
  for (const { who, begin, end } of lives) {
    const before = last.get(who);
    if (before && (begin < before.end || begin === before.begin)) twice.add(who);
    last.set(who, { begin, end: Math.max(end, before?.end ?? end) });
  }
  return [...twice];
}
