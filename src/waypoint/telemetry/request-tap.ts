/** Requests, and connections relayed as TCP, of a worker as taps see them. Filters read the record in place; an event is made only if one wants it. */
import { formatSocketAddress } from '../../model/address.js';
import type { TapEvent, TapParty } from '../../model/mesh-snapshot.js';
import type { Workload } from '../../model/workload.js';
import { pathOf } from '../../policy/path.js';
import type { MeshView } from '../../state/store.js';
import { knownName } from '../../telemetry/connection-record.js';
import type { TapSource, Taps } from '../../telemetry/taps.js';
import type { Endpoint } from '../cluster/endpoint.js';
import type { Client } from '../listener/client.js';
import type { Destination } from '../listener/destination.js';
import type { RelayOutcome } from '../worker/context.js';
import { isFailedResponse } from '../../telemetry/failed-response.js';
import { clientWorkload, isRefused } from './edges.js';
import { requestIdOf } from './request-id.js';
import type { RequestRecord } from './request-record.js';

/** What requests and relayed connections have in common. */
interface Observed {
  readonly client: Client;
  readonly endpoint: Endpoint | undefined;
  readonly destinationNamespace: string;
}

/** Longer ones are cut before they are sent, so that no event is larger than the others. */
const pathCharsMax = 1_024;

const partyOf = (workload: Workload | undefined, namespace: string, identity?: string): TapParty => ({
  namespace,
  workload: workload?.workloadName ?? '',
  pod: workload?.name ?? '',
  ...(identity === undefined ? {} : { identity }),
});

abstract class WaypointSource<T extends Observed> {
  protected observed: T | undefined;
  readonly way = 'waypoint';

  constructor(private readonly view: () => MeshView) {}

  of(observed: T): this {
    this.observed = observed;
    return this;
  }

  clear(): void {
    this.observed = undefined;
  }

  get #client(): Workload | undefined {
    return this.observed && clientWorkload(this.view(), this.observed.client);
  }
  get sourceNamespace(): string {
    return this.observed?.client.namespace ?? '';
  }
  get sourceWorkload(): string {
    return this.#client?.workloadName ?? '';
  }
  get sourceIdentity(): string | undefined {
    return this.observed?.client.identity;
  }
  get destinationNamespace(): string {
    return this.observed?.endpoint?.workload.namespace ?? this.observed?.destinationNamespace ?? '';
  }
  get destinationWorkload(): string {
    return this.observed?.endpoint?.workload.workloadName ?? '';
  }
  get destinationIdentity(): string | undefined {
    return this.observed?.endpoint?.workload.identity;
  }

  protected parties(service: string, servicePort: number): Pick<TapEvent, 'source' | 'destination'> {
    const endpoint = this.observed?.endpoint;
    return {
      source: partyOf(this.#client, this.sourceNamespace, this.sourceIdentity),
      destination: {
        ...partyOf(endpoint?.workload, this.destinationNamespace, this.destinationIdentity),
        ...(service === '' ? {} : { service }),
        port: endpoint?.target.port ?? servicePort,
      },
    };
  }
}

interface ObservedRequest extends Observed {
  readonly record: RequestRecord;
}

class RequestSource extends WaypointSource<ObservedRequest> implements TapSource, ObservedRequest {
  readonly kind = 'request';
  #record: RequestRecord | undefined;

  ofRecord(record: RequestRecord): this {
    this.#record = record;
    return this.of(this);
  }

  get record(): RequestRecord {
    if (!this.#record) throw new Error('no request');
    return this.#record;
  }
  get client(): Client {
    return this.record.client;
  }
  get endpoint(): Endpoint | undefined {
    return this.record.endpoint;
  }
  get outcome(): TapEvent['outcome'] {
    if (isRefused(this.record)) return 'refused';
    return isFailedResponse(this.record) ? 'failed' : 'allowed';
  }
  override get destinationNamespace(): string {
    return this.endpoint?.workload.namespace ?? knownName(this.record.serviceNamespace);
  }
  get policy(): string {
    return this.record.policy ?? '';
  }
  get audited(): readonly string[] {
    return this.record.audited;
  }
  get method(): string {
    return this.record.method;
  }
  get requestPath(): string {
    return this.record.path;
  }
  get status(): number {
    return this.record.status;
  }

  event(): TapEvent {
    const { record } = this;
    const {
      number,
      serviceName,
      service,
      port,
      method,
      path,
      status,
      durationMs,
      policy,
      audited,
      code,
      why,
    } = record;
    return {
      kind: 'request',
      seenBy: 'waypoint',
      timeMs: Date.now(),
      id: requestIdOf(number),
      reporter: '',
      ...this.parties(serviceName === 'unknown' ? '' : service, port),
      path: 'waypoint',
      outcome: this.outcome,
      request: { method, path: pathOf(path).slice(0, pathCharsMax), status, durationMs },
      bytesSent: record.bytesReceived,
      bytesReceived: record.bytesSent,
      ...(policy === undefined ? {} : { policy }),
      ...(audited.length === 0 ? {} : { audited }),
      ...(code === undefined ? {} : { code }),
      ...(why === undefined ? {} : { why }),
    };
  }
}

interface ObservedRelay extends Observed, RelayOutcome {
  readonly service: string;
  readonly port: number;
}

class RelaySource extends WaypointSource<ObservedRelay> implements TapSource {
  readonly kind = 'connection';
  readonly method = '';
  readonly requestPath = '';
  readonly status = 0;

  get outcome(): TapEvent['outcome'] {
    const refusal = this.observed?.refusal;
    if (!refusal) return 'allowed';
    return refusal.code === 'WEFT_DENIED' ? 'refused' : 'failed';
  }
  get policy(): string {
    return this.observed?.refusal?.policy ?? '';
  }
  get audited(): readonly string[] {
    return this.observed?.audited ?? [];
  }

  event(): TapEvent {
    if (!this.observed) throw new Error('no connection');
    const { client, service, port, refusal, audited } = this.observed;
    return {
      kind: 'connection',
      seenBy: 'waypoint',
      timeMs: Date.now(),
      id: formatSocketAddress(client.address),
      reporter: '',
      ...this.parties(service, port),
      path: 'waypoint',
      outcome: this.outcome,
      // Of one that was relayed the end is not reported.
      ...(refusal ? { durationMs: 0 } : {}),
      ...(refusal?.policy === undefined ? {} : { policy: refusal.policy }),
      ...(audited.length === 0 ? {} : { audited }),
      ...(refusal?.code === undefined ? {} : { code: refusal.code }),
      ...(refusal ? { why: refusal.why } : {}),
    };
  }
}

export class RequestTap {
  readonly #requests: RequestSource;
  readonly #relays: RelaySource;

  constructor(
    private readonly taps: Taps,
    view: () => MeshView,
  ) {
    this.#requests = new RequestSource(view);
    this.#relays = new RelaySource(view);
  }

  /** A request has ended. */
  request(record: RequestRecord): void {
    if (!this.taps.isOn) return;
    this.taps.offer(this.#requests.ofRecord(record));
    this.#requests.clear();
  }

  /** A connection is relayed as TCP, or was refused. */
  relayed(
    client: Client,
    destination: Destination,
    endpoint: Endpoint | undefined,
    outcome: RelayOutcome,
  ): void {
    if (!this.taps.isOn) return;
    const service = destination.kind === 'service' ? destination.service : undefined;
    const workload = destination.kind === 'workload' ? destination.workload : undefined;
    this.taps.offer(
      this.#relays.of({
        ...outcome,
        client,
        endpoint,
        destinationNamespace: service?.namespace ?? workload?.namespace ?? '',
        service: service?.hostname ?? '',
        port: destination.kind === 'service' ? destination.port : destination.dialed.port,
      }),
    );
    this.#relays.clear();
  }
}
