/** Real tunnels on loopback: certificates of one root, HBONE servers and clients in this process. */
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { HboneServer, type InboundTunnel, type Refused } from '../../src/hbone/server.js';
import type { SpiffeId } from '../../src/model/identity.js';
import { assembleSvid } from '../../src/tls/certificate.js';
import { createRoot, issueSvid, type KeyAndCertificate } from '../../src/tls/issue.js';
import { createCsr, parseCsr } from '../../src/tls/csr.js';
import type { Svid } from '../../src/tls/svid.js';
import { domain } from './mesh.js';

/** The CA of all certificates, unless another one is given. */
export const root = createRoot(domain, 86_400);

export function svidOf(id: SpiffeId, ttlS = 3600, ca: KeyAndCertificate = root, nowMs = Date.now()): Svid {
  const { keyPem, csrPem } = createCsr(id);
  const csr = parseCsr(csrPem);
  if (!csr.ok) throw new Error('the request cannot be read');
  const leaf = issueSvid({
    caKeyPem: ca.keyPem,
    caCertPem: ca.certPem,
    csrPublicKeyPem: csr.value.publicKeyPem,
    id,
    ttlS,
    nowMs,
  });
  return assembleSvid(id, keyPem, [leaf, ca.certPem]);
}

interface TestHbone {
  readonly port: number;
  readonly server: HboneServer;
  readonly refused: Refused[];
}

export async function startHbone(
  t: TestContext,
  id: SpiffeId,
  onTunnel: (tunnel: InboundTunnel) => void,
  more: Partial<ConstructorParameters<typeof HboneServer>[0]> = {},
): Promise<TestHbone> {
  const refused: Refused[] = [];
  const server = new HboneServer({
    svid: svidOf(id),
    trustDomain: domain,
    onTunnel,
    onRefused: (one) => refused.push(one),
    ...more,
  });
  const listener = net.createServer({ noDelay: true }, (socket) => server.handle(socket));
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    listener.close();
    server.close();
  });
  return { port: (listener.address() as AddressInfo).port, server, refused };
}

export const connected = (port: number): Promise<net.Socket> =>
  new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true }, () => resolve(socket));
    socket.once('error', reject);
  });
