/**
 * What a waypoint does with one request or connection: the waypoint's own code serves it in memory, up to the point at which it would
 * connect to an endpoint. What the code would ask others (decision services, shared rate limits) counts as allowed, and is named.
 */
import { FairLimit } from '../../base/fair-limit.js';
import type { SocketAddress } from '../../model/address.js';
import type { SpiffeId } from '../../model/identity.js';
import type { RouteFilter } from '../../model/route.js';
import { authorize, type HttpAttributes } from '../../policy/authorize.js';
import { authorizeClient } from '../../waypoint/authorization/authorize.js';
import type { PolicyGroup } from '../../waypoint/authorization/endpoint-policies.js';
import type { ServicePort } from '../../waypoint/authorization/reachable.js';
import { ClusterManager } from '../../waypoint/cluster/cluster-manager.js';
import type { Endpoint } from '../../waypoint/cluster/endpoint.js';
import { Exchange } from '../../waypoint/exchange/exchange.js';
import { plainlyAllowed } from '../../waypoint/external-authorization/decision.js';
import type {
  AskOptions,
  ExternalAuthorization,
} from '../../waypoint/external-authorization/external-authorization.js';
import type { InjectedFaults } from '../../waypoint/filters/injected-faults.js';
import { JwtTokens } from '../../waypoint/jwt/jwt-tokens.js';
import { defaultLimits } from '../../waypoint/limits.js';
import { clientOf, type Client } from '../../waypoint/listener/client.js';
import { serveConnection } from '../../waypoint/listener/connection.js';
import { servicePortOf, type Destination } from '../../waypoint/listener/destination.js';
import { destinationOf } from '../../waypoint/listener/tunnel.js';
import type { GlobalLimits } from '../../waypoint/rate-limit/global/global-limits.js';
import { RateLimits } from '../../waypoint/rate-limit/rate-limits.js';
import { Shedding } from '../../waypoint/shedding/shedding.js';
import type { WaypointState } from '../../waypoint/state/waypoint-state.js';
import type { RequestRecord } from '../../waypoint/telemetry/request-record.js';
import { ByDestination } from '../../waypoint/worker/by-destination.js';
import type { ActiveRequest, ConnectionContext } from '../../waypoint/worker/context.js';
import { workloadIdentityOf } from '../../model/identity.js';
import { formatSocketAddress } from '../../model/address.js';
import { memoryStreams } from './memory-stream.js';
import type { Request } from './request.js';
import type { PolicyCheck, WaypointView } from './result.js';

export interface Arrival {
  readonly identity: SpiffeId;
  readonly address: SocketAddress;
  readonly authority: SocketAddress;
}

/** What became of it at the waypoint. */
export interface Served {
  /** `sent`: to an endpoint. `responded`: by the waypoint, as a route says. */
  readonly kind: 'sent' | 'responded' | 'refused' | 'undecided';
  readonly why: string;
  readonly code?: string;
  readonly policy?: string;
  readonly rule?: number;
  readonly audited: readonly string[];
  readonly client: Client;
  readonly sent?: ServicePort;
  /** The endpoints that the request may be sent to, and whether policies allow each. */
  readonly endpoints: readonly { readonly endpoint: Endpoint; readonly allowed: boolean }[];
  readonly policies: readonly PolicyCheck[];
  readonly view: WaypointView;
  /** Services that would be asked. */
  readonly asked: readonly string[];
}

/** More than the waypoint needs: nothing waits for a network. */
const decideMsMax = 5_000;
const endpointsShown = 64;

type End =
  | { readonly kind: 'dialed'; readonly endpoint: Endpoint }
  | { readonly kind: 'record'; readonly record: RequestRecord }
  | {
      readonly kind: 'relay';
      readonly why: string | undefined;
      readonly code: string | undefined;
      readonly endpoint: Endpoint | undefined;
    }
  | { readonly kind: 'late' };

class LastExchange extends ByDestination<ActiveRequest> {
  last: Exchange | undefined;
  override add(one: ActiveRequest): void {
    if (one instanceof Exchange) this.last = one;
    super.add(one);
  }
}

/** @param name `<namespace>/<name>` of the Gateway */
export async function serveAtWaypoint(
  state: WaypointState,
  name: string,
  arrival: Arrival,
  request: Request | undefined,
): Promise<Served> {
  const { identity, address, authority } = arrival;
  const client = clientOf(identity, address);
  const destination = destinationOf(state, authority, workloadIdentityOf(identity)?.namespace);
  const nothing = { audited: [], client, endpoints: [], policies: [], asked: [] };
  if (!destination)
    return {
      kind: 'refused',
      code: 'WEFT_NOT_SERVED',
      why: `${formatSocketAddress(authority)} is not served by this waypoint`,
      ...nothing,
      view: { name, filters: [], settings: [] },
    };
  const asked = new Set<string>();
  const exchanges = new LastExchange();
  let finish: (end: End) => void = () => undefined;
  const ended = new Promise<End>((resolve) => (finish = resolve));
  const clusters = new ClusterManager(
    state,
    (endpoint) => {
      finish({ kind: 'dialed', endpoint });
      // It is decided: nothing is sent.
      return new Promise(() => undefined);
    },
    defaultLimits,
    () => undefined,
  );
  const context = contextOf(state, clusters, exchanges, asked, finish);
  const [near, far] = memoryStreams();
  const timer = setTimeout(() => finish({ kind: 'late' }), decideMsMax);
  try {
    serveConnection(context, () => far, client, destination);
    // What is no HTTP: the first bytes of no protocol that a waypoint reads.
    near.write(request ? request.head(hostOf(destination)) : Buffer.from([0, 1, 2, 3]));
    near.resume();
    const end = await ended;
    return outcomeOf({ state, name, client, destination, exchange: exchanges.last, clusters, asked }, end);
  } finally {
    clearTimeout(timer);
    clusters.drain();
    near.destroy();
  }
}

const hostOf = (destination: Destination): string =>
  destination.kind === 'service' ? destination.service.hostname : formatSocketAddress(destination.dialed);

function contextOf(
  state: WaypointState,
  clusters: ClusterManager,
  exchanges: LastExchange,
  asked: Set<string>,
  finish: (end: End) => void,
): ConnectionContext {
  const limits = defaultLimits;
  const nothing = (): void => undefined;
  const counts = { ok: 0, denied: 0, error: 0, failureModeAllowed: 0, cached: 0, usedAtMs: 0 };
  const externalAuthorization = {
    bodyShares: new FairLimit(1),
    countsOf: () => counts,
    ask: ({ target }: AskOptions) => {
      asked.add(`decision service ${target.service}`);
      return plainlyAllowed;
    },
  } as unknown as ExternalAuthorization;
  const globalRateLimits = {
    of: () => ({ counts: { ok: 0 }, isForgotten: false }),
    check: () => 'ok',
  } as unknown as GlobalLimits;
  // As if as many requests were delayed as may be: faults are left out, because they say nothing about what is allowed.
  const faults = {
    of: () => ({ delays: 0, aborts: 0, overflows: 0, active: Number.MAX_SAFE_INTEGER }),
  } as unknown as InjectedFaults;
  return {
    state,
    clusters,
    limits,
    mergeSlashes: true,
    exchanges,
    connections: new ByDestination(),
    connectionShares: new FairLimit(limits.connectionsMax),
    requestShares: new FairLimit(limits.requestsMax),
    rateLimits: RateLimits.inMemory(),
    globalRateLimits,
    externalAuthorization,
    faults,
    shedding: new Shedding(),
    jwt: new JwtTokens(nothing),
    // No room: copies are not sent.
    mirrorShares: new FairLimit(0),
    mirrorBufferShares: new FairLimit(0),
    onMirrorEnd: nothing,
    onRequestEnd: (record) => finish({ kind: 'record', record }),
    onLimitReached: nothing,
    onUnreadable: (status, why) =>
      finish({
        kind: 'relay',
        why: `the waypoint cannot read the request (${status}): ${why}`,
        code: undefined,
        endpoint: undefined,
      }),
    onDetected: nothing,
    onAction: nothing,
    onUpstreamEvent: nothing,
    onRelay: (_client, _destination, endpoint, why, code) => finish({ kind: 'relay', why, code, endpoint }),
  };
}

interface Seen {
  readonly state: WaypointState;
  readonly name: string;
  readonly client: Client;
  readonly destination: Destination;
  readonly exchange: Exchange | undefined;
  readonly clusters: ClusterManager;
  readonly asked: ReadonlySet<string>;
}

function outcomeOf(seen: Seen, end: End): Served {
  const { state, client, destination, exchange } = seen;
  const endpoint =
    end.kind === 'dialed'
      ? end.endpoint
      : end.kind === 'record'
        ? end.record.endpoint
        : end.kind === 'relay'
          ? end.endpoint
          : undefined;
  const sent = exchange?.route.sent ?? (endpoint && !exchange ? servicePortOf(destination) : undefined);
  const http = exchange?.authorization.originalAttributes();
  const asked = servicePortOf(destination);
  const ofService = asked ? state.policies.ofService(asked, destination.dialed.ip) : [];
  const ofEndpoint = endpoint ? state.policies.ofEndpoint(endpoint, sent) : [];
  const checks = checksOf([...ofService, ...ofEndpoint], `waypoint ${seen.name}`, client, http);
  const verdict = exchange?.authorization.verdict;
  const status = end.kind === 'record' ? end.record.status : undefined;
  const view = viewOf(seen, status);
  const base = {
    client,
    asked: [...seen.asked],
    view,
    ...(sent ? { sent } : {}),
    endpoints: endpointsOf(seen, endpoint, sent, http),
  };
  if (end.kind === 'late')
    return {
      ...base,
      kind: 'undecided',
      why: 'the waypoint had not decided after 5 s',
      audited: [],
      policies: checks,
    };
  if (end.kind === 'record') {
    const { record } = end;
    const isOwn = record.code === undefined && record.flag === undefined;
    const decided = { policy: record.policy, rule: record.rule };
    return {
      ...base,
      kind: isOwn && record.status < 400 ? 'responded' : 'refused',
      why: record.why ?? `the route's rule responds with status ${record.status}`,
      ...(record.code === undefined ? {} : { code: record.code }),
      ...(record.code === 'WEFT_DENIED' ? named(decided) : {}),
      audited: record.audited,
      policies: deciding(checks, record.code === 'WEFT_DENIED' ? decided : {}),
    };
  }
  if (end.kind === 'relay' && end.why !== undefined) {
    const decided =
      end.code === 'WEFT_DENIED' ? checks.find(({ result }) => result === 'refuses') : undefined;
    return {
      ...base,
      kind: 'refused',
      why: end.why,
      ...(end.code === undefined ? {} : { code: end.code }),
      ...(decided ? named(decided) : {}),
      audited: [],
      policies: deciding(checks, decided ?? {}),
    };
  }
  const decided = verdict ?? authorizeClient([...ofService, ...ofEndpoint], client, http);
  return {
    ...base,
    kind: 'sent',
    why:
      decided.reason === 'allowed'
        ? `policy ${decided.policy} rule ${decided.rule} allows it`
        : 'no policy forbids it',
    ...(decided.reason === 'allowed' ? named(decided) : {}),
    audited: decided.audited,
    policies: deciding(checks, decided.reason === 'allowed' ? decided : {}),
  };
}

interface Decided {
  readonly policy?: string | undefined;
  readonly rule?: number | undefined;
}
const named = ({ policy, rule }: Decided): { policy?: string; rule?: number } => ({
  ...(policy === undefined ? {} : { policy }),
  ...(rule === undefined ? {} : { rule }),
});

/** Marks the policies that decided: several ALLOW policies that do not match are named together. */
export const deciding = (checks: readonly PolicyCheck[], { policy }: Decided): readonly PolicyCheck[] => {
  const names = new Set(policy?.split(',').map((one) => one.trim()));
  return checks.map((one) => ({ ...one, decides: names.has(one.policy) }));
};

/** Each policy alone, by the function that decides about all. */
function checksOf(
  groups: readonly PolicyGroup[],
  at: string,
  client: Client,
  http: HttpAttributes | undefined,
): readonly PolicyCheck[] {
  const found = new Map<string, PolicyCheck>();
  for (const group of groups)
    for (const policy of group.policies) {
      const named = group.named.filter(({ key }) => key === policy.key);
      const verdict = authorizeClient([{ ...group, policies: [policy], named }], client, http);
      const check = checkOf(policy, at, verdict);
      const before = found.get(policy.key);
      // A policy may apply at the Service and at the endpoint: what refuses counts.
      if (!before || check.result === 'refuses') found.set(policy.key, check);
    }
  return [...found.values()];
}

/** @param verdict that of the policy alone */
export function checkOf(
  { key, action }: { readonly key: string; readonly action: 'allow' | 'deny' },
  at: string,
  { reason, rule, audited }: ReturnType<typeof authorize>,
): PolicyCheck {
  const result =
    audited.length > 0
      ? 'would refuse (audit mode)'
      : reason === 'denied'
        ? 'refuses'
        : reason === 'allowed'
          ? 'allows'
          : 'does not match';
  return { policy: key, action, at, result, ...(rule === undefined ? {} : { rule }), decides: false };
}

function endpointsOf(
  { state, client, destination, exchange, clusters }: Seen,
  dialed: Endpoint | undefined,
  sent: ServicePort | undefined,
  http: HttpAttributes | undefined,
): Served['endpoints'] {
  if (exchange) {
    if (!dialed) return [];
    const cluster = exchange.route.cluster();
    const all = typeof cluster === 'string' ? [] : cluster.endpoints;
    return all.slice(0, endpointsShown).map((endpoint) => ({
      endpoint,
      allowed: exchange.authorization.allowsEndpoint(endpoint, sent),
    }));
  }
  const cluster =
    destination.kind === 'workload'
      ? clusters.ofWorkload(destination.workload, destination.dialed)
      : sent && clusters.ofService(sent.service, sent.port);
  return (cluster?.endpoints ?? []).slice(0, endpointsShown).map((endpoint) => ({
    endpoint,
    allowed: authorizeClient(state.policies.ofEndpoint(endpoint, sent), client, http).allowed,
  }));
}

function viewOf({ state, name, destination, exchange }: Seen, status: number | undefined): WaypointView {
  const asked = servicePortOf(destination);
  const policy = asked && state.policyOf(asked.service, asked.port);
  const matched = exchange?.route.matched;
  const backend = exchange?.route.backend;
  const target = backend?.target;
  return {
    name,
    ...(matched ? { route: matched.label } : {}),
    ...(target
      ? { backend: target.kind === 'service' ? `${target.service}:${target.port}` : target.reason }
      : {}),
    filters: [...(policy?.filters ?? []), ...(matched?.rule.filters ?? []), ...(backend?.filters ?? [])].map(
      filterText,
    ),
    settings: (policy?.origins ?? []).map(({ setting, object }) => ({ setting, object })),
    ...(status === undefined ? {} : { status }),
  };
}

const filterCharsMax = 160;

/** `rewrite hostname=a.example path={"kind":"full",…}`: a filter with the fields that are set. */
function filterText({ $case, value }: RouteFilter): string {
  const fields = Object.entries(value as unknown as Record<string, unknown>).flatMap(([key, one]) => {
    if (one === undefined || one === '' || one === 0 || one === false) return [];
    if (Array.isArray(one) && one.length === 0) return [];
    if (key === 'jwks' || one instanceof Uint8Array) return [];
    return [`${key}=${typeof one === 'object' ? JSON.stringify(one) : String(one as string)}`];
  });
  const name = $case.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  const text = [name, ...fields].join(' ');
  return text.length > filterCharsMax ? `${text.slice(0, filterCharsMax)}…` : text;
}
