/** A fake API server for tests, on loopback over TLS, for the real Kubernetes client. */
import type { RequestListener } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { KubeConfig } from '@kubernetes/client-node';
import { parseIp } from '../../src/model/address.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { createRoot, issueServerCert } from '../../src/tls/issue.js';

const root = createRoot(parseTrustDomain('test'), 3600);
const served = issueServerCert({
  caKeyPem: root.keyPem,
  caCertPem: root.certPem,
  ips: [parseIp('127.0.0.1')],
  dns: [],
  ttlS: 3600,
});

export const createApiServer = (onRequest: RequestListener): https.Server =>
  https.createServer({ key: served.keyPem, cert: served.certPem }, onRequest);

/** Listens on a free port and returns a client configuration for it. */
export async function listen(server: https.Server): Promise<KubeConfig> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const caData = Buffer.from(root.certPem).toString('base64');
  const config = new KubeConfig();
  config.loadFromOptions({
    clusters: [{ name: 'c', server: `https://127.0.0.1:${port}`, caData }],
    users: [{ name: 'u' }],
    contexts: [{ name: 'x', cluster: 'c', user: 'u' }],
    currentContext: 'x',
  });
  return config;
}

/** Closes the server and its open connections. */
export function close(server: https.Server): void {
  server.close();
  server.closeAllConnections();
}
