/** The record of a connection, shown by metrics, the connection log and the admin port. Records are built only here. */
import { formatSocketAddress, type SocketAddress } from '../model/address.js';
import type { NodePod } from '../model/node-pod.js';
import type { Workload } from '../model/workload.js';

export type Path = 'hbone' | 'local' | 'kernel' | 'plain' | 'inbound-hbone' | 'inbound-plain' | 'refused';

/** One side of a connection. Fields that are not known have the value `unknown`. */
export interface Party {
  readonly address: string;
  readonly identity: string;
  readonly namespace: string;
  readonly workload: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly pod: string;
}

/** A name as edges and taps have it: empty if it is not known. */
export const knownName = (name: string): string => (name === 'unknown' ? '' : name);
/** The port of `ip:port`; 0: it is not known. */
export const portOf = (address: string): number => Number(/:(\d{1,5})$/.exec(address)?.[1] ?? 0);
/** `ip:port` with another port. */
export const withPort = (address: string, port: number | string): string =>
  `${address.slice(0, address.lastIndexOf(':') + 1)}${port}`;

/** Whether the waypoint chooses the endpoint: the one that the record names is a guess. */
export const isEndpointOpen = ({
  waypoint,
  service,
}: Pick<ConnectionRecord, 'waypoint' | 'service'>): boolean =>
  waypoint !== undefined && service !== undefined;

export interface ConnectionRecord {
  /**
   * Only of connections that a carrier relays. Two lines with one id are about one connection: an agent was killed after it wrote the line
   * and before the carrier knew.
   */
  readonly id?: string;
  readonly direction: 'outbound' | 'inbound';
  readonly path: Path;
  /** Reason for the path or for the refusal. */
  readonly why: string;
  readonly code?: string;
  readonly source: Party;
  readonly destination: Party;
  /** The dialed address (ip:port), if it differs from the destination. */
  // eslint-disable-next-line weft/retired-words -- a key of connections.log
  readonly dialled?: string;
  readonly service?: string;
  /** The waypoint's address (ip:port), if the connection goes to one: it connects to the destination. */
  readonly waypoint?: string;
  readonly policy?: string;
  readonly rule?: number;
  /** Policies in audit mode that would have denied the connection. */
  readonly audited?: readonly string[];
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** Kernel path only: bytes of both directions that were spliced and bypassed TCP. */
  readonly bytesSpliced?: number;
  readonly durationMs: number;
  readonly ended: string;
}

/** The fields of a record that are known before the connection transfers data. */
export type Opening = Omit<
  ConnectionRecord,
  'bytesSent' | 'bytesReceived' | 'bytesSpliced' | 'durationMs' | 'ended'
>;

/** What is known about one side. An address alone does not identify a party. */
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
  readonly dialed?: SocketAddress | undefined;
  readonly service?: { readonly hostname: string } | undefined;
  readonly waypoint?: SocketAddress | undefined;
  /** The verdict, if a policy decided. */
  readonly verdict?:
    { readonly policy?: string; readonly rule?: number; readonly audited?: readonly string[] } | undefined;
}

/** Builds an opening. Unknown optional fields are left out, so that log lines do not contain them. */
export function openingOf(input: OpeningInput): Opening {
  const { direction, path, why, code, source, destination, dialed, service, waypoint, verdict } = input;
  return {
    direction,
    path,
    why,
    ...(code === undefined ? {} : { code }),
    source: partyOf(source),
    destination: partyOf(destination),
    ...(dialed ? { dialled: formatSocketAddress(dialed) } : {}),
    ...(service ? { service: service.hostname } : {}),
    ...(waypoint ? { waypoint: formatSocketAddress(waypoint) } : {}),
    ...(verdict?.policy === undefined ? {} : { policy: verdict.policy }),
    ...(verdict?.rule === undefined ? {} : { rule: verdict.rule }),
    ...(verdict?.audited && verdict.audited.length > 0 ? { audited: verdict.audited } : {}),
  };
}

const noBytes = { bytesSent: 0, bytesReceived: 0, durationMs: 0 };

/** Record of a connection that was just established. */
export const openRecord = (opening: Opening): ConnectionRecord => ({
  ...opening,
  ...noBytes,
  ended: 'open',
});

/** Why a connection was refused that was permitted when it began. `reason`: as in the line of a connection that is cut; may be empty. */
export const forbiddenMeanwhile = (reason: string): string =>
  `the connection was forbidden while it was being opened${reason === '' ? '' : `: ${reason}`}`;

/** Record of a connection that was refused before it transferred data. */
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

/** The log level of a record: refused connections are warnings. */
export function levelOf(record: ConnectionRecord): 'info' | 'warn' {
  return record.path === 'refused' ? 'warn' : 'info';
}
