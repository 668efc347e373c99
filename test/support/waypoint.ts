/** The waypoint's proxy on plain loopback sockets in place of tunnels, between real clients and upstreams. */
import { randomInt } from 'node:crypto';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { FairLimit } from '../../src/base/fair-limit.js';
import { InjectedFaults } from '../../src/waypoint/filters/injected-faults.js';
import { RateLimits } from '../../src/waypoint/rate-limit/rate-limits.js';
import { parseIp } from '../../src/model/address.js';
import type { SpiffeId } from '../../src/model/identity.js';
import type { AuthorizationPolicy } from '../../src/model/policy.js';
import type { Route, RouteBackend, RouteKey, RouteRule } from '../../src/model/route.js';
import type { AppProtocol, WaypointRef } from '../../src/model/workload.js';
import type { StagedFilter } from '../../src/waypoint/filters/filter.js';
import { clientOf } from '../../src/waypoint/listener/client.js';
import { serveConnection } from '../../src/waypoint/listener/connection.js';
import { ByDestination } from '../../src/waypoint/worker/by-destination.js';
import { recheck } from '../../src/waypoint/worker/recheck.js';
import type { ConnectionContext } from '../../src/waypoint/worker/context.js';
import { connect } from '../../src/waypoint/cluster/dial.js';
import { JwtTokens } from '../../src/waypoint/jwt/jwt-tokens.js';
import { Shedding } from '../../src/waypoint/shedding/shedding.js';
import { watchIdle } from '../../src/waypoint/exchange/idle-timeouts.js';
import { defaultLimits, type WaypointLimits } from '../../src/waypoint/limits.js';
import { mirrorBlockBytes } from '../../src/waypoint/upstream/mirror-buffer.js';
import { SharedCounters } from '../../src/waypoint/shared/shared-counters.js';
import type { RequestRecord } from '../../src/waypoint/telemetry/request-record.js';
import type { UpstreamEvent } from '../../src/waypoint/telemetry/upstream-events.js';
import { callService } from '../../src/waypoint/external-authorization/decision-service.js';
import { ExternalAuthorization } from '../../src/waypoint/external-authorization/external-authorization.js';
import type { GlobalLimits } from '../../src/waypoint/rate-limit/global/global-limits.js';
import { WaypointState, type WaypointUpdate } from '../../src/waypoint/state/waypoint-state.js';
import { ClusterManager } from '../../src/waypoint/cluster/cluster-manager.js';
import type { Dial } from '../../src/waypoint/cluster/connection-pool.js';
import type { Destination } from '../../src/waypoint/listener/destination.js';
import { key, service, uid, workload } from './mesh.js';

export { eventually } from './eventually.js';
export { converse, RawClient } from './raw-client.js';
import { recordHealth } from './outliers.js';

export interface WaypointOptions {
  /** Ports of the endpoints of each Service; requests go to the Service `api`. */
  readonly backends: Readonly<Record<string, readonly number[]>>;
  readonly protocol?: AppProtocol;
  readonly routes?: readonly Route[];
  readonly policies?: readonly AuthorizationPolicy[];
  readonly limits?: Partial<WaypointLimits>;
  /** Default: true. */
  readonly mergeSlashes?: boolean;
  readonly trustedProxies?: number;
  readonly identity?: SpiffeId;
  readonly waitingDecisionsMax?: number;
  /** The waypoint's own identity. */
  readonly self?: SpiffeId;
  readonly dial?: (dial: Dial) => Dial;
  /** Clients dial this port of the pod `api-0`, which names the waypoint, in place of the Service `api`. */
  readonly podPort?: number;
  /** Counts that several waypoints of one test share, as the workers of one waypoint do. */
  readonly counters?: SharedCounters;
  readonly globalRateLimits?: GlobalLimits;
  readonly rateLimits?: RateLimits;
  /** Filters of each Service port. */
  readonly filters?: readonly StagedFilter[];
}

export interface TestWaypoint {
  readonly port: number;
  readonly context: ConnectionContext;
  readonly clusters: ClusterManager;
  readonly records: RequestRecord[];
  /** Status and reason for data that could not be parsed as a request. */
  readonly unreadable: string[];
  readonly limitsReached: string[];
  /** Outcome of each mirrored request. */
  readonly mirrored: string[];
  /** URIs of key sets that the control plane would be asked to fetch again. */
  readonly keySetsWanted: string[];
  /** What its clients dial. */
  readonly destination: Destination;
  /** Results of protocol detection. */
  readonly detected: string[];
  /** `<feature> <mode> <policy>` */
  readonly actions: string[];
  readonly upstreamEvents: UpstreamEvent[];
  /** Decision services: `<service>:<port>: <why it does not decide>`, or `decides`. */
  readonly services: string[];
  /** What outlier detection did: `<port of the endpoint> <result> <kind>`, or `<port> returned`. */
  readonly outliers: string[];
  /** Changes of endpoints' health by health checks: `<port of the endpoint> <failure>`, or `<port> healthy`. */
  readonly checked: string[];
  /** Refusal reason of each TCP connection; undefined if it was not refused. */
  readonly relayed: (string | undefined)[];
  /** Policies in audit mode that would have refused TCP connections. */
  readonly audited: string[];
  /** Returns the number of connections and requests that were authorized again. */
  apply(update: WaypointUpdate): number;
}

const keep = <T>(into: T[], value: T): void => {
  if (into.length < 20_000) into.push(value);
};

/** The reference in a Service to the waypoint under test. */
export const selfReference: WaypointRef = { kind: 'hostname', service: key('waypoint'), hbonePort: 15008 };

export function meshOf(
  backends: WaypointOptions['backends'],
  protocol: AppProtocol = 'unknown',
): NonNullable<WaypointUpdate['mesh']> {
  const names = Object.keys(backends);
  const mapping = (targetPort: number) => [{ servicePort: 80, targetPort, appProtocol: protocol }];
  return {
    services: names.map((name, i) =>
      service(name, `10.96.0.${i + 1}`, 8080, { ports: mapping(8080), waypoint: selfReference }),
    ),
    workloads: names.flatMap((name) =>
      (backends[name] ?? []).map((port, i) =>
        workload(`${name}-${i}`, '127.0.0.1', 'node-1', {
          services: new Map([[key(name), mapping(port)]]),
        }),
      ),
    ),
  };
}

export async function startWaypoint(t: TestContext, options: WaypointOptions): Promise<TestWaypoint> {
  const limits = { ...defaultLimits, ...options.limits };
  const state = new WaypointState('node-1', key('waypoint'), options.filters);
  state.apply({
    mesh: { ...meshOf(options.backends, options.protocol), policies: options.policies ?? [] },
    routes: options.routes ?? [],
  });
  const records: RequestRecord[] = [];
  const unreadable: string[] = [];
  const relayed: (string | undefined)[] = [];
  const audited: string[] = [];
  const limitsReached: string[] = [];
  const mirrored: string[] = [];
  const keySetsWanted: string[] = [];
  const detected: string[] = [];
  const actions: string[] = [];
  const upstreamEvents: UpstreamEvent[] = [];
  const services: string[] = [];
  const plain: Dial = ({ target }) => connect(target, limits.connectTimeoutMsMax);
  const dial = options.dial ? options.dial(plain) : plain;
  const onAction: ConnectionContext['onAction'] = ({ feature, mode, policy }) =>
    keep(actions, `${feature} ${mode} ${policy}`);
  const { health, checker, outliers, checked } = recordHealth(dial, limits, onAction, (limit) =>
    keep(limitsReached, limit),
  );
  const clusters = new ClusterManager(
    state,
    dial,
    limits,
    (limit) => keep(limitsReached, limit),
    health,
    options.counters ?? SharedCounters.inMemory(),
  );
  const context: ConnectionContext = {
    state,
    clusters,
    limits,
    mergeSlashes: options.mergeSlashes ?? true,
    trustedProxies: options.trustedProxies ?? 0,
    exchanges: new ByDestination(),
    connections: new ByDestination(),
    connectionShares: new FairLimit(limits.connectionsMax),
    requestShares: new FairLimit(limits.requestsMax),
    globalRateLimits: options.globalRateLimits,
    rateLimits: options.rateLimits ?? RateLimits.inMemory(),
    externalAuthorization: new ExternalAuthorization({
      call: (...of) =>
        callService(context, clientOf(options.self, { ip: parseIp('0.0.0.0'), port: 0 }), ...of),
      ...(options.waitingDecisionsMax === undefined ? {} : { waitingMax: options.waitingDecisionsMax }),
      onLimitReached: (limit) => keep(limitsReached, limit),
      onService: (service, failure) => keep(services, `${service}: ${failure ?? 'decides'}`),
    }),
    faults: new InjectedFaults(),
    shedding: new Shedding(),
    jwt: new JwtTokens((limit) => keep(limitsReached, limit), {
      onUnknownKey: (uri) => keep(keySetsWanted, uri),
    }),
    mirrorShares: new FairLimit(limits.mirrorsMax),
    mirrorBufferShares: new FairLimit(limits.mirrorBuffersBytesMax / mirrorBlockBytes),
    onMirrorEnd: (result) => keep(mirrored, result),
    onRequestEnd: (record) => keep(records, record),
    onLimitReached: (limit) => keep(limitsReached, limit),
    onUpstreamEvent: (event) => keep(upstreamEvents, event),
    onAction,
    onUnreadable: (status, why) => keep(unreadable, `${status} ${why}`),
    onDetected: (result) => keep(detected, result),
    onRelay: (_client, _destination, _endpoint, outcome) => {
      keep(relayed, outcome.refusal?.why);
      for (const one of outcome.audited) keep(audited, one);
    },
  };
  checker.start([]);
  const destination = destinationOf(state, options.podPort);
  const sockets = new Set<net.Socket>();
  // Half-open like tunnels: a client may end its half and wait for the response.
  const server = net.createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    const served = serveConnection(
      context,
      () => socket,
      clientOf(options.identity, {
        ip: parseIp(socket.remoteAddress ?? '127.0.0.1'),
        port: socket.remotePort ?? 0,
      }),
      destination,
    );
    if (!served) socket.destroy();
  });
  const port = await listening(server);
  const endWatch = watchIdle(context.exchanges, 20);
  t.after(() => {
    endWatch();
    server.close();
    for (const socket of sockets) socket.destroy();
    checker.stop();
    clusters.drain();
  });
  return {
    port,
    context,
    clusters,
    records,
    unreadable,
    limitsReached,
    mirrored,
    keySetsWanted,
    detected,
    actions,
    upstreamEvents,
    services,
    outliers,
    checked,
    destination,
    relayed,
    audited,
    apply: (update) => {
      const change = state.apply(update);
      return change ? recheck(context, change) : 0;
    },
  };
}

function destinationOf(state: WaypointState, podPort: number | undefined): Destination {
  const service = state.view.service(key('api'));
  const pod = state.view.workload(uid('api-0'));
  if (podPort !== undefined && pod) {
    const waypoint = { ...pod, waypoint: selfReference };
    state.apply({ mesh: { workloads: [waypoint] } });
    return { kind: 'workload', workload: waypoint, dialed: { ip: parseIp('127.0.0.1'), port: podPort } };
  }
  if (!service) throw new Error('there is no Service api');
  return { kind: 'service', service, port: 80, dialed: { ip: parseIp('10.96.0.1'), port: 80 } };
}

function listening(server: net.Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () =>
      resolve((server.address() as AddressInfo).port),
    );
  });
}

/**
 * A port on which no server listens. It is below the ports that the kernel assigns: a server of another test, which runs at the same time,
 * does not get it.
 */
export async function deadPort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 30_000);
    const server = net.createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

export interface HttpUpstream {
  readonly port: number;
  readonly server: http.Server;
}
export async function httpUpstream(t: TestContext, handler: http.RequestListener): Promise<HttpUpstream> {
  const server = http.createServer({ keepAliveTimeout: 60_000, insecureHTTPParser: false }, handler);
  const port = await listening(server);
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { port, server };
}

export async function http2Upstream(
  t: TestContext,
  handler: (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void,
  options: http2.ServerOptions = {},
): Promise<{ readonly port: number; readonly server: http2.Http2Server }> {
  const server = http2.createServer(options);
  const sessions = new Set<http2.ServerHttp2Session>();
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
  });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined);
    handler(stream, headers);
  });
  const port = await listening(server);
  t.after(() => {
    server.close();
    for (const session of sessions) session.destroy();
  });
  return { port, server };
}

/** An upstream that responds with its name and the received request. */
export const echoHandler =
  (name: string): http.RequestListener =>
  (request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (bytes: Buffer) => parts.push(bytes));
    request.on('end', () => {
      response.setHeader('x-upstream', name);
      response.setHeader('content-type', 'application/json');
      response.end(
        JSON.stringify({
          name,
          method: request.method,
          url: request.url,
          headers: request.headers,
          raw: request.rawHeaders,
          body: Buffer.concat(parts).toString('latin1'),
        }),
      );
    });
  };
export interface EchoedRequest {
  readonly name: string;
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly raw: readonly string[];
  readonly body: string;
}

/** An upstream whose bytes are all written by the test; `serve` gets each connection. */
export async function rawUpstream(t: TestContext, serve: (socket: net.Socket) => void): Promise<number> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
    serve(socket);
  });
  const port = await listening(server);
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return port;
}

/** Responds to each request head with the same bytes. */
export function rawResponder(
  t: TestContext,
  bytes: string,
  more?: (socket: net.Socket) => void,
): Promise<number> {
  return rawUpstream(t, (socket) => {
    let text = '';
    socket.on('data', (part: Buffer) => {
      text += part.toString('latin1');
      while (text.includes('\r\n\r\n')) {
        text = text.slice(text.indexOf('\r\n\r\n') + 4);
        socket.write(bytes, 'latin1');
        more?.(socket);
      }
    });
  });
}

export interface ClientResponse {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly raw: readonly string[];
  readonly body: string;
  readonly trailers: NodeJS.Dict<string>;
}
export interface ClientRequest {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: http.OutgoingHttpHeaders | readonly string[];
  readonly body?: string | Buffer;
  readonly agent?: http.Agent;
}

/** Rejects if the response is incomplete. */
export function ask(
  port: number,
  { method, path, headers, body, agent }: ClientRequest = {},
): Promise<ClientResponse> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      {
        port,
        host: '127.0.0.1',
        method: method ?? 'GET',
        path: path ?? '/',
        headers: { host: 'api.shop', ...(headers as http.OutgoingHttpHeaders) },
        agent: agent ?? false,
      },
      (response) => {
        const parts: Buffer[] = [];
        response.on('data', (bytes: Buffer) => parts.push(bytes));
        response.on('error', reject);
        response.on('end', () => {
          if (!response.complete) return reject(new Error('the response is incomplete'));
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            raw: response.rawHeaders,
            body: Buffer.concat(parts).toString('latin1'),
            trailers: response.trailers,
          });
        });
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}
export const askEcho = async (port: number, asked: ClientRequest = {}): Promise<EchoedRequest> => {
  const { status, body } = await ask(port, asked);
  if (status !== 200) throw new Error(`${status} in place of 200: ${body}`);
  return JSON.parse(body) as EchoedRequest;
};

let age = 1;
export function route(name: string, rules: readonly Partial<RouteRule>[], more: Partial<Route> = {}): Route {
  return {
    key: `HTTPRoute/shop/${name}` as RouteKey,
    kind: 'http',
    namespace: 'shop',
    name,
    createdMs: age++,
    parents: [{ service: key('api') }],
    rules: rules.map((rule) => ({ matches: [], filters: [], backends: [backend('api')], ...rule })),
    ...more,
  };
}
export const backend = (name: string, weight = 1, more: Partial<RouteBackend> = {}): RouteBackend => ({
  target: { kind: 'service', service: key(name), port: 80 },
  weight,
  filters: [],
  ...more,
});
