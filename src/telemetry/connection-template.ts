/**
 * The records of connections that differ only in the client's port, counts and end. Names are looked up and serialized once, so that a
 * connection costs a few additions and one string.
 */
import type { ConnectionLog, LineValues } from './connection-log.js';
import { openRecord, type Opening } from './connection-record.js';
import { closed, type Tallies } from './tallies.js';

export interface ConnectionTemplate {
  opened(): void;
  /** `wasCounted`: `opened` was called for this connection. */
  closed(values: LineValues, wasCounted: boolean): void;
  /** No connection follows. */
  end(): void;
}

/** `opening.source.address` is that of the client, with any port. */
export function connectionTemplate(
  tallies: Tallies,
  log: ConnectionLog,
  opening: Opening,
): ConnectionTemplate {
  const record = openRecord(opening);
  const tally = tallies.of(record);
  const write = log.template(record);
  return {
    opened: () => void tally.opened++,
    closed: (values, wasCounted) => {
      if (!wasCounted) tally.opened++;
      closed(tally, values.bytesSent, values.bytesReceived, values.durationMs);
      write(values);
    },
    end: () => tallies.remove(tally),
  };
}
