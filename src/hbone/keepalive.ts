import type { Http2Connection } from '../http2/http2.js';
import type { HboneLimits } from './limits.js';

/** Pings a connection; calls `onDead` once when a PING acknowledgment is overdue. Returns the function that stops it. */
export function keepAlive(connection: Http2Connection, limits: HboneLimits, onDead: () => void): () => void {
  let overdue: NodeJS.Timeout | undefined;
  const stop = (): void => {
    clearInterval(interval);
    clearTimeout(overdue);
  };
  const interval = setInterval(() => {
    // The former PING is not acknowledged yet: its time runs on.
    if (overdue || connection.isClosed) return;
    overdue = setTimeout(() => {
      stop();
      onDead();
    }, limits.pingTimeoutMsMax);
    overdue.unref();
    connection.ping(() => {
      clearTimeout(overdue);
      overdue = undefined;
    });
  }, limits.pingIntervalMs);
  interval.unref();
  return stop;
}
