/** What the port of a Service speaks, by what its author says of it. Pure. */
import type { AppProtocol } from '../../src/model/workload.js';

/** Names of `appProtocol`, and first words of port names: Kubernetes' own, Istio's, and those of the IANA registry of services. */
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

/** Read whole, before the first word: a gRPC-Web request is one of HTTP/1.1 or HTTP/2, with another framing than gRPC's. */
const wholeNames: Readonly<Record<string, AppProtocol>> = { 'grpc-web': 'http1' };

/**
 * Protocols that are no HTTP. In the first group the server speaks first, so that waiting for the client's first bytes is waiting in
 * vain; in the second the client does, and what it says is none of a waypoint's business.
 */
const opaque: ReadonlySet<string> = new Set(
  [
    ['ftp', 'imap', 'irc', 'mysql', 'nntp', 'pop3', 'smtp', 'ssh', 'submission', 'telnet', 'vnc'],
    ['amqp', 'cassandra', 'kafka', 'ldap', 'memcached', 'mongo', 'mongodb', 'mqtt', 'nats', 'postgres'],
    ['postgresql', 'redis', 'zookeeper'],
  ].flat(),
);
/** The same under TLS from the first byte on. */
const secured: ReadonlySet<string> = new Set(['ftps', 'imaps', 'ldaps', 'pop3s', 'smtps', 'submissions']);

/**
 * Ports on which the server speaks first, by their number: FTP, SSH, Telnet, SMTP (25, 587), POP3, NNTP, IMAP, MySQL and its cluster
 * replication (Galera). On others whose protocol is no HTTP the client speaks first, and its first bytes say so at once.
 */
const serverFirstPorts: ReadonlySet<number> = new Set([
  21, 22, 23, 25, 110, 119, 143, 587, 3306, 4444, 4567, 4568,
]);

function protocolOf(name: string): AppProtocol | undefined {
  if (Object.hasOwn(declared, name)) return declared[name];
  return opaque.has(name) ? 'tcp' : secured.has(name) ? 'tls' : undefined;
}

function wholeNameOf(name: string): AppProtocol | undefined {
  const found = Object.entries(wholeNames).find(([whole]) => name === whole || name.startsWith(`${whole}-`));
  return found?.[1];
}

/**
 * By `appProtocol`, else by the name or its first word, else by the number where servers are known to speak first on it. `unknown` is
 * found out by the first bytes: so it is where an `appProtocol` is given that Weft does not know.
 */
export function appProtocol(port: {
  readonly name?: string;
  readonly appProtocol?: string;
  readonly port: number;
}): AppProtocol {
  const said = port.appProtocol?.toLowerCase();
  if (said !== undefined && said !== '') return wholeNameOf(said) ?? protocolOf(said) ?? 'unknown';
  const name = (port.name ?? '').toLowerCase();
  const named = wholeNameOf(name) ?? protocolOf(name.split('-')[0] ?? '');
  return named ?? (serverFirstPorts.has(port.port) ? 'tcp' : 'unknown');
}
