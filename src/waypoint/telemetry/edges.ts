/**
 * The edges of a worker: requests by client, endpoint, method and path template, and relayed connections. Names are looked up once per edge
 * and report; a request costs a few lookups by texts that exist already.
 */
import { policyText, type Edge, type EdgeParty } from '../../model/edge.js';
import type { MeshView } from '../../state/store.js';
import { EdgeTable, edgesMax, type EdgeNames, type EdgeTally } from '../../telemetry/edge-table.js';
import { isFailedResponse } from '../../telemetry/failed-response.js';
import { methodName, PathTemplates } from '../../telemetry/path-templates.js';
import type { Endpoint } from '../cluster/endpoint.js';
import type { WaypointLimit } from '../limits.js';
import type { Client } from '../listener/client.js';
import type { Destination } from '../listener/destination.js';
import type { RequestRecord } from './request-record.js';

const shortcutsMax = 4 * edgesMax;

/** Codes of requests that a policy, a decision service, a rate limit or the mesh refused, beside those with the flag RBAC. */
const refusedCodes: ReadonlySet<string | undefined> = new Set([
  'WEFT_NOT_SERVED',
  'WEFT_JWT_MISSING',
  'WEFT_JWT_INVALID',
  'WEFT_EXTERNAL_AUTHORIZATION_DENIED',
  'WEFT_EXTERNAL_AUTHORIZATION_BODY',
  'WEFT_RATE_LIMITED',
]);
const isRefused = ({ flag, code }: RequestRecord): boolean => flag === 'RBAC' || refusedCodes.has(code);

type Shortcuts = Map<string | number, unknown>;
const below = (map: Shortcuts, key: string | number): Shortcuts => {
  let found = map.get(key) as Shortcuts | undefined;
  if (!found) map.set(key, (found = new Map()));
  return found;
};

export class RequestEdges {
  readonly #table: EdgeTable;
  /** By client, endpoint, Service, method, template, and policy: an EdgeTally. Made anew for each report, as names may change. */
  #shortcuts: Shortcuts = new Map();
  #shortcutsSize = 0;
  readonly #templates: PathTemplates;

  constructor(
    private readonly view: () => MeshView,
    onLimit: (limit: WaypointLimit) => void,
  ) {
    this.#table = new EdgeTable(() => onLimit('edges'));
    this.#templates = new PathTemplates(() => onLimit('path-templates'));
  }

  record(record: RequestRecord): void {
    const { audited } = record;
    const tally = this.#tallyOf(record);
    tally.request(record.durationMs);
    // A refused request is no failure, whatever its status is.
    if (isRefused(record)) tally.refused++;
    else {
      if (audited.length > 0) tally.audited++;
      if (isFailedResponse(record)) tally.failures++;
    }
    tally.bytesSent += record.bytesReceived;
    tally.bytesReceived += record.bytesSent;
  }

  #tallyOf(record: RequestRecord): EdgeTally {
    const { client, endpoint, service, audited } = record;
    const method = methodName(record.method);
    const template = this.#templates.of(record.path);
    const policy = isRefused(record) ? (record.policy ?? '') : policyText(audited);
    const perEndpoint = below(below(this.#shortcuts, client.key), endpoint?.key ?? record.port);
    const perTemplate = below(below(below(perEndpoint, service), method), template);
    const known = perTemplate.get(policy) as EdgeTally | undefined;
    if (known) return known;
    const tally = this.#table.of({
      ...this.#sideOf(client),
      destination: partyOf(endpoint, record.serviceNamespace),
      service: record.serviceName === 'unknown' ? '' : service,
      port: endpoint?.target.port ?? record.port,
      method,
      pathTemplate: this.#templates.known(template, service, client.group),
      policy,
    });
    perTemplate.set(policy, tally);
    if (++this.#shortcutsSize > shortcutsMax) this.#forgetShortcuts();
    return tally;
  }

  /**
   * A connection that is relayed as TCP, or was not. `failed`: for another reason than a policy.
   * @param policy that refused it
   * @param audited policies that would have refused it
   */
  relayed(
    client: Client,
    destination: Destination,
    endpoint: Endpoint | undefined,
    outcome: 'opened' | 'refused' | 'failed',
    {
      policy,
      audited = [],
    }: { readonly policy?: string | undefined; readonly audited?: readonly string[] } = {},
  ): void {
    const service = destination.kind === 'service' ? destination.service : undefined;
    const workload = destination.kind === 'workload' ? destination.workload : undefined;
    const servicePort = destination.kind === 'service' ? destination.port : destination.dialed.port;
    const tally = this.#table.of({
      ...this.#sideOf(client),
      destination: partyOf(endpoint, service?.namespace ?? workload?.namespace ?? ''),
      service: service?.hostname ?? '',
      port: endpoint?.target.port ?? servicePort,
      method: '',
      pathTemplate: '',
      policy: policy ?? policyText(audited),
    });
    if (audited.length > 0) tally.audited++;
    if (outcome === 'opened') tally.connections++;
    else if (outcome === 'refused') tally.refused++;
    else tally.failures++;
  }

  #sideOf(client: Client): Pick<EdgeNames, 'reporter' | 'path' | 'source'> {
    const known = this.view().workloadByAddress(client.address.ip, client.namespace);
    // An address proves nothing: the workload is named only if its identity is that of the certificate.
    const workload = known && known.identity === client.identity ? known : undefined;
    return {
      reporter: 'waypoint',
      path: 'waypoint',
      source: {
        namespace: client.namespace ?? '',
        workload: workload?.workloadName ?? '',
        pod: workload?.name ?? '',
        identity: client.identity,
      },
    };
  }

  #forgetShortcuts(): void {
    this.#shortcuts = new Map();
    this.#shortcutsSize = 0;
  }

  take(nowMs: number): Edge[] {
    this.#forgetShortcuts();
    this.#templates.taken();
    return this.#table.take(nowMs);
  }
}

const partyOf = (endpoint: Endpoint | undefined, namespace: string): EdgeParty => {
  const workload = endpoint?.workload;
  return {
    namespace: workload?.namespace ?? (namespace === 'unknown' ? '' : namespace),
    workload: workload?.workloadName ?? '',
    pod: workload?.name ?? '',
    identity: workload?.identity,
  };
};
