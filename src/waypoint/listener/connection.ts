/** Chooses the codec or the TCP proxy for a client's connection. */
import type { Duplex } from 'node:stream';
import { serverFirstPorts } from '../../model/server-first-ports.js';
import { Exchange } from '../exchange/exchange.js';
import { Http1ServerConnection } from '../http1/server.js';
import { Http2ServerConnection } from '../http2/server.js';
import { transportOf } from '../http2/transport.js';
import type { ConnectionContext } from '../worker/context.js';
import type { Client } from './client.js';
import { ClientConnection } from './client-connection.js';
import type { Destination } from './destination.js';
import { detect } from './protocol-detection.js';
import { proxyTcp } from './tcp-proxy.js';

/**
 * Serves a client's connection. False: the connection limit, or the client's share of it, is reached; nothing was opened, and the caller
 * refuses the connection.
 * @param open returns the client's stream, which this function owns afterwards
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
  const connection = new ClientConnection(context, stream, client, destination);
  const { state, clusters } = context;
  const declared =
    destination.kind === 'service'
      ? (destination.service.ports.find(({ servicePort }) => servicePort === destination.port)?.appProtocol ??
        'unknown')
      : (clusters.ofWorkload(destination.workload, destination.dialed).endpoints[0]?.protocol ?? 'unknown');
  const routing =
    destination.kind === 'service'
      ? state.routingOf(destination.service, destination.port, client)
      : undefined;
  const kind = routing?.kind;
  const isBytes = declared === 'tcp' || declared === 'tls' || kind === 'tcp' || kind === 'tls';
  if (isBytes || isServerFirst(destination)) {
    void proxyTcp(connection);
    return true;
  }
  const isHttp = declared !== 'unknown' || (routing !== undefined && !routing.connections);
  void detect(stream, isHttp ? context.limits.headTimeoutMsMax : context.limits.detectTimeoutMsMax).then(
    ({ protocol, bytes, isLate }) => {
      // The connection was drained or destroyed meanwhile.
      if (stream.destroyed) return connection.closed();
      context.onDetected(isLate ? 'timeout' : protocol);
      if (protocol === 'http2') return serveHttp2(connection, bytes);
      // A port that is declared as HTTP is parsed as HTTP: the parser refuses other bytes.
      if (protocol === 'http1' || (isHttp && bytes.length > 0)) return serveHttp1(connection, bytes);
      if (!isHttp) return void proxyTcp(connection, bytes);
      connection.closed();
      stream.destroy();
    },
    () => {
      context.onDetected('closed');
      connection.closed();
      stream.destroy();
    },
  );
  return true;
}

/**
 * A workload's own port that no Service declares, where servers are known to speak first. The control plane decides the same for the ports
 * of Services (control/compile/protocols.ts).
 */
function isServerFirst(destination: Destination): boolean {
  if (destination.kind === 'service' || !serverFirstPorts.has(destination.dialed.port)) return false;
  for (const ports of destination.workload.services.values())
    if (ports.some(({ targetPort }) => targetPort === destination.dialed.port)) return false;
  return true;
}

/** Takes the client's share of the connection limit. `ClientConnection` releases it. */
function mayConnect({ connectionShares, onLimitReached }: ConnectionContext, client: Client): boolean {
  const reached = connectionShares.take(client.name, client.group);
  if (reached !== undefined) onLimitReached(reached === 'all' ? 'connections' : 'connections-per-client');
  return reached === undefined;
}

function serveHttp1(connection: ClientConnection, first: Buffer): void {
  const { context, client, destination, stream } = connection;
  const codec = new Http1ServerConnection(stream, {
    limits: context.limits,
    mergeSlashes: context.mergeSlashes,
    onRequest: (request) => new Exchange(context, client, destination, request).start(),
    onRefused: (status, why) => context.onUnreadable(status, why, client),
    onLingerLimit: () => context.onLimitReached('linger'),
    onClosed: connection.closed,
  });
  connection.handOver(codec);
  // In this order: the first bytes may begin a request that pauses the stream.
  stream.resume();
  if (first.length > 0) codec.first(first);
}

function serveHttp2(connection: ClientConnection, first: Buffer): void {
  const { context, client, destination, stream } = connection;
  if (first.length > 0) stream.unshift(first);
  connection.handOver(
    new Http2ServerConnection(transportOf(stream), {
      limits: context.limits,
      mergeSlashes: context.mergeSlashes,
      onRequest: (request) => new Exchange(context, client, destination, request).start(),
      onRefused: (status, why) => context.onUnreadable(status, why, client),
      onFlood: () => context.onLimitReached('http2-flood'),
      onClosed: connection.closed,
    }),
  );
}
