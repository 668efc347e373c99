/** A client's connection: what it speaks, and who carries it on. */
import type { Duplex } from 'node:stream';
import { carry } from '../hbone/carry.js';
import { authorize } from '../policy/authorize.js';
import { chooseBackend, chooseEndpoint, connectFailed, connectSucceeded } from './balance.js';
import type { Client } from './client.js';
import { Exchange, type Destination, type ProxyContext } from './exchange.js';
import { judge } from './judge.js';
import { Http1ServerConnection } from './http1/server.js';
import { Http2ServerConnection } from './http2/server.js';
import { detect } from './protocol.js';
import type { Endpoint } from './state.js';
import type { Dial } from './upstream/pool.js';

export interface ServedConnection {
  /** No more requests on it than those under way. */
  drain(): void;
  destroy(): void;
  /** After a change of policies: ends what is now forbidden. */
  recheck?(): void;
}

export interface ConnectionContext extends ProxyContext {
  readonly dial: Dial;
  readonly connections: Set<ServedConnection>;
  unreadable(status: number, why: string, client: Client): void;
  /** A connection whose bytes were carried as they are, or refused. */
  carried(
    client: Client,
    destination: Destination,
    endpoint: Endpoint | undefined,
    refused: string | undefined,
  ): void;
}

/** After a change of policies: what is under way and now forbidden ends, requests and bytes alike. */
export function recheckAll({ connections, exchanges }: ConnectionContext): void {
  for (const connection of [...connections]) connection.recheck?.();
  for (const exchange of exchanges) exchange.recheck();
}

/** Owns the stream from here on. */
export function serveConnection(
  context: ConnectionContext,
  stream: Duplex,
  client: Client,
  destination: Destination,
): void {
  stream.on('error', () => undefined);
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
  if (declared === 'tcp' || declared === 'tls' || routing === 'tcp' || routing === 'tls')
    return void passThrough(context, stream, client, destination);
  const isHttp = declared !== 'unknown' || routing !== undefined;
  void detect(stream, isHttp ? context.limits.headTimeoutMsMax : context.limits.detectTimeoutMsMax).then(
    ({ protocol, bytes }) => {
      if (stream.destroyed) return;
      if (protocol === 'http2') return serveHttp2(context, stream, bytes, client, destination);
      // Declared as HTTP it is read as HTTP, and refused by the reader where it is none.
      if (protocol === 'http1' || (isHttp && bytes.length > 0))
        return serveHttp1(context, stream, bytes, client, destination);
      if (isHttp) return stream.destroy();
      void passThrough(context, stream, client, destination, bytes);
    },
    () => stream.destroy(),
  );
}

/** With a plain port and nothing to detect, for those who know what is spoken: HTTP/1. */
export function serveHttp1(
  context: ConnectionContext,
  stream: Duplex,
  first: Buffer,
  client: Client,
  destination: Destination,
): void {
  const connection = new Http1ServerConnection(stream, {
    limits: context.limits,
    onRequest: (request) => new Exchange(context, client, destination, request).start(),
    onRefused: (status, why) => context.unreadable(status, why, client),
    onClosed: () => context.connections.delete(connection),
  });
  context.connections.add(connection);
  if (first.length > 0) connection.first(first);
  stream.resume();
}

function serveHttp2(
  context: ConnectionContext,
  stream: Duplex,
  first: Buffer,
  client: Client,
  destination: Destination,
): void {
  if (first.length > 0) stream.unshift(first);
  const connection = new Http2ServerConnection(stream, {
    limits: context.limits,
    onRequest: (request) => new Exchange(context, client, destination, request).start(),
    onRefused: (status, why) => context.unreadable(status, why, client),
    onClosed: () => context.connections.delete(connection),
  });
  context.connections.add(connection);
}

const otherEndpointsMax = 2;

/** Bytes as they are: of a protocol that is not HTTP. L4 policy is judged; what asks for more of a request allows nothing. */
async function passThrough(
  context: ConnectionContext,
  stream: Duplex,
  client: Client,
  destination: Destination,
  first?: Buffer,
): Promise<void> {
  stream.pause();
  let carried: ReturnType<typeof carry> | undefined;
  const live: ServedConnection = {
    // Such a connection has no end between two requests: it drains with its own.
    drain: () => undefined,
    destroy: () => (carried ? carried.cut('the waypoint ends') : stream.destroy()),
  };
  context.connections.add(live);
  const refuse = (why: string, endpoint?: Endpoint): void => {
    context.connections.delete(live);
    context.carried(client, destination, endpoint, why);
    stream.destroy(new Error('reset'));
  };
  const tried = new Set<Endpoint>();
  for (;;) {
    const endpoint = endpointFor(context, client, destination, tried);
    if (typeof endpoint === 'string') return refuse(endpoint);
    const why = forbidden(context, client, destination, endpoint);
    if (why !== undefined) return refuse(why, endpoint);
    try {
      const peer = await context.dial(endpoint, client);
      connectSucceeded(endpoint);
      if (stream.destroyed) {
        context.connections.delete(live);
        return void peer.destroy();
      }
      endpoint.active++;
      context.carried(client, destination, endpoint, undefined);
      if (first && first.length > 0) peer.write(first);
      // A short word and the client's end may both have come while it was looked at: nobody tells of that end again.
      if (stream.readableEnded) peer.end();
      carried = carry(stream, peer);
      live.recheck = () => {
        const now = forbidden(context, client, destination, endpoint);
        if (now !== undefined) carried?.cut(now);
      };
      // Policies may have changed while it was dialled.
      live.recheck();
      await carried.done;
      endpoint.active--;
      context.connections.delete(live);
      return;
    } catch (error) {
      connectFailed(endpoint, Date.now());
      tried.add(endpoint);
      if (tried.size > otherEndpointsMax || stream.destroyed)
        return refuse(error instanceof Error ? error.message : 'no connection', endpoint);
    }
  }
}

/** Why bytes may not go there: by the Service's policies, and by all of the endpoint's. */
function forbidden(
  { state }: ConnectionContext,
  client: Client,
  destination: Destination,
  endpoint: Endpoint,
): string | undefined {
  const asked =
    destination.kind === 'service'
      ? authorize(state.policiesForService(destination.service), {
          identity: client.identity,
          sourceIp: client.address.ip,
          destinationIp: destination.dialled.ip,
          destinationPort: destination.port,
        })
      : undefined;
  const verdict = asked?.allowed === false ? asked : judge(state, client, endpoint, undefined);
  return verdict.allowed ? undefined : `policy ${verdict.policy} does not allow it`;
}

function endpointFor(
  context: ConnectionContext,
  client: Client,
  destination: Destination,
  tried: ReadonlySet<Endpoint>,
): Endpoint | string {
  const { state } = context;
  if (destination.kind === 'workload') {
    const only = state.endpointAt(destination.workload, destination.dialled);
    return tried.has(only) ? 'the workload cannot be reached' : only;
  }
  let service = destination.service.key;
  let { port } = destination;
  const routing = state.routing(destination.service, port, client.namespace);
  if (routing?.kind === 'tcp' || routing?.kind === 'tls') {
    const matched = routing.match({ method: '', path: '/', authority: '', scheme: '', headers: [] });
    const target = matched && chooseBackend(matched.rule.backends, Math.random())?.target;
    if (target?.kind !== 'service') return target?.reason ?? 'no rule of the routes takes connections';
    ({ service, port } = target);
  }
  const endpoints = state.endpoints(service, port);
  if (!endpoints) return `no Service ${service} with port ${port} is known`;
  return (
    chooseEndpoint(endpoints, tried, Date.now(), Math.random) ??
    `${service} has no endpoint that takes connections`
  );
}
