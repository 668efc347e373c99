/** A waypoint speaks TLS with the endpoints of a Service inside of the tunnel to them, and never plain in its place. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { startWaypoint, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { createRoot, issueServerCert } from '../../src/tls/issue.js';
import { DemoMesh } from '../support/demo-mesh.js';

const mesh = new DemoMesh('backend-tls');
const waypoint: WaypointReplica = { namespace: 'shop', name: 'waypoint', node: 'node-b', workers: 1 };
const root = createRoot(parseTrustDomain('backend.test'), 86_400);
const own = issueServerCert({
  caKeyPem: root.keyPem,
  caCertPem: root.certPem,
  dns: ['api.internal'],
  ips: [],
  ttlS: 86_400,
});
const server = `require('node:https').createServer(${JSON.stringify({ key: own.keyPem, cert: own.certPem })}, (request, response) =>
  response.end('by TLS for ' + request.socket.servername)).listen(8080, '::')`;
const configMap = `apiVersion: v1
kind: ConfigMap
metadata: { name: api-ca, namespace: shop }
data: { ca.crt: ${JSON.stringify(root.certPem)} }
`;
const policy = (hostname: string): string => `apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: { name: api-tls, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: echo }]
  validation:
    hostname: ${hostname}
    caCertificateRefs: [{ group: '', kind: ConfigMap, name: api-ca }]
`;
let testbed: Testbed;

async function ask(): Promise<string> {
  const args = ['-sS', '-m', '10', '--noproxy', '*', '-w', ' %{http_code}', 'http://10.96.0.20/'];
  return (await run('weft-web', 'curl', args, 20_000)).stdout;
}
const becomes = (what: string, pattern: RegExp): Promise<unknown> =>
  until(what, 30_000, async () => pattern.test(await ask().catch(String)));

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  testbed = mesh.create();
  for (const version of ['v1', 'v2'])
    testbed.start(`echo-${version}`, `weft-echo-${version}`, process.execPath, ['-e', server]);
  await testbed.up();
  await startWaypoint(testbed, waypoint);
});
after(() => mesh.remove());

test('the request goes on by TLS, with the certificates of the ConfigMap; without them the port is closed', async () => {
  mesh.write('policy.yaml', policy('api.internal'));
  await becomes('without its ConfigMap the port is closed', /cannot|50[03]$/);
  mesh.write('ca.yaml', configMap);
  await becomes('the ConfigMap opens the port', /^by TLS for api\.internal 200$/);
  for (let i = 0; i < 5; i++) assert.equal(await ask(), 'by TLS for api.internal 200');
  mesh.write('policy.yaml', policy('other.internal'));
  await becomes('a certificate of another name is refused', /503$/);
  mesh.write('policy.yaml', policy('api.internal'));
  await becomes('the right name is accepted again', / 200$/);
});
