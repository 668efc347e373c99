/** How an attempt ended, as a cluster counts it. */
import type { EndpointCounts } from './endpoint.js';

/**
 * `connected` and `connect-failed`: of a connection, reported once however many requests wait for it. `relayed`: a TCP connection was opened
 * for a client's. `overflow`: a limit of the waypoint refused the request. `reset`: it ended without a complete response. `stale`: the same,
 * because the endpoint had closed an idle connection, which says nothing about its health. `timeout`: its response did not come in time.
 * `abandoned`: its time was up, which the client may have caused: it set a short deadline, its request was incomplete, or it was slow to read. A number is
 * the response's status; for gRPC the one that stands for the gRPC status in its head (httpStatusOfGrpc).
 */
export type Outcome =
  | 'connected'
  | 'connect-failed'
  | 'relayed'
  | 'overflow'
  | 'reset'
  | 'stale'
  | 'timeout'
  | 'abandoned'
  | number;

export function countOutcome(counts: EndpointCounts, outcome: Outcome): void {
  switch (outcome) {
    case 'connected':
      counts.connected++;
      return;
    case 'connect-failed':
      counts.connectFailed++;
      return;
    case 'relayed':
      return;
    case 'overflow':
      counts.overflow++;
      return;
    case 'reset':
    case 'stale':
      counts.reset++;
      return;
    case 'timeout':
    case 'abandoned':
      counts.timeout++;
      return;
    default:
      if (outcome < 500) counts.success++;
      else counts.error++;
  }
}
