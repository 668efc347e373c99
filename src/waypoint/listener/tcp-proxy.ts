/**
 * Relays connections of protocols other than HTTP. Policies are evaluated by connection attributes and the server name of TLS: an ALLOW rule on
 * HTTP attributes never matches.
 */
import { relay as relayBytes } from '../../hbone/relay.js';
import { EndpointUse } from '../authorization/endpoint-use.js';
import type { ServicePort } from '../authorization/reachable.js';
import type { Cluster } from '../cluster/cluster.js';
import type { Endpoint } from '../cluster/endpoint.js';
import { chooseBackend } from '../routes/weighted-backend.js';
import type { RelayRefusal } from '../worker/context.js';
import type { ClientConnection } from './client-connection.js';
import { CountedConnection } from './counted-connection.js';
import { watchIdleRelay } from './idle-relay.js';
import { FirstBytes } from './read-hello.js';
import { authorizeRelay, comparesServerNames } from './relay-authorization.js';

const otherEndpointsMax = 2;

/**
 * Relays a connection to an endpoint, authorized by attributes of the connection.
 * @param read bytes that protocol detection has read
 */
export async function proxyTcp(connection: ClientConnection, read?: Buffer): Promise<void> {
  const { context, stream, client, destination } = connection;
  stream.pause();
  const first = new FirstBytes(stream, read ?? Buffer.alloc(0), context.limits.detectTimeoutMsMax);
  let relay: ReturnType<typeof relayBytes> | undefined;
  let current: Target | undefined;
  const use = new EndpointUse(connection);
  connection.handOver({
    // The connection has no requests between which it could end, so a drain waits for its own end.
    drain: () => undefined,
    destroy: () => (relay ? relay.cut('the waypoint ends') : stream.destroy()),
    relay: {
      forbidden: () => current && authorizeRelay(connection, current, first.serverName).refusal?.why,
      cut: (why) => (relay ? relay.cut(why) : stream.destroy(new Error('reset'))),
    },
  });
  const refuse = (refusal: RelayRefusal, endpoint?: Endpoint): void => {
    use.end();
    connection.closed();
    context.onRelay(client, destination, endpoint, { refusal, audited: [] });
    stream.destroy(new Error('reset'));
  };
  const tried = new Set<Endpoint>();
  if (readsHello(connection) && !(await first.read())) return connection.closed();
  for (;;) {
    const target = targetFor(connection, tried, first.sni);
    if (typeof target === 'string') return refuse({ why: target });
    if (!first.wasRead && comparesServerNames(connection, target)) {
      // The client has left, or the connection was drained or destroyed meanwhile.
      if (!(await first.read())) return connection.closed();
      // Endpoints and policies may have changed meanwhile.
      continue;
    }
    current = target;
    const { cluster, endpoint } = target;
    const refusal = authorizeRelay(connection, target, first.serverName).refusal ?? denied(first.checkRest());
    if (refusal) return refuse(refusal, endpoint);
    const counted = new CountedConnection(cluster, endpoint, client, {
      act: (action) => context.onAction(action, endpoint.workload.namespace),
    });
    const full = counted.take();
    if (full !== undefined) return refuse({ why: full, code: 'WEFT_CONNECTIONS_FULL' }, endpoint);
    use.begin(context.state.policies, endpoint, target.sent);
    try {
      const peer = await cluster.dial(endpoint, client);
      // Policies may have changed while the endpoint was dialed, and the recheck may have cut the connection.
      if (stream.destroyed) {
        use.end();
        connection.closed();
        return void peer.destroy();
      }
      const now = authorizeRelay(connection, target, first.serverName);
      if (now.refusal) {
        peer.destroy();
        return refuse(now.refusal, endpoint);
      }
      context.onRelay(client, destination, endpoint, now);
      if (first.bytes.length > 0) peer.write(first.bytes);
      // The client may have sent its bytes and its end during protocol detection: the stream does not emit `end` again.
      if (stream.readableEnded) peer.end();
      relay = relayBytes(stream, peer, first.check);
      const endWatch = watchIdleRelay(connection, relay);
      const { lingered, refused } = await relay.done;
      endWatch();
      const cut = denied(refused);
      if (cut) context.onRelay(client, destination, endpoint, { refusal: cut, audited: [] });
      if (lingered === true) context.onLimitReached('linger');
      use.end();
      connection.closed();
      return;
    } catch (error) {
      tried.add(endpoint);
      if (tried.size > otherEndpointsMax || stream.destroyed)
        return refuse({ why: error instanceof Error ? error.message : 'no connection' }, endpoint);
    } finally {
      counted.release();
    }
  }
}

const denied = (why: string | undefined): RelayRefusal | undefined =>
  why === undefined ? undefined : { why, code: 'WEFT_DENIED' };

interface Target {
  readonly cluster: Cluster;
  readonly endpoint: Endpoint;
  readonly sent: ServicePort | undefined;
}

/** Routes of TLS whose rules are for certain names need the name before an endpoint is chosen. */
function readsHello({ context: { state }, client, destination }: ClientConnection): boolean {
  if (destination.kind !== 'service') return false;
  return state.routingOf(destination.service, destination.port, client)?.readsServerName === true;
}

function targetFor(
  { context: { state, clusters }, client, destination }: ClientConnection,
  tried: ReadonlySet<Endpoint>,
  sni: string,
): Target | string {
  if (destination.kind === 'workload') {
    const cluster = clusters.ofWorkload(destination.workload, destination.dialed);
    const only = cluster.pick({ excluded: { endpoints: tried, mayRepeat: false } });
    return typeof only === 'string'
      ? 'the workload is unreachable'
      : { cluster, endpoint: only, sent: undefined };
  }
  let sent: ServicePort = { service: destination.service.key, port: destination.port };
  const found = state.routingOf(destination.service, destination.port, client);
  const routing = found?.connections ?? found;
  if (routing?.kind === 'tcp' || routing?.kind === 'tls') {
    const headers = [':destination', destination.dialed.ip];
    const matched = routing.match({ method: '', path: '/', authority: sni, scheme: '', headers }, client);
    const target = matched && chooseBackend(matched.rule.backends, Math.random())?.target;
    if (target?.kind !== 'service')
      return target?.reason ?? 'no route rule has a backend for this connection';
    sent = target;
  }
  const cluster = clusters.ofService(sent.service, sent.port);
  if (!cluster) return state.noEndpointsBecause(sent.service, sent.port);
  const hash = cluster.requestHash?.hashOfConnection(client);
  const endpoint = cluster.pick({ excluded: { endpoints: tried, mayRepeat: false }, hash });
  return typeof endpoint === 'string'
    ? `${sent.service} has no usable endpoint`
    : { cluster, endpoint, sent };
}
