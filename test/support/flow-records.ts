/** The records of carrier.proto's FlowRecords, as a carrier makes them. */
import type { Ended } from '../../daemonset/carrier/gen/carrier.js';
import { ipTo16, type SocketAddress } from '../../src/model/address.js';

export interface FlowRecord {
  readonly flow: number;
  readonly rule: number;
  readonly kind: 1 | 2;
  readonly client: SocketAddress;
  readonly sent?: number;
  readonly received?: number;
  readonly timeMs?: number;
  readonly target?: number;
  readonly ended?: Ended;
}

export function flowRecords(records: readonly FlowRecord[]): Buffer {
  const bytes = Buffer.alloc(64 * records.length);
  for (const [i, record] of records.entries()) {
    const { flow, rule, kind, client, sent = 0, received = 0, timeMs = 0, target = 0, ended = 0 } = record;
    for (const [n, value] of [flow, rule, sent, received, timeMs].entries())
      bytes.writeBigUInt64LE(BigInt(value), 64 * i + 8 * n);
    Buffer.from(ipTo16(client.ip)).copy(bytes, 64 * i + 40);
    bytes.writeUInt16LE(client.port, 64 * i + 56);
    bytes.writeUInt16LE(target, 64 * i + 58);
    bytes.set([kind, ended], 64 * i + 60);
  }
  return bytes;
}
