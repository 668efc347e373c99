/** A waypoint shows a client certificate to a server outside of the mesh that demands one, by the YAML of docs/external.md and of Istio. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { parse } from 'yaml';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { adminGet } from '../../src/cli/admin.js';
import { run } from '../../src/cli/run.js';
import {
  accessLogOf,
  clientCertificatesOf,
  startWaypoint,
  waypointNetns,
  waypointProcess,
  type WaypointReplica,
} from '../../src/cli/standalone/waypoint.js';
import { statusOf } from '../../src/cli/status.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { createRoot, issueServerCert, type KeyAndCertificate } from '../../src/tls/issue.js';
import { DemoMesh } from '../support/demo-mesh.js';

const mesh = new DemoMesh('client-certificates');
const waypoint: WaypointReplica = { namespace: 'shop', name: 'waypoint', node: 'node-b', workers: 2 };
const rootOf = (name: string) => createRoot(parseTrustDomain(name), 86_400);
/** The waypoint has it among its public roots. */
const [servers, clients] = [rootOf('public.test'), rootOf('clients.test')];
const issue = (root: KeyAndCertificate, dns: string): KeyAndCertificate =>
  issueServerCert({ caKeyPem: root.keyPem, caCertPem: root.certPem, dns: [dns], ips: [], ttlS: 3_600 });
const own = issue(servers, 'pay.example.com');
const server = `require('node:https').createServer(${JSON.stringify({
  key: own.keyPem,
  cert: own.certPem,
  ca: clients.certPem,
  requestCert: true,
  rejectUnauthorized: true,
})}, (request, response) => response.end('paid by ' + request.socket.getPeerCertificate().subject.CN)).listen(8443, '192.0.2.1')`;

/** The first YAML of the section of the page. */
function example(heading: string): string[] {
  const page = readFileSync(join(projectRoot, 'docs', 'external.md'), 'utf8');
  const section = page.slice(page.indexOf(`\n${heading}\n`));
  const [, yaml = ''] = /```yaml\n([\s\S]*?)```/.exec(section) ?? [];
  assert.notEqual(yaml, '', heading);
  return yaml.split(/^---\n/m);
}
const external = `apiVersion: weft.dev/v1alpha1
kind: ExternalService
metadata: { name: pay, namespace: shop, labels: { weft.dev/waypoint: waypoint } }
spec: { host: pay.example.com, addresses: [198.51.100.1], ports: [{ port: 80, targetPort: 8443, name: http }], endpoints: [{ address: 192.0.2.1 }] }
`;
const entry = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: pay, namespace: shop, labels: { istio.io/use-waypoint: waypoint } }
spec:
  hosts: [pay.example.com]
  addresses: [198.51.100.1]
  ports: [{ number: 80, name: http, protocol: HTTP, targetPort: 8443 }]
  resolution: STATIC
  endpoints: [{ address: 192.0.2.1 }]
`;
const rule = (tls: string): string => `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: pay, namespace: shop }
spec: { host: pay.example.com, trafficPolicy: { tls: ${tls} } }
`;
const [policy = ''] = example('## Client certificates');
let testbed: Testbed;

async function ask(): Promise<string> {
  const host = ['--resolve', 'pay.example.com:80:198.51.100.1'];
  const args = ['-sS', '-m', '10', '--noproxy', '*', '-w', ' %{http_code}', ...host];
  return (await run('weft-web', 'curl', [...args, 'http://pay.example.com/'], 20_000)).stdout;
}
const becomes = (what: string, pattern: RegExp): Promise<unknown> =>
  until(what, 30_000, async () => pattern.test(await ask().catch(String)));

/** Both workers show the certificate: any of them may get a request. */
const isInUse = (name: string): Promise<unknown> =>
  until(`${name} is in use`, 30_000, async () => {
    for (let i = 0; i < 6; i++) if ((await ask()) !== `paid by ${name} 200`) return false;
    return true;
  });

/** Replaces a pair at once, as the kubelet does. */
function put(name: string, { certPem, keyPem }: KeyAndCertificate): void {
  const directory = clientCertificatesOf(testbed, waypoint);
  const next = join(directory, '.next');
  mkdirSync(next, { recursive: true });
  writeFileSync(join(next, 'tls.crt'), certPem);
  writeFileSync(join(next, 'tls.key'), keyPem, { mode: 0o600 });
  rmSync(join(directory, name), { recursive: true, force: true });
  renameSync(next, join(directory, name));
}
const accessLog = (): string => readFileSync(accessLogOf(testbed, waypoint), 'utf8');
const logged = (): string => readFileSync(join(testbed.state, `${waypointProcess(waypoint)}.log`), 'utf8');

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  testbed = mesh.create();
  const roots = join(mesh.manifests, 'roots.pem');
  writeFileSync(roots, servers.certPem);
  process.env['NODE_EXTRA_CA_CERTS'] = roots;
  await testbed.up();
  await run('weft-node-b', 'ip', ['addr', 'add', '192.0.2.1/32', 'dev', 'lo']);
  await run('weft-node-a', 'ip', ['route', 'add', '192.0.2.1', 'via', '10.88.0.2']);
  testbed.start('pay', 'weft-node-b', process.execPath, ['-e', server]);
  await startWaypoint(testbed, waypoint);
});
after(() => mesh.remove());

test('the server refuses a waypoint without a certificate, and with the policy of the page it gets the one of its Secret', async () => {
  mesh.write('pay.yaml', external);
  const { options: _, ...spec } = (parse(policy) as { spec: { options: object } }).spec;
  mesh.write('policy.yaml', JSON.stringify({ ...(parse(policy) as object), spec }));
  await becomes('it is refused without one', /50[0-9]$/);
  mesh.write('policy.yaml', policy);
  await until('the certificate is missing, and the code says so', 30_000, async () => {
    assert.doesNotMatch(await ask(), /paid/);
    return accessLog().includes('WEFT_CLIENT_CERTIFICATE');
  });
  await until('the log says what to do', 30_000, () =>
    /"secret":"shop\/pay-client".*create or correct the Secret/.test(logged()),
  );
  const problems = async (): Promise<readonly string[]> => (await statusOf(mesh.state)).configuration ?? [];
  await until('weft status names the Secret', 30_000, async () =>
    (await problems()).some((one) => one.startsWith('Secret shop/pay-client: waypoint shop/waypoint')),
  );
  const first = issue(clients, 'first');
  put('pay-client', first);
  await isInUse('first');
  assert.deepEqual(
    (await problems()).filter((one) => one.startsWith('Secret')),
    [],
  );
  const dump = await adminGet(waypointNetns(waypoint), 15000, '/dump');
  assert.ok(dump.includes('pay-client'));
  const secret = first.keyPem.split('\n')[1] ?? '';
  for (const text of [dump, logged(), accessLog()]) assert.ok(!text.includes(secret));
});

test('a rotated pair is in use without a restart; a broken one leaves the last good pair in use', async () => {
  put('pay-client', issue(clients, 'second'));
  await isInUse('second');
  put('pay-client', { ...issue(clients, 'third'), keyPem: issue(clients, 'other').keyPem });
  await until('the log says why', 30_000, () => /former one stays in use/.test(logged()));
  for (let i = 0; i < 5; i++) assert.equal(await ask(), 'paid by second 200');
  put('pay-client', issue(clients, 'fourth'));
  await isInUse('fourth');
});

test('a pair that is removed is no longer used, and one of another CA is refused by the server', async () => {
  rmSync(join(clientCertificatesOf(testbed, waypoint), 'pay-client'), { recursive: true });
  await becomes('it is removed', /503$/);
  const used = (): number => logged().split('client certificate in use').length;
  const before = used();
  put('pay-client', issue(rootOf('strangers.test'), 'stranger'));
  await until('it is in use', 30_000, () => used() > before);
  assert.doesNotMatch(await ask(), /paid/);
  put('pay-client', issue(clients, 'fifth'));
  await becomes('the right one', /^paid by fifth 200$/);
});

test("Istio's MUTUAL with credentialName shows the same certificate, and files of a proxy close the port", async () => {
  rmSync(join(mesh.manifests, 'policy.yaml'));
  mesh.write('pay.yaml', entry);
  mesh.write('rule.yaml', rule('{ mode: MUTUAL, credentialName: pay-client }'));
  await becomes('by the rule', /^paid by fifth 200$/);
  mesh.write('rule.yaml', rule('{ mode: SIMPLE }'));
  await becomes('SIMPLE shows none', /50[0-9]$/);
  assert.doesNotMatch(await ask(), /paid/);
  mesh.write('rule.yaml', rule('{ mode: MUTUAL, clientCertificate: /a, privateKey: /b }'));
  await becomes('files are closed', /50[03]$/);
  mesh.write('rule.yaml', rule('{ mode: MUTUAL, credentialName: pay-client }'));
  await becomes('by the rule again', /^paid by fifth 200$/);
});
