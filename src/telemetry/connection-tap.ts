/** Connections of an agent as taps see them: whatever gets a line in connections.log, the kernel path and refused ones included. */
import type { TapEvent, TapParty } from '../model/mesh-snapshot.js';
import { isFailure } from './connection-edges.js';
import {
  isEndpointOpen,
  knownName,
  portOf,
  withPort,
  type ConnectionRecord,
  type Party,
} from './connection-record.js';
import type { TapSource, Taps } from './taps.js';

const identityOf = (identity: string): string | undefined => (identity === 'unknown' ? undefined : identity);
const none: readonly never[] = [];

function partyOf({ namespace, workload, pod, identity }: Party): TapParty {
  return {
    namespace: knownName(namespace),
    workload: knownName(workload),
    pod: knownName(pod),
    ...(identity === 'unknown' ? {} : { identity }),
  };
}

/** The destination as the client dialed it: which pod of a Service a waypoint chooses, the waypoint's own events say. */
const destinationOf = (record: ConnectionRecord): TapParty =>
  isEndpointOpen(record)
    ? { namespace: knownName(record.destination.namespace), workload: '', pod: '' }
    : partyOf(record.destination);

const wayOf = ({ path, waypoint }: ConnectionRecord): string =>
  waypoint !== undefined && path !== 'refused' ? 'waypoint' : path;

/** Counts of a connection. */
interface Values {
  /** Absent: it has none. */
  readonly id?: string;
  /** Absent: that of the record. */
  readonly clientPort?: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly durationMs: number;
}

/** The id by which `weft explain` finds the connection: that of its line, or the client's address and port. */
function idOf(record: ConnectionRecord, { id, clientPort }: Values): string {
  const { address } = record.source;
  return id ?? record.id ?? (clientPort === undefined ? address : withPort(address, clientPort));
}

/** One instance for all connections: filters read the record in place. */
class ConnectionSource implements TapSource {
  readonly kind = 'connection';
  readonly method = '';
  readonly requestPath = '';
  readonly status = 0;
  #record: ConnectionRecord | undefined;
  #values: Values | undefined;

  of(record: ConnectionRecord, values: Values): this {
    this.#record = record;
    this.#values = values;
    return this;
  }

  clear(): void {
    this.#record = this.#values = undefined;
  }

  get outcome(): TapEvent['outcome'] {
    const record = this.#record;
    if (record?.path !== 'refused') return 'allowed';
    return isFailure(record) ? 'failed' : 'refused';
  }
  get way(): string {
    return this.#record ? wayOf(this.#record) : '';
  }
  get sourceNamespace(): string {
    return knownName(this.#record?.source.namespace ?? '');
  }
  get sourceWorkload(): string {
    return knownName(this.#record?.source.workload ?? '');
  }
  get sourceIdentity(): string | undefined {
    return identityOf(this.#record?.source.identity ?? 'unknown');
  }
  get destinationNamespace(): string {
    return knownName(this.#record?.destination.namespace ?? '');
  }
  get destinationWorkload(): string {
    return this.#record && !isEndpointOpen(this.#record) ? knownName(this.#record.destination.workload) : '';
  }
  get destinationIdentity(): string | undefined {
    return this.#record && !isEndpointOpen(this.#record)
      ? identityOf(this.#record.destination.identity)
      : undefined;
  }
  get policy(): string {
    return this.#record?.policy ?? '';
  }
  get audited(): readonly string[] {
    return this.#record?.audited ?? none;
  }

  event(): TapEvent {
    const record = this.#record;
    const values = this.#values;
    if (!record || !values) throw new Error('no connection');
    const { direction, why, code, source, destination, dialled, service, policy, audited } = record;
    const { bytesSent, bytesReceived, durationMs } = values;
    const isOutbound = direction === 'outbound';
    return {
      kind: 'connection',
      seenBy: isOutbound ? 'source' : 'destination',
      timeMs: Date.now(),
      id: idOf(record, values),
      // The control plane says it: it knows who reports.
      reporter: '',
      source: partyOf(source),
      destination: {
        ...destinationOf(record),
        ...(service === undefined ? {} : { service }),
        port: portOf(destination.address) || portOf(dialled ?? ''),
      },
      path: wayOf(record),
      outcome: this.outcome,
      durationMs,
      bytesSent: isOutbound ? bytesSent : bytesReceived,
      bytesReceived: isOutbound ? bytesReceived : bytesSent,
      ...(policy === undefined ? {} : { policy }),
      ...(audited === undefined ? {} : { audited }),
      ...(code === undefined ? {} : { code }),
      why,
    };
  }
}

export class ConnectionTap {
  readonly #source = new ConnectionSource();

  constructor(private readonly taps: Taps) {}

  /** Whether to call `ended`. */
  get isOn(): boolean {
    return this.taps.isOn;
  }

  /** A connection has ended, or was refused. @param values of this connection; absent: the record has them */
  ended(record: ConnectionRecord, values: Values = record): void {
    this.taps.offer(this.#source.of(record, values));
    this.#source.clear();
  }
}
