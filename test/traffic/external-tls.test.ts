/** A waypoint speaks TLS with servers outside of the mesh, by Istio's YAML and by a BackendTLSPolicy, and never plain in its place. */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { startWaypoint, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { createRoot, issueServerCert } from '../../src/tls/issue.js';
import { DemoMesh } from '../support/demo-mesh.js';

const mesh = new DemoMesh('external-tls');
const waypoint: WaypointReplica = { namespace: 'shop', name: 'waypoint', node: 'node-b', workers: 1 };
const rootOf = (name: string) => createRoot(parseTrustDomain(name), 86_400);
/** One that the waypoint has among its public roots, and one that it does not have. */
const [publicRoot, ownRoot] = [rootOf('public.test'), rootOf('own.test')];
const serverOf = (root: ReturnType<typeof rootOf>, port: number): string => {
  const { keyPem, certPem } = issueServerCert({
    caKeyPem: root.keyPem,
    caCertPem: root.certPem,
    dns: ['api.bank.example', 'real.bank.example'],
    ips: [],
    ttlS: 86_400,
  });
  return `require('node:https').createServer(${JSON.stringify({ key: keyPem, cert: certPem })}, (request, response) =>
  response.end('by TLS for ' + request.socket.servername + ' at ${port}')).listen(${port}, '192.0.2.1')`;
};
/** Whatever it is sent, plain or not: a request that reaches it has left the mesh as plaintext. */
const plainServer = `require('node:http').createServer((request, response) => response.end('plain')).listen(80, '192.0.2.1')`;
const entry = (more = '', port = 443): string => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: bank, namespace: shop, labels: { istio.io/use-waypoint: waypoint${more} } }
spec:
  hosts: [api.bank.example]
  ports: [{ number: 80, name: http, protocol: HTTP, targetPort: ${port} }]
  resolution: STATIC
  endpoints: [{ address: 192.0.2.1 }]
`;
const rule = (tls: string, more = ''): string => `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: bank, namespace: shop }
spec:
  host: api.bank.example
  trafficPolicy: { portLevelSettings: [{ port: { number: 80 }, tls: ${tls}${more} }] }
`;
const policy = (hostname: string, names = ''): string => `apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: { name: bank, namespace: shop }
spec:
  targetRefs: [{ group: networking.istio.io, kind: ServiceEntry, name: bank }]
  validation:
    hostname: ${hostname}
    caCertificateRefs: [{ group: '', kind: ConfigMap, name: bank-ca }]
${names}`;
let testbed: Testbed;

/** What a pod of the mesh reads when it asks for a plain URL of the host, at the address that DNS gives. */
async function ask(path = '/', method = 'GET'): Promise<string> {
  const host = ['--resolve', 'api.bank.example:80:192.0.2.1'];
  const args = ['-sS', '-m', '10', '--noproxy', '*', '-X', method, '-w', ' %{http_code}', ...host];
  return (await run('weft-web', 'curl', [...args, `http://api.bank.example${path}`], 20_000)).stdout;
}
const becomes = (what: string, pattern: RegExp): Promise<unknown> =>
  until(what, 30_000, async () => pattern.test(await ask().catch(String)));
const never = /plain/;

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  testbed = mesh.create();
  // The public roots of a program of Node.js.
  const roots = join(mesh.manifests, 'roots.pem');
  writeFileSync(roots, publicRoot.certPem);
  process.env['NODE_EXTRA_CA_CERTS'] = roots;
  await testbed.up();
  for (const node of ['weft-node-a', 'weft-node-b'])
    if (node === 'weft-node-b') await run(node, 'ip', ['addr', 'add', '192.0.2.1/32', 'dev', 'lo']);
    else await run(node, 'ip', ['route', 'add', '192.0.2.1', 'via', '10.88.0.2']);
  testbed.start('public', 'weft-node-b', process.execPath, ['-e', serverOf(publicRoot, 443)]);
  testbed.start('own', 'weft-node-b', process.execPath, ['-e', serverOf(ownRoot, 8443)]);
  testbed.start('plain', 'weft-node-b', process.execPath, ['-e', plainServer]);
  await startWaypoint(testbed, waypoint);
  await becomes('the server is reached as what it is, outside of the mesh', /^plain 200$/);
});
after(() => mesh.remove());

test('mode SIMPLE: the plain request of a client leaves by TLS, with the name of the host and a verified certificate', async () => {
  mesh.write('rule.yaml', rule('{ mode: SIMPLE }'));
  mesh.write('entry.yaml', entry());
  await becomes('TLS by the waypoint', /^by TLS for api\.bank\.example at 443 200$/);
  for (let i = 0; i < 5; i++) assert.equal(await ask(), 'by TLS for api.bank.example at 443 200');
  mesh.write(
    'rule.yaml',
    rule('{ mode: SIMPLE, sni: real.bank.example, subjectAltNames: [api.bank.example] }'),
  );
  await becomes('the server name of the rule', /^by TLS for real\.bank\.example at 443 200$/);
  mesh.write('rule.yaml', rule('{ mode: SIMPLE, subjectAltNames: [other.bank.example] }'));
  await becomes('a certificate without the name is refused', /503$/);
  mesh.write('rule.yaml', rule('{ mode: SIMPLE }'));
  await becomes('the right name is accepted again', / 200$/);
});

test('a certificate of an unknown root is refused, until a BackendTLSPolicy names the root', async () => {
  mesh.write('entry.yaml', entry('', 8443));
  await becomes('its root is not among the public ones', /503$/);
  mesh.write('policy.yaml', policy('api.bank.example'));
  await becomes('without its ConfigMap the port is closed', /50[03]$/);
  mesh.write(
    'ca.yaml',
    `apiVersion: v1
kind: ConfigMap
metadata: { name: bank-ca, namespace: shop }
data: { ca.crt: ${JSON.stringify(ownRoot.certPem)} }
`,
  );
  await becomes('the ConfigMap opens the port', /^by TLS for api\.bank\.example at 8443 200$/);
  const names = (name: string): string => `    subjectAltNames: [{ type: Hostname, hostname: ${name} }]\n`;
  mesh.write('policy.yaml', policy('sni.bank.example', names('other.bank.example')));
  await becomes('a name that the certificate does not have', /503$/);
  mesh.write('policy.yaml', policy('sni.bank.example', names('real.bank.example')));
  await becomes(
    'another server name, and a name of the certificate',
    /^by TLS for sni\.bank\.example at 8443 200$/,
  );
  rmSync(join(mesh.manifests, 'policy.yaml'));
  mesh.write('entry.yaml', entry());
  await becomes('the rule is in force again', /at 443 200$/);
});

test('an AuthorizationPolicy for the ServiceEntry is enforced on requests that leave the mesh', async () => {
  mesh.write(
    'authorization.yaml',
    `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: bank, namespace: shop }
spec:
  targetRefs: [{ kind: ServiceEntry, group: networking.istio.io, name: bank }]
  action: DENY
  rules: [{ to: [{ operation: { methods: [POST] } }] }]
`,
  );
  await until('POST is denied', 30_000, async () => /403$/.test(await ask('/', 'POST')));
  assert.match(await ask(), / 200$/);
  rmSync(join(mesh.manifests, 'authorization.yaml'));
  await until('POST is allowed', 30_000, async () => / 200$/.test(await ask('/', 'POST')));
});

test('a VirtualService routes requests to the host', async () => {
  mesh.write(
    'route.yaml',
    `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: bank, namespace: shop }
spec:
  hosts: [api.bank.example]
  http:
    - match: [{ uri: { prefix: /gone } }]
      directResponse: { status: 410 }
    - timeout: 3s
      route: [{ destination: { host: api.bank.example } }]
`,
  );
  await until('its first rule', 30_000, async () => /410$/.test(await ask('/gone')));
  assert.equal(await ask(), 'by TLS for api.bank.example at 443 200');
  rmSync(join(mesh.manifests, 'route.yaml'));
  await until('it is gone', 30_000, async () => / 200$/.test(await ask('/gone')));
});

test('what the waypoint cannot speak, and a host that loses its waypoint, is closed and never plain', async () => {
  mesh.write('rule.yaml', rule('{ mode: MUTUAL, credentialName: bank }'));
  await becomes('the client certificate is not there', /503$/);
  assert.doesNotMatch(await ask(), never);
  mesh.write('rule.yaml', rule('{ mode: SIMPLE }'));
  await becomes('TLS again', / 200$/);
  mesh.write('entry.yaml', entry().replace('use-waypoint: waypoint', 'use-waypoint: none'));
  await becomes('the connection is refused', /000$/);
  assert.doesNotMatch(await ask(), never);
  mesh.write('entry.yaml', entry());
  await becomes('TLS again', / 200$/);
});
