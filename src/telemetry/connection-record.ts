/** One line per connection, with what is needed to explain it. */
import type { SocketAddress } from '../model/address.js';
import { formatSocketAddress } from '../model/address.js';
import type { NodePod } from '../model/node-pod.js';
import type { Workload } from '../model/workload.js';

export type Path = 'hbone' | 'local' | 'kernel' | 'plain' | 'inbound-hbone' | 'inbound-plain' | 'refused';

/** One side of a connection as far as it is known; `unknown` is a fact too. */
export interface Party {
  readonly address: string;
  readonly identity: string;
  readonly namespace: string;
  readonly workload: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly pod: string;
}

export interface ConnectionRecord {
  readonly direction: 'outbound' | 'inbound';
  readonly path: Path;
  /** Why this path, or why refused. */
  readonly why: string;
  readonly code?: string;
  readonly source: Party;
  readonly destination: Party;
  /** What was dialled, where it is not the destination itself. */
  readonly dialled?: string;
  readonly service?: string;
  readonly policy?: string;
  readonly rule?: number;
  /** Policies in audit mode that would have denied. */
  readonly audited?: readonly string[];
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** On the kernel's path: of both directions, what met no TCP. */
  readonly bytesSpliced?: number;
  readonly durationMs: number;
  readonly ended: string;
}

export function partyOf(
  address: SocketAddress | undefined,
  known: { workload?: Workload | undefined; pod?: NodePod | undefined; identity?: string | undefined },
): Party {
  const { workload, pod } = known;
  return {
    address: address ? formatSocketAddress(address) : 'unknown',
    identity: known.identity ?? 'unknown',
    namespace: workload?.namespace ?? pod?.namespace ?? 'unknown',
    workload: workload?.workloadName ?? pod?.name ?? 'unknown',
    canonicalName: workload?.canonicalName || pod?.name || 'unknown',
    canonicalRevision: workload?.canonicalRevision || 'latest',
    pod: workload?.name ?? pod?.name ?? 'unknown',
  };
}

/** The line's level: what was refused stands out. */
export function levelOf(record: ConnectionRecord): 'info' | 'warn' {
  return record.path === 'refused' ? 'warn' : 'info';
}
