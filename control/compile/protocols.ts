/** The application protocol of a Service port, as its author declares it. Pure. */
import { serverFirstPorts } from '../../src/model/server-first-ports.js';
import type { AppProtocol } from '../../src/model/workload.js';

/** Values of `appProtocol` and first words of port names: those of Kubernetes, of Istio and of the IANA service name registry. */
const declared: Readonly<Record<string, AppProtocol>> = {
  http: 'http1',
  'kubernetes.io/ws': 'http1',
  http2: 'http2',
  h2c: 'http2',
  'kubernetes.io/h2c': 'http2',
  grpc: 'grpc',
  tcp: 'tcp',
  tls: 'tls',
  https: 'tls',
  'kubernetes.io/wss': 'tls',
};

/** Names that are matched before the first word is: gRPC-Web runs over HTTP/1.1 or HTTP/2, and its framing differs from gRPC's. */
const wholeNames: Readonly<Record<string, AppProtocol>> = { 'grpc-web': 'http1' };

/**
 * Protocols that are not HTTP. In the first row the server speaks first: waiting for the client's first bytes would never end. In the other
 * rows the client speaks first, but a waypoint does not parse its bytes.
 */
const opaque: ReadonlySet<string> = new Set(
  [
    ['ftp', 'imap', 'irc', 'mysql', 'nntp', 'pop3', 'smtp', 'ssh', 'submission', 'telnet', 'vnc'],
    ['amqp', 'cassandra', 'kafka', 'ldap', 'memcached', 'mongo', 'mongodb', 'mqtt', 'nats', 'postgres'],
    ['postgresql', 'redis', 'zookeeper'],
  ].flat(),
);
/** Such protocols inside of TLS from the first byte on. */
const secured: ReadonlySet<string> = new Set(['ftps', 'imaps', 'ldaps', 'pop3s', 'smtps', 'submissions']);

function protocolOf(name: string): AppProtocol | undefined {
  if (Object.hasOwn(declared, name)) return declared[name];
  return opaque.has(name) ? 'tcp' : secured.has(name) ? 'tls' : undefined;
}

function wholeNameOf(name: string): AppProtocol | undefined {
  const found = Object.entries(wholeNames).find(([whole]) => name === whole || name.startsWith(`${whole}-`));
  return found?.[1];
}

/**
 * The protocol of a port: by `appProtocol`, else by its name or the name's first word, else by its number if servers speak first on it. For
 * `unknown`, also the result of an `appProtocol` that Weft does not know, the protocol is detected by the first bytes.
 */
export function appProtocol(port: {
  readonly name?: string;
  readonly appProtocol?: string;
  readonly port: number;
}): AppProtocol {
  const declaredName = port.appProtocol?.toLowerCase();
  if (declaredName !== undefined && declaredName !== '')
    return wholeNameOf(declaredName) ?? protocolOf(declaredName) ?? 'unknown';
  const name = (port.name ?? '').toLowerCase();
  const named = wholeNameOf(name) ?? protocolOf(name.split('-')[0] ?? '');
  return named ?? (serverFirstPorts.has(port.port) ? 'tcp' : 'unknown');
}
