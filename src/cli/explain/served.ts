/** What became of a request or connection at a waypoint, and where it may be sent. */
import { isRecord } from '../../base/record.js';
import type { RouteBackend, RouteFilter } from '../../model/route.js';
import { denialReason, type HttpAttributes, type Verdict } from '../../policy/authorize.js';
import { authorizeClient } from '../../waypoint/authorization/authorize.js';
import { demandedElsewhere } from '../../waypoint/authorization/demanded.js';
import type { PolicyGroup } from '../../waypoint/authorization/endpoint-policies.js';
import type { ServicePort } from '../../waypoint/authorization/reachable.js';
import type { Cluster } from '../../waypoint/cluster/cluster.js';
import type { ClusterManager } from '../../waypoint/cluster/cluster-manager.js';
import type { Endpoint } from '../../waypoint/cluster/endpoint.js';
import type { Exchange } from '../../waypoint/exchange/exchange.js';
import type { Client } from '../../waypoint/listener/client.js';
import { servicePortOf, type Destination } from '../../waypoint/listener/destination.js';
import { relayObstacle } from '../../waypoint/listener/relay-authorization.js';
import type { WaypointState } from '../../waypoint/state/waypoint-state.js';
import type { RequestRecord } from '../../waypoint/telemetry/request-record.js';
import { checksOf, deciding, type Decided } from './policy-checks.js';
import type { PolicyCheck, WaypointView } from './result.js';

/** How the waypoint's work ended. */
export type End =
  | { readonly kind: 'dialed'; readonly endpoint: Endpoint }
  | { readonly kind: 'record'; readonly record: RequestRecord }
  | {
      readonly kind: 'relay';
      readonly why: string;
      readonly code: string | undefined;
      readonly endpoint: Endpoint | undefined;
    }
  | { readonly kind: 'late' };

/** Everything that is known at the end. */
export interface Seen {
  readonly state: WaypointState;
  /** `<namespace>/<name>` of the Gateway. */
  readonly name: string;
  readonly client: Client;
  readonly destination: Destination;
  /** Undefined: no request was read. */
  readonly exchange: Exchange | undefined;
  /** Of the ClientHello that was sent. */
  readonly serverName: string | undefined;
  readonly clusters: ClusterManager;
  /** What would have been asked: decision services, and the keys of a token. */
  readonly asked: ReadonlySet<string>;
}

/** An endpoint that the request may be sent to; undefined: the backend has none. */
export interface Target extends Decided {
  readonly endpoint: Endpoint | undefined;
  readonly backend: string;
  readonly allowed: boolean;
  readonly why: string;
  readonly code?: string;
  readonly audited: readonly string[];
  readonly policies: readonly PolicyCheck[];
  /** What decides, too, and was not evaluated. */
  readonly open?: string;
}

/** Decided before an endpoint was chosen. */
export interface Replied extends Decided {
  /** `responded`: by the waypoint, as a route says. */
  readonly kind: 'responded' | 'refused' | 'undecided';
  readonly why: string;
  readonly code?: string;
  readonly audited: readonly string[];
  readonly policies: readonly PolicyCheck[];
  readonly view: WaypointView;
}

export type Served =
  | Replied
  | {
      readonly kind: 'sent';
      readonly targets: readonly Target[];
      readonly view: WaypointView;
      readonly asked: readonly string[];
    };

const targetsMax = 64;

/** The groups of policies of the Service that the client dialed. */
const ofService = ({ state, destination }: Seen): readonly PolicyGroup[] => {
  const asked = servicePortOf(destination);
  return asked ? state.policies.ofService(asked, destination.dialed.ip) : [];
};
const httpOf = ({ exchange }: Seen): HttpAttributes | undefined =>
  exchange?.authorization.originalAttributes();

export function servedOf(seen: Seen, end: End): Served {
  const view = viewOf(seen, end.kind === 'record' ? end.record.status : undefined);
  if (hasTargets(seen, end)) {
    const { status: _status, ...rest } = view;
    return { kind: 'sent', targets: targetsOf(seen, end), view: rest, asked: [...seen.asked] };
  }
  const checks = checksOf(
    ofService(seen),
    `waypoint ${seen.name}`,
    seen.client,
    httpOf(seen),
    seen.serverName,
  );
  const base = { view, audited: [], policies: checks };
  switch (end.kind) {
    case 'record': {
      const { code, flag, status, why, policy, rule, audited } = end.record;
      const isOwn = code === undefined && flag === undefined;
      const decided = code === 'WEFT_DENIED' ? { policy, rule } : {};
      const isAllowed = isOwn && status < 400;
      const open = isAllowed ? [...seen.asked, ...otherBackends(seen)] : [];
      const isOpen = open.length > 0 || (code === 'WEFT_JWT_INVALID' && isWithoutKeys(why));
      return {
        ...base,
        kind: isOpen ? 'undecided' : isAllowed ? 'responded' : 'refused',
        why: openText(open, why ?? `the route's rule responds with status ${status}`),
        ...(code === undefined ? {} : { code }),
        ...decided,
        audited,
        policies: deciding(checks, decided),
      };
    }
    case 'relay':
      return {
        ...base,
        kind: 'refused',
        why: end.why,
        ...(end.code === undefined ? {} : { code: end.code }),
      };
    default:
      return { ...base, kind: 'undecided', why: 'the waypoint had not decided after 30 s' };
  }
}

/** @param asked what would have been asked */
export const openText = (asked: readonly string[], why: string): string =>
  asked.length > 0 ? `${asked.join(' and ')} decides, and is not asked here; ${why}` : why;

/** Keys of issuers are fetched by a running control plane alone. */
export const isWithoutKeys = (why = ''): boolean => why.includes('(no-keys)');

/** Whether the request came as far as its endpoints, whatever was decided about the one that was chosen. */
function hasTargets(seen: Seen, end: End): boolean {
  if (end.kind === 'dialed') return true;
  if (end.kind === 'relay') return end.code === 'WEFT_DENIED' && end.endpoint !== undefined;
  if (end.kind !== 'record') return false;
  const { code, flag } = end.record;
  if (code === 'WEFT_DENIED') return authorizeClient(ofService(seen), seen.client, httpOf(seen)).allowed;
  return flag === 'NC' || flag === 'UH' || flag === 'UO';
}

function targetsOf(seen: Seen, end: End): readonly Target[] {
  const { exchange } = seen;
  if (!exchange) return relayTargets(seen, end);
  const backends = exchange.route.rule?.backends.filter(({ weight }) => weight > 0) ?? [];
  if (backends.length === 0) return ofCluster(seen, exchange.route.cluster(), exchange.route.sent, '');
  const chosen = exchange.route.backend;
  const all = backends.flatMap((backend) => {
    exchange.route.backend = backend;
    const cluster = exchange.route.cluster();
    const text = backendText(backend, backends);
    const targets = ofCluster(seen, cluster, exchange.route.sent, text);
    const isOpen = backend !== chosen && isFiltered(seen, backend, cluster);
    return isOpen ? targets.map((one) => ({ ...one, open: filtersOf(text) })) : targets;
  });
  exchange.route.backend = chosen;
  return all.slice(0, targetsMax);
}

const filtersOf = (backend: string): string => `the filters of backend ${backend}`;

/** Whether requests to a backend that was not chosen would pass filters that were not evaluated. */
function isFiltered(
  { state, client, destination, exchange }: Seen,
  { target, filters }: RouteBackend,
  cluster: Cluster | string,
): boolean {
  if (filters.length > 0) return true;
  const there = typeof cluster === 'string' ? undefined : cluster;
  return demandedElsewhere(state, client, destination, target, there, exchange?.route.changedBy).some(
    ({ unproven }) => !unproven,
  );
}

/** The other backends of the rule, if the filters of the chosen one may have responded: what they do is not known. */
function otherBackends({ exchange }: Seen): readonly string[] {
  const { rule, backend } = exchange?.route ?? {};
  const all = rule?.backends.filter(({ weight }) => weight > 0) ?? [];
  return backend ? all.filter((one) => one !== backend).map((one) => `backend ${backendText(one, all)}`) : [];
}

function relayTargets(seen: Seen, end: End): readonly Target[] {
  const { clusters, destination } = seen;
  const endpoint = end.kind === 'dialed' || end.kind === 'relay' ? end.endpoint : undefined;
  if (destination.kind === 'workload')
    return ofCluster(seen, clusters.ofWorkload(destination.workload, destination.dialed), undefined, '');
  // A route of TCP may have led to the endpoints of another Service.
  const sent = servicePortOf(destination);
  const cluster = sent && clusters.ofService(sent.service, sent.port);
  if (cluster && (!endpoint || cluster.endpoints.some(({ key }) => key === endpoint.key)))
    return ofCluster(seen, cluster, sent, '');
  return endpoint ? [targetOf(seen, endpoint, undefined, '')] : [];
}

function ofCluster(
  seen: Seen,
  cluster: Cluster | string,
  sent: ServicePort | undefined,
  backend: string,
): readonly Target[] {
  const none = { endpoint: undefined, backend, allowed: false, audited: [], policies: [] };
  if (typeof cluster === 'string') return [{ ...none, why: cluster, code: 'WEFT_BACKEND_INVALID' }];
  const all = cluster.endpoints.slice(0, targetsMax);
  if (all.length > 0) return all.map((endpoint) => targetOf(seen, endpoint, sent, backend));
  const name = sent?.service ?? 'the destination';
  return [{ ...none, why: `${name} has no usable endpoint`, code: 'WEFT_NO_HEALTHY_ENDPOINT' }];
}

function targetOf(seen: Seen, endpoint: Endpoint, sent: ServicePort | undefined, backend: string): Target {
  const { state, client, exchange, name, serverName } = seen;
  const http = httpOf(seen);
  const obstacle = exchange ? undefined : relayObstacle(state, client, seen.destination, { endpoint, sent });
  if (obstacle !== undefined)
    return {
      endpoint,
      backend,
      allowed: false,
      why: obstacle,
      code: 'WEFT_DENIED',
      audited: [],
      policies: [],
    };
  const ofEndpoint = state.policies.ofEndpoint(endpoint, sent);
  const groups = [...ofService(seen), ...ofEndpoint];
  const verdict = authorizeClient(groups, client, http, serverName);
  // The request has to be allowed as it was changed by the rule, too. Where nothing applies, the verdict about another endpoint would count.
  const allowed =
    verdict.allowed &&
    (ofEndpoint.length === 0 || exchange?.authorization.allowsEndpoint(endpoint, sent) !== false);
  const { policy, rule } = verdict;
  // Filters in audit mode or dry run have recorded what they would refuse.
  const audited = [...new Set([...(exchange?.info.audited ?? []), ...verdict.audited])];
  const decided = { ...(policy === undefined ? {} : { policy }), ...(rule === undefined ? {} : { rule }) };
  return {
    endpoint,
    backend,
    allowed,
    why: whyOf(verdict, allowed),
    ...(allowed ? {} : { code: 'WEFT_DENIED' }),
    ...decided,
    audited,
    policies: deciding(checksOf(groups, `waypoint ${name}`, client, http, serverName), decided),
  };
}

function whyOf(verdict: Verdict, allowed: boolean): string {
  if (!verdict.allowed) return denialReason(verdict);
  if (!allowed) return 'policies of the endpoint refuse the request as the rule changes it';
  return verdict.reason === 'allowed'
    ? `policy ${verdict.policy} rule ${verdict.rule} allows it`
    : 'no policy forbids it';
}

function backendText({ target, weight }: RouteBackend, all: readonly RouteBackend[]): string {
  const sum = all.reduce((total, one) => total + one.weight, 0);
  const share = all.length > 1 ? ` (${Math.round((weight / sum) * 100)} %)` : '';
  return `${target.kind === 'service' ? `${target.service}:${target.port}` : target.reason}${share}`;
}

function viewOf({ state, name, destination, exchange }: Seen, status: number | undefined): WaypointView {
  const asked = servicePortOf(destination);
  const policy = asked && state.policyOf(asked.service, asked.port);
  const matched = exchange?.route.matched;
  const backends = matched?.rule.backends.filter(({ weight }) => weight > 0) ?? [];
  return {
    name,
    readsRequest: exchange !== undefined,
    ...(matched ? { route: matched.label } : {}),
    backends: backends.map((one) => backendText(one, backends)),
    filters: [
      ...(policy?.filters ?? []),
      ...(matched?.rule.filters ?? []),
      ...backends.flatMap(({ filters }) => filters),
    ].map(filterText),
    settings: (policy?.origins ?? []).map(({ setting, object }) => ({ setting, object })),
    ...(status === undefined ? {} : { status }),
  };
}

const filterCharsMax = 160;

/** What says nothing: fields that are not set. */
const isUnset = (one: unknown): boolean =>
  one === undefined ||
  one === null ||
  one === '' ||
  one === 0 ||
  one === false ||
  (Array.isArray(one) && one.length === 0);

/** The fields that are set. Headers may be secret: their names are shown. */
const shown = (_key: string, value: unknown): unknown => {
  if (!isRecord(value)) return isUnset(value) ? undefined : value;
  if (typeof value['name'] === 'string' && typeof value['value'] === 'string') return value['name'];
  return Object.fromEntries(Object.entries(value).filter(([, one]) => !isUnset(one)));
};

/** `rewrite hostname=a.example path={"kind":"full",…}`: a filter with the fields that are set. */
function filterText({ $case, value }: RouteFilter): string {
  const fields = Object.entries(value as unknown as Record<string, unknown>).flatMap(([key, one]) => {
    // Keys and bodies are long.
    if (isUnset(one) || key === 'jwks' || key === 'issuers' || one instanceof Uint8Array) return [];
    return [`${key}=${typeof one === 'object' ? JSON.stringify(one, shown) : String(one as string)}`];
  });
  const name = $case.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  const text = [name, ...fields].join(' ');
  return text.length > filterCharsMax ? `${text.slice(0, filterCharsMax)}…` : text;
}
