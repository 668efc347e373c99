/**
 * The two ends of a proxy with secured connections. The client's end accepts plaintext connections and secures them. The server's end
 * accepts secured connections and relays them to the backends. All proxies have the same ends. A bench program.
 *
 *   node dist/bench/waypoint/ends.js CONFIG.json
 */
import { readFileSync } from 'node:fs';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { errorText } from '../../src/base/errors.js';
import { relay } from '../../src/hbone/relay.js';
import { TunnelPool } from '../../src/hbone/pool.js';
import { HboneServer } from '../../src/hbone/server.js';
import { formatSocketAddress, type SocketAddress } from '../../src/model/address.js';
import { checkClientPeer, checkServerPeer, contextOptions } from '../../src/tls/contexts.js';
import type { Svid } from '../../src/tls/svid.js';
import { connect } from '../../src/waypoint/cluster/dial.js';
import { trustDomain } from './identities.js';

/** `hbone`: CONNECT over HTTP/2 over mutual TLS, many tunnels on one connection. `tls`: mutual TLS, a connection for each. */
export type Wire = 'hbone' | 'tls';

export type EndConfig =
  | {
      readonly side: 'client';
      readonly wire: Wire;
      readonly svid: Svid;
      readonly listen: SocketAddress;
      /** Destination of the secured connections; `expected` is its identity. */
      readonly destination: SocketAddress;
      readonly expected: Svid['id'];
      /** hbone: destination of the tunnel. */
      readonly authority: SocketAddress;
    }
  | {
      readonly side: 'server';
      readonly wire: Wire;
      readonly svid: Svid;
      /** `backend`: its port of 127.0.0.1; the only one that tunnels to this address lead to. */
      readonly listens: readonly { readonly listen: SocketAddress; readonly backend: SocketAddress }[];
    };

const connectTimeoutMs = 5_000;
const refused = (why: unknown): void =>
  console.error(`refused: ${typeof why === 'string' ? why : errorText(why)}`);
// All proxies use the same cipher suite.
const optionsOf = (svid: Svid): tls.SecureContextOptions => ({
  ...contextOptions(svid),
  ciphers: 'TLS_AES_256_GCM_SHA384',
});

/** relay() resets sockets. TLS sockets cannot be reset, so they are closed. */
function tunnelSocket(socket: tls.TLSSocket): tls.TLSSocket {
  socket.resetAndDestroy = () => socket.destroy();
  return socket;
}

type ClientEnd = Extract<EndConfig, { side: 'client' }>;
type ServerEnd = Extract<EndConfig, { side: 'server' }>;

function opener({ wire, svid, destination, expected, authority }: ClientEnd): () => Promise<Duplex> {
  if (wire === 'hbone') {
    const pool = new TunnelPool();
    return async () =>
      (
        await pool.open({
          svid,
          expected: [expected],
          destination,
          authority: formatSocketAddress(authority),
          source: 'client',
          headers: {},
          connect: () => connect(destination, connectTimeoutMs),
        })
      ).stream;
  }
  const secureContext = tls.createSecureContext(optionsOf(svid));
  return async () => {
    const socket = tls.connect({
      socket: await connect(destination, connectTimeoutMs),
      secureContext,
      checkServerIdentity: (_host, certificate) => {
        const check = checkServerPeer(certificate.subjectaltname, [expected]);
        return check.ok ? undefined : new Error(check.reason);
      },
    });
    await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
    return tunnelSocket(socket);
  };
}

function runClientEnd(config: ClientEnd): void {
  const open = opener(config);
  const { ip, port } = config.listen;
  net
    .createServer({ noDelay: true, pauseOnConnect: true }, (socket) => {
      socket.on('error', () => undefined);
      open().then(
        (peer) => relay(socket, peer),
        (error: unknown) => {
          refused(error);
          socket.destroy();
        },
      );
    })
    .listen(port, ip);
}

async function toBackend(peer: Duplex, backend: SocketAddress): Promise<void> {
  peer.on('error', () => undefined);
  try {
    relay(await connect(backend, connectTimeoutMs), peer);
  } catch (error) {
    refused(error);
    peer.destroy();
  }
}

function runServerEnd({ wire, svid, listens }: ServerEnd): void {
  for (const { listen, backend } of listens) {
    if (wire === 'hbone') {
      const server = new HboneServer({
        svid,
        trustDomain,
        onTunnel: (tunnel) => {
          if (tunnel.authority.port === backend.port) void toBackend(tunnel.accept(), backend);
          else tunnel.refuse(404);
        },
        onRefused: ({ code, reason: why }) => refused(`${code} ${why}`),
      });
      net.createServer({ noDelay: true }, (socket) => server.handle(socket)).listen(listen.port, listen.ip);
      continue;
    }
    tls
      .createServer(
        { ...optionsOf(svid), requestCert: true, rejectUnauthorized: true, noDelay: true },
        (socket) => {
          const check = checkClientPeer(socket.getPeerCertificate().subjectaltname, trustDomain);
          if (check.ok) return void toBackend(tunnelSocket(socket), backend);
          refused(check.reason);
          socket.destroy();
        },
      )
      .on('tlsClientError', refused)
      .listen(listen.port, listen.ip);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const config = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as EndConfig;
  process.on('SIGTERM', () => process.exit(0));
  if (config.side === 'client') runClientEnd(config);
  else runServerEnd(config);
}
