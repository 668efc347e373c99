/** A client's connection: what it speaks, and who carries it on. */
import { performance } from 'node:perf_hooks';
import type { Duplex } from 'node:stream';
import type { FairLimit } from '../base/fair-limit.js';
import { relay } from '../hbone/relay.js';
import { denialReason } from '../policy/authorize.js';
import type { MeshChange } from '../state/change.js';
import { chooseBackend, chooseEndpoint } from './balance.js';
import type { Client } from './client.js';
import { notServed, sentOf, unknownService, type Destination } from './destination.js';
import { Exchange, type ProxyContext } from './exchange.js';
import { judge } from './judge.js';
import { Http1ServerConnection } from './http1/server.js';
import { Http2ServerConnection } from './http2/server.js';
import type { Sent } from './policy-groups.js';
import { detect } from './protocol.js';
import type { Endpoint } from './state.js';
import { Touched } from './touched.js';

export interface ServedConnection {
  /** No more requests on it than those under way. */
  drain(): void;
  destroy(): void;
  isTouched(touched: Touched): boolean;
  /** After a change of the mesh: ends what is now forbidden. */
  recheck(): void;
}

export interface ConnectionContext extends ProxyContext {
  readonly connections: Set<ServedConnection>;
  readonly connectionShares: FairLimit;
  unreadable(status: number, why: string, client: Client): void;
  /** A connection whose bytes were carried as they are, or refused. */
  carried(
    client: Client,
    destination: Destination,
    endpoint: Endpoint | undefined,
    refused: string | undefined,
  ): void;
}

/**
 * After an update of the mesh: what is under way and now forbidden ends, requests and bytes alike. What the update does not touch is
 * not looked at. Returns how many were decided again.
 */
export function recheckAll({ state, connections, exchanges }: ConnectionContext, change: MeshChange): number {
  const touched = new Touched(state, change);
  let rechecked = 0;
  for (const list of [connections, exchanges]) {
    for (const one of [...list]) {
      if (!one.isTouched(touched)) continue;
      rechecked++;
      one.recheck();
    }
  }
  return rechecked;
}

/** What a connection has become once it is known what is spoken on it. */
interface Speaking {
  drain(): void;
  destroy(): void;
  /** Bytes that are carried as they are: where to, and their end. */
  readonly carried?: {
    isTouched(touched: Touched): boolean;
    /** Why it may not go on. */
    forbidden(): string | undefined;
    cut(why: string): void;
  };
}

/** A client's connection from its first moment: counted, drained and ended also while nobody knows yet what it speaks. */
class Served implements ServedConnection {
  #speaking: Speaking | undefined;
  #draining = false;
  #closed = false;

  constructor(
    readonly context: ConnectionContext,
    readonly stream: Duplex,
    readonly client: Client,
    readonly destination: Destination,
  ) {
    context.connections.add(this);
  }

  speaks(speaking: Speaking): void {
    this.#speaking = speaking;
    if (this.#draining) speaking.drain();
  }

  /** Once, whatever it was. */
  readonly closed = (): void => {
    if (this.#closed) return;
    this.#closed = true;
    this.context.connections.delete(this);
    this.context.connectionShares.release(this.client.name, this.client.group);
  };

  drain(): void {
    this.#draining = true;
    this.#speaking?.drain();
  }

  destroy(): void {
    if (this.#speaking) this.#speaking.destroy();
    else this.stream.destroy();
  }

  isTouched(touched: Touched): boolean {
    return touched.destination(this.destination) || this.#speaking?.carried?.isTouched(touched) === true;
  }

  recheck(): void {
    const lost = notServed(this.context.state, this.destination);
    const carried = this.#speaking?.carried;
    if (carried) {
      const why = lost ?? carried.forbidden();
      if (why !== undefined) carried.cut(why);
      return;
    }
    if (lost === undefined) return;
    // Requests under way end each by itself, those that follow are refused.
    if (this.#speaking) this.drain();
    else this.destroy();
  }
}

/**
 * `open` gives the client's stream, which is owned from here on. False: the client's share of connections, or all there may be, are in
 * use; nothing was opened, and the caller refuses it.
 */
export function serveConnection(
  context: ConnectionContext,
  open: () => Duplex,
  client: Client,
  destination: Destination,
): boolean {
  if (!mayConnect(context, client)) return false;
  const stream = open();
  stream.on('error', () => undefined);
  const served = new Served(context, stream, client, destination);
  const { state } = context;
  const declared =
    destination.kind === 'service'
      ? (destination.service.ports.find(({ servicePort }) => servicePort === destination.port)?.appProtocol ??
        'unknown')
      : state.endpointAt(destination.workload, destination.dialled).protocol;
  const routing =
    destination.kind === 'service'
      ? state.routing(destination.service, destination.port, client.namespace)?.kind
      : undefined;
  if (declared === 'tcp' || declared === 'tls' || routing === 'tcp' || routing === 'tls') {
    void passThrough(served);
    return true;
  }
  const isHttp = declared !== 'unknown' || routing !== undefined;
  void detect(stream, isHttp ? context.limits.headTimeoutMsMax : context.limits.detectTimeoutMsMax).then(
    ({ protocol, bytes }) => {
      if (stream.destroyed) return served.closed();
      if (protocol === 'http2') return serveHttp2(served, bytes);
      // Declared as HTTP it is read as HTTP, and refused by the reader where it is none.
      if (protocol === 'http1' || (isHttp && bytes.length > 0)) return serveHttp1(served, bytes);
      if (isHttp) {
        served.closed();
        return void stream.destroy();
      }
      void passThrough(served, bytes);
    },
    () => {
      served.closed();
      stream.destroy();
    },
  );
  return true;
}

/** Takes the client's place among the connections, which `Served` releases. */
function mayConnect({ connectionShares, limitReached }: ConnectionContext, client: Client): boolean {
  const reached = connectionShares.take(client.name, client.group);
  if (reached !== undefined) limitReached(reached === 'all' ? 'connections' : 'connections-per-client');
  return reached === undefined;
}

function serveHttp1(served: Served, first: Buffer): void {
  const { context, client, destination, stream } = served;
  const connection = new Http1ServerConnection(stream, {
    limits: context.limits,
    mergeSlashes: context.mergeSlashes,
    onRequest: (request) => new Exchange(context, client, destination, request).start(),
    onRefused: (status, why) => context.unreadable(status, why, client),
    onLingerLimit: () => context.limitReached('linger'),
    onClosed: served.closed,
  });
  served.speaks(connection);
  if (first.length > 0) connection.first(first);
  stream.resume();
}

function serveHttp2(served: Served, first: Buffer): void {
  const { context, client, destination, stream } = served;
  if (first.length > 0) stream.unshift(first);
  served.speaks(
    new Http2ServerConnection(stream, {
      limits: context.limits,
      mergeSlashes: context.mergeSlashes,
      onRequest: (request) => new Exchange(context, client, destination, request).start(),
      onRefused: (status, why) => context.unreadable(status, why, client),
      onClosed: served.closed,
    }),
  );
}

const otherEndpointsMax = 2;

/** Bytes as they are: of a protocol that is not HTTP. L4 policy is judged; what asks for more of a request allows nothing. */
async function passThrough(served: Served, first?: Buffer): Promise<void> {
  const { context, stream, client, destination } = served;
  stream.pause();
  let carried: ReturnType<typeof relay> | undefined;
  let at: Target | undefined;
  served.speaks({
    // Such a connection has no end between two requests: it drains with its own.
    drain: () => undefined,
    destroy: () => (carried ? carried.cut('the waypoint ends') : stream.destroy()),
    carried: {
      isTouched: (touched) => at !== undefined && touched.endpoint(at.endpoint, at.sent),
      forbidden: () => at && forbidden(served, at),
      cut: (why) => (carried ? carried.cut(why) : stream.destroy(new Error('reset'))),
    },
  });
  const refuse = (why: string, endpoint?: Endpoint): void => {
    served.closed();
    context.carried(client, destination, endpoint, why);
    stream.destroy(new Error('reset'));
  };
  const tried = new Set<Endpoint>();
  for (;;) {
    const target = targetFor(served, tried);
    if (typeof target === 'string') return refuse(target);
    at = target;
    const { endpoint } = target;
    const why = forbidden(served, target);
    if (why !== undefined) return refuse(why, endpoint);
    try {
      const peer = await context.pool.dial(endpoint, client);
      // Policies may have changed while it was dialled, and cut it.
      if (stream.destroyed) {
        served.closed();
        return void peer.destroy();
      }
      const now = forbidden(served, target);
      if (now !== undefined) {
        peer.destroy();
        return refuse(now, endpoint);
      }
      endpoint.active++;
      context.carried(client, destination, endpoint, undefined);
      if (first && first.length > 0) peer.write(first);
      // A short word and the client's end may both have come while it was looked at: nobody tells of that end again.
      if (stream.readableEnded) peer.end();
      carried = relay(stream, peer);
      const { lingered } = await carried.done;
      if (lingered === true) context.limitReached('linger');
      endpoint.active--;
      served.closed();
      return;
    } catch (error) {
      tried.add(endpoint);
      if (tried.size > otherEndpointsMax || stream.destroyed)
        return refuse(error instanceof Error ? error.message : 'no connection', endpoint);
    }
  }
}

interface Target {
  readonly endpoint: Endpoint;
  readonly sent: Sent | undefined;
}

/** Why bytes may not go there: by the policies of the Service that was asked, of the one that they are sent to, and of the endpoint. */
function forbidden(
  { context: { state }, client, destination }: Served,
  { endpoint, sent }: Target,
): string | undefined {
  const lost = notServed(state, destination) ?? unknownService(state, sent);
  if (lost !== undefined) return lost;
  const asked = sentOf(destination);
  const { policies } = state;
  for (const groups of [
    asked ? policies.ofAsked(asked, destination.dialled.ip) : [],
    policies.ofEndpoint(endpoint, sent),
  ]) {
    const verdict = judge(groups, client, undefined);
    if (!verdict.allowed) return denialReason(verdict);
  }
  return undefined;
}

function targetFor(
  { context: { state }, client, destination }: Served,
  tried: ReadonlySet<Endpoint>,
): Target | string {
  if (destination.kind === 'workload') {
    const only = state.endpointAt(destination.workload, destination.dialled);
    return tried.has(only) ? 'the workload cannot be reached' : { endpoint: only, sent: undefined };
  }
  let sent: Sent = { service: destination.service.key, port: destination.port };
  const routing = state.routing(destination.service, destination.port, client.namespace);
  if (routing?.kind === 'tcp' || routing?.kind === 'tls') {
    const matched = routing.match({ method: '', path: '/', authority: '', scheme: '', headers: [] });
    const target = matched && chooseBackend(matched.rule.backends, Math.random())?.target;
    if (target?.kind !== 'service') return target?.reason ?? 'no rule of the routes takes connections';
    sent = target;
  }
  const endpoints = state.endpoints(sent.service, sent.port);
  if (!endpoints) return `no Service ${sent.service} with port ${sent.port} is known`;
  const endpoint = chooseEndpoint(
    endpoints,
    { endpoints: tried, mayRepeat: false },
    performance.now(),
    Math.random,
  );
  return endpoint ? { endpoint, sent } : `${sent.service} has no endpoint that takes connections`;
}
