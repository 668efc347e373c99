/**
 * The edges of a worker: requests by client, endpoint, method and path template, and relayed connections. Names are looked up once per edge
 * and report; a request costs a few lookups by texts that exist already.
 */
import { otherName, type Edge, type EdgeParty } from '../../model/edge.js';
import type { Workload } from '../../model/workload.js';
import type { MeshView } from '../../state/store.js';
import { EdgeTable, edgesMax, type EdgeNames, type EdgeTally } from '../../telemetry/edge-table.js';
import { pathTemplate } from '../../telemetry/path-template.js';
import type { Endpoint } from '../cluster/endpoint.js';
import type { WaypointLimit } from '../limits.js';
import type { Client } from '../listener/client.js';
import type { Destination } from '../listener/destination.js';
import type { RequestRecord } from './request-record.js';

/** Of the requests of one client namespace to one Service. */
export const templatesMax = 100;
/** Templates are forgotten after this many reports (15 minutes), so that those of an older version of the application go. */
const templateTakes = 90;
const pathsMax = 2_048;
/** Clients choose paths, which may be longer than all that an edge keeps. */
const pathCharsMax = 256;
const shortcutsMax = 4 * edgesMax;

const methods: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
  'CONNECT',
  'TRACE',
]);
/** Those of a server that failed: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS. */
const failedGrpc: ReadonlySet<string | undefined> = new Set(['2', '4', '12', '13', '14', '15']);
/** The response was not complete. */
const incomplete: ReadonlySet<string | undefined> = new Set(['UC', 'UT', 'UPE', 'DC', 'DT']);

/** Whether the request counts as a failure of the server. Pure. */
export const isFailed = ({ status, grpcStatus, flag }: RequestRecord): boolean =>
  status === 0 || status >= 500 || failedGrpc.has(grpcStatus) || incomplete.has(flag);

/** Codes of requests that a policy, a decision service, a rate limit or the mesh refused, beside those with the flag RBAC. */
const refusedCodes: ReadonlySet<string | undefined> = new Set([
  'WEFT_NOT_SERVED',
  'WEFT_JWT_MISSING',
  'WEFT_JWT_INVALID',
  'WEFT_EXTERNAL_AUTHORIZATION_DENIED',
  'WEFT_EXTERNAL_AUTHORIZATION_BODY',
  'WEFT_RATE_LIMITED',
]);
/** Whether a policy or the mesh refused it. Pure. */
export const isRefused = ({ flag, code }: RequestRecord): boolean =>
  flag === 'RBAC' || refusedCodes.has(code);

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
  #paths = new Map<string, string>();
  /** Templates that were seen, by Service and the client's namespace. */
  #templates = new Map<string, Map<string, Set<string>>>();
  #takes = 0;

  constructor(
    private readonly view: () => MeshView,
    private readonly onLimit: (limit: WaypointLimit) => void,
  ) {
    this.#table = new EdgeTable(() => onLimit('edges'));
  }

  record(record: RequestRecord): void {
    const { audited } = record;
    const tally = this.#tallyOf(record);
    tally.request(record.durationMs);
    // A refused request is no failure, whatever its status is.
    if (isRefused(record)) tally.refused++;
    else {
      if (audited.length > 0) tally.audited++;
      if (isFailed(record)) tally.failures++;
    }
    tally.bytesSent += record.bytesReceived;
    tally.bytesReceived += record.bytesSent;
  }

  #tallyOf(record: RequestRecord): EdgeTally {
    const { client, endpoint, service, audited } = record;
    const method = methods.has(record.method) ? record.method : otherName;
    const template = this.#templateOf(record.path);
    const policy = (isRefused(record) ? record.policy : audited[0]) ?? '';
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
      pathTemplate: this.#known(template, record),
      policy,
    });
    perTemplate.set(policy, tally);
    if (++this.#shortcutsSize > shortcutsMax) this.#forgetShortcuts();
    return tally;
  }

  #templateOf(path: string): string {
    if (path.length > pathCharsMax) return pathTemplate(path);
    let template = this.#paths.get(path);
    if (template === undefined) {
      template = pathTemplate(path);
      if (this.#paths.size >= pathsMax) this.#paths = new Map();
      this.#paths.set(path, template);
    }
    return template;
  }

  /** The template, or `other` if the clients of this namespace have used too many. */
  #known(template: string, { service, client }: RequestRecord): string {
    let ofService = this.#templates.get(service);
    if (!ofService) this.#templates.set(service, (ofService = new Map()));
    let seen = ofService.get(client.group);
    if (!seen) ofService.set(client.group, (seen = new Set()));
    if (seen.has(template)) return template;
    if (seen.size >= templatesMax) {
      this.onLimit('path-templates');
      return otherName;
    }
    seen.add(template);
    return template;
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
      policy: policy ?? audited[0] ?? '',
    });
    if (audited.length > 0) tally.audited++;
    if (outcome === 'opened') tally.connections++;
    else if (outcome === 'refused') tally.refused++;
    else tally.failures++;
  }

  #sideOf(client: Client): Pick<EdgeNames, 'reporter' | 'path' | 'source'> {
    const workload = clientWorkload(this.view(), client);
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
    if (++this.#takes % templateTakes === 0) this.#templates = new Map();
    return this.#table.take(nowMs);
  }
}

/** The client's workload. An address proves nothing: the workload is named only if its identity is that of the certificate. */
export function clientWorkload(view: MeshView, client: Client): Workload | undefined {
  const known = view.workloadByAddress(client.address.ip, client.namespace);
  return known && known.identity === client.identity ? known : undefined;
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
