import type http2 from 'node:http2';
import type { HboneLimits } from './limits.js';

/** Pings an HTTP/2 session; calls `onDead` once when a PING acknowledgment is overdue. Stops with the session. */
export function keepAlive(session: http2.Http2Session, limits: HboneLimits, onDead: () => void): void {
  const interval = setInterval(() => {
    const overdue = setTimeout(() => {
      clearInterval(interval);
      onDead();
    }, limits.pingTimeoutMsMax);
    overdue.unref();
    const sent = !session.destroyed && session.ping(() => clearTimeout(overdue));
    if (!sent) clearTimeout(overdue);
  }, limits.pingIntervalMs);
  interval.unref();
  session.once('close', () => clearInterval(interval));
}
