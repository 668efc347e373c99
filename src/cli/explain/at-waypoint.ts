/**
 * What a waypoint does with one request or connection: the waypoint's own code serves it in memory, up to the point at which it would
 * connect to an endpoint. What the code would ask others (decision services, shared rate limits) counts as allowed, and is named.
 */
import { connect } from 'node:tls';
import { FairLimit } from '../../base/fair-limit.js';
import { formatSocketAddress, type SocketAddress } from '../../model/address.js';
import { workloadIdentityOf, type SpiffeId } from '../../model/identity.js';
import { ClusterManager } from '../../waypoint/cluster/cluster-manager.js';
import { Exchange } from '../../waypoint/exchange/exchange.js';
import { plainlyAllowed } from '../../waypoint/external-authorization/decision.js';
import type {
  AskOptions,
  ExternalAuthorization,
} from '../../waypoint/external-authorization/external-authorization.js';
import type { InjectedFaults } from '../../waypoint/filters/injected-faults.js';
import { JwtTokens } from '../../waypoint/jwt/jwt-tokens.js';
import { defaultLimits } from '../../waypoint/limits.js';
import { clientOf } from '../../waypoint/listener/client.js';
import { serveConnection } from '../../waypoint/listener/connection.js';
import type { Destination } from '../../waypoint/listener/destination.js';
import { destinationOf } from '../../waypoint/listener/tunnel.js';
import type { GlobalLimits } from '../../waypoint/rate-limit/global/global-limits.js';
import { RateLimits } from '../../waypoint/rate-limit/rate-limits.js';
import { Shedding } from '../../waypoint/shedding/shedding.js';
import type { WaypointState } from '../../waypoint/state/waypoint-state.js';
import { ByDestination } from '../../waypoint/worker/by-destination.js';
import type { ActiveRequest, ConnectionContext } from '../../waypoint/worker/context.js';
import { memoryStreams } from './memory-stream.js';
import { httpOf, serverNameOf, type Sent } from './request.js';
import { isWithoutKeys, servedOf, type End, type Served } from './served.js';

export interface Arrival {
  readonly identity: SpiffeId;
  readonly address: SocketAddress;
  readonly authority: SocketAddress;
}

/** Far more than the waypoint needs, also on a slow machine: nothing waits for a network. */
const decideMsMax = 30_000;

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
  request: Sent,
): Promise<Served> {
  const { identity, address, authority } = arrival;
  const client = clientOf(identity, address);
  const destination = destinationOf(state, authority, workloadIdentityOf(identity)?.namespace);
  if (!destination)
    return {
      kind: 'refused',
      code: 'WEFT_NOT_SERVED',
      why: `${formatSocketAddress(authority)} is not served by this waypoint`,
      audited: [],
      policies: [],
      view: { name, readsRequest: false, backends: [], filters: [], settings: [] },
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
    const serverName = serverNameOf(request);
    if (serverName === undefined) {
      near.write(httpOf(request)?.head(hostOf(destination)) ?? Buffer.from([0, 1, 2, 3]));
      near.resume();
    } else
      connect({ socket: near, servername: serverName, rejectUnauthorized: false }).on(
        'error',
        () => undefined,
      );
    const end = await ended;
    const { last: exchange } = exchanges;
    return servedOf({ state, name, client, destination, exchange, serverName, clusters, asked }, end);
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
    ask: ({ target, dryRun }: AskOptions) => {
      if (!dryRun) asked.add(`decision service ${target.service}`);
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
    // In dry run or audit mode the request goes on, without the claims that policies may deny.
    onAction: ({ reason }) => {
      if (isWithoutKeys(reason)) asked.add('a token whose keys are not known here');
    },
    onUpstreamEvent: nothing,
    onRelay: (_client, _destination, endpoint, { refusal }) => {
      if (refusal) finish({ kind: 'relay', why: refusal.why, code: refusal.code, endpoint });
    },
  };
}
