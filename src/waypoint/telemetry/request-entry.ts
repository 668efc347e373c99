/** The log record of a request, with the attributes of OpenTelemetry's semantic conventions. Pure. */
import type { LogEntry } from '../../telemetry/otlp/log-export.js';
import { formatSocketAddress } from '../../model/address.js';
import { actionText, isFailed } from './access-log.js';
import type { RequestRecord } from './request-record.js';

export function requestEntry(record: RequestRecord): LogEntry {
  const { client, endpoint, route, code, why, flag, grpcStatus, policy, rule, audited, actions } = record;
  const [path = ''] = record.path.split('?', 1);
  return {
    event: 'weft.request',
    level: isFailed(record) ? 'warn' : 'info',
    body: `${record.method} ${path} ${record.status}${why === undefined ? '' : `: ${why}`}`,
    timeMs: record.startedMs + record.durationMs,
    trace: record.trace,
    attributes: {
      'http.request.method': record.method,
      // Without its query, which may have what clients keep secret.
      'url.path': path,
      'server.address': record.authority,
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
