/** The log record of a connection, with the attributes of OpenTelemetry's semantic conventions. Pure. */
import type { Attributes } from '@opentelemetry/api';
import { levelOf, type ConnectionRecord, type Party } from '../connection-record.js';
import type { LogEntry } from './log-export.js';

/** `ip:port` or `[ip]:port`. */
function socketAttributes(side: 'source' | 'destination', text: string): Attributes {
  const at = text.lastIndexOf(':');
  const port = Number(text.slice(at + 1));
  if (at < 0 || !Number.isInteger(port)) return {};
  return {
    [`${side}.address`]: text.slice(0, at).replace(/^\[|\]$/g, ''),
    [`${side}.port`]: port,
  };
}

const partyAttributes = (side: 'source' | 'destination', party: Party): Attributes => ({
  ...socketAttributes(side, party.address),
  [`weft.${side}.identity`]: party.identity,
  [`weft.${side}.namespace`]: party.namespace,
  [`weft.${side}.workload`]: party.workload,
  [`weft.${side}.pod`]: party.pod,
});

export function connectionEntry(record: ConnectionRecord, nowMs: number): LogEntry {
  const { direction, path, why, code, service, waypoint, policy, rule, audited, id } = record;
  return {
    event: 'weft.connection',
    level: levelOf(record),
    body: path === 'refused' ? `connection refused: ${why}` : `connection ended: ${record.ended}`,
    timeMs: nowMs,
    attributes: {
      'network.transport': 'tcp',
      'network.io.direction': direction === 'outbound' ? 'transmit' : 'receive',
      ...partyAttributes('source', record.source),
      ...partyAttributes('destination', record.destination),
      'weft.path': path,
      'weft.why': why,
      'weft.ended': record.ended,
      'weft.bytes_sent': record.bytesSent,
      'weft.bytes_received': record.bytesReceived,
      'weft.duration_ms': record.durationMs,
      ...(id === undefined ? {} : { 'weft.connection.id': id }),
      ...(code === undefined ? {} : { 'error.type': code }),
      ...(service === undefined ? {} : { 'weft.service': service }),
      ...(waypoint === undefined ? {} : { 'weft.waypoint': waypoint }),
      ...(policy === undefined ? {} : { 'weft.policy': policy }),
      ...(rule === undefined ? {} : { 'weft.rule': rule }),
      ...(audited === undefined ? {} : { 'weft.audited': [...audited] }),
    },
  };
}
