/** The log record of a request, with the attributes of OpenTelemetry's semantic conventions. Pure. */
import type { LogEntry } from '../../telemetry/otlp/log-export.js';
import { formatSocketAddress } from '../../model/address.js';
import { pathOf } from '../../policy/path.js';
import { actionText, isFailed } from './access-log.js';
import type { RequestRecord } from './request-record.js';

/** Of a method, a path and an authority: clients choose them, and thousands of records may wait for the collector. */
export const clientCharsMax = 2_048;

/** What a client sent, cut. A copy: a part of a string would keep all of it in memory. */
const cut = (text: string): string =>
  text.length <= clientCharsMax ? text : `${Buffer.from(text.slice(0, clientCharsMax)).toString()}…`;

export function requestEntry(record: RequestRecord): LogEntry {
  const { client, endpoint, route, code, why, flag, grpcStatus, policy, rule, audited, actions } = record;
  const method = cut(record.method);
  // Without its query, which may have what clients keep secret. A copy, for the query may be long.
  const path = cut(Buffer.from(pathOf(record.path)).toString());
  return {
    event: 'weft.request',
    level: isFailed(record) ? 'warn' : 'info',
    body: `${method} ${path} ${record.status}${why === undefined ? '' : `: ${why}`}`,
    timeMs: record.startedMs + record.durationMs,
    trace: record.trace,
    attributes: {
      'http.request.method': method,
      'url.path': path,
      'server.address': cut(record.authority),
      'http.response.status_code': record.status,
      'client.address': client.address.ip,
      'client.port': client.address.port,
      'http.request.body.size': record.bytesReceived,
      'http.response.body.size': record.bytesSent,
      'weft.source.identity': client.identity ?? 'unknown',
      'weft.service': record.service,
      'weft.attempts': record.attempts,
      'weft.duration_ms': record.durationMs,
      ...(route === undefined ? {} : { 'http.route': route }),
      ...(code === undefined ? {} : { 'error.type': code }),
      ...(flag === undefined ? {} : { response_flags: flag }),
      ...(grpcStatus === undefined ? {} : { 'rpc.grpc.status_code': grpcStatus }),
      ...(policy === undefined ? {} : { 'weft.policy': policy }),
      ...(rule === undefined ? {} : { 'weft.rule': rule }),
      ...(audited.length === 0 ? {} : { 'weft.audited': [...audited] }),
      ...(actions.length === 0 ? {} : { 'weft.actions': actions.map(actionText) }),
      ...(endpoint === undefined
        ? {}
        : {
            'network.peer.address': formatSocketAddress(endpoint.target),
            'weft.destination.identity': endpoint.workload.identity,
          }),
    },
  };
}
