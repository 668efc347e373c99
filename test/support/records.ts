/** The connection lines that an agent has written; empty if there are none yet. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';

export function connectionRecords(runDir: string): ConnectionRecord[] {
  const path = join(runDir, 'connections.log');
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as ConnectionRecord);
}

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
