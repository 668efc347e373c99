/** The record of a connection, with all that explains it: metrics, the connection log and the admin port show it. Its only builder. */
import { formatSocketAddress, type SocketAddress } from '../model/address.js';
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

/** What is known of a connection before it carries bytes. */
export type Opening = Omit<
  ConnectionRecord,
  'bytesSent' | 'bytesReceived' | 'bytesSpliced' | 'durationMs' | 'ended'
>;

/** What is known of one side; an address alone names nobody. */
export interface KnownParty {
  readonly address: SocketAddress | undefined;
  readonly workload?: Workload | undefined;
  readonly pod?: NodePod | undefined;
  readonly identity?: string | undefined;
}

export interface OpeningInput {
  readonly direction: ConnectionRecord['direction'];
  readonly path: Path;
  readonly why: string;
  readonly code?: string | undefined;
  readonly source: KnownParty;
  readonly destination: KnownParty;
  readonly dialled?: SocketAddress | undefined;
  readonly service?: { readonly hostname: string } | undefined;
  /** The verdict that decided it, where a policy did. */
  readonly verdict?:
    { readonly policy?: string; readonly rule?: number; readonly audited?: readonly string[] } | undefined;
}

/** Fields that are not known are left out, so that no line names them. */
export function openingOf(input: OpeningInput): Opening {
  const { direction, path, why, code, source, destination, dialled, service, verdict } = input;
  return {
    direction,
    path,
    why,
    ...(code === undefined ? {} : { code }),
    source: partyOf(source),
    destination: partyOf(destination),
    ...(dialled ? { dialled: formatSocketAddress(dialled) } : {}),
    ...(service ? { service: service.hostname } : {}),
    ...(verdict?.policy === undefined ? {} : { policy: verdict.policy }),
    ...(verdict?.rule === undefined ? {} : { rule: verdict.rule }),
    ...(verdict?.audited && verdict.audited.length > 0 ? { audited: verdict.audited } : {}),
  };
}

const noBytes = { bytesSent: 0, bytesReceived: 0, durationMs: 0 };

/** The record of a connection that has just been established. */
export const openRecord = (opening: Opening): ConnectionRecord => ({
  ...opening,
  ...noBytes,
  ended: 'open',
});

/** The record of a connection that was refused before it carried a byte. */
export const refusedRecord = (opening: Opening): ConnectionRecord => ({
  ...opening,
  path: 'refused',
  ...noBytes,
  ended: 'refused',
});

export function partyOf({ address, workload, pod, identity }: KnownParty): Party {
  return {
    address: address ? formatSocketAddress(address) : 'unknown',
    identity: identity ?? 'unknown',
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
