/** Policies by TLS server name, end to end: the policy of docs/policy.md, real TLS clients and servers, and the log of what was refused. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { startWaypoint, waypointProcess, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';
import { examples } from '../support/examples.js';
import { serverCertificate } from '../support/server-certificate.js';

const mesh = new DemoMesh('server-names');
const waypoint: WaypointReplica = { namespace: 'shop', name: 'waypoint', node: 'node-b', workers: 1 };
const names = ['shop.example', 'www.shop.example', 'admin.shop.example', 'other.example'] as const;
type Name = (typeof names)[number];
const certificate = serverCertificate(...names);
const service = '10.96.0.20';
const pod = '10.244.2.60';
let testbed: Testbed;
let caFile: string;

/** Serves every name, also over TLS that it starts with a second ClientHello, and plain HTTP at the other port. */
const server = `const { key, cert } = ${JSON.stringify(certificate)};
const reply = (request, response) => response.end('for ' + request.socket.servername);
require('node:https').createServer({ key, cert, ecdhCurve: 'P-521:P-384' }, reply).listen(8443);
require('node:http').createServer(reply).listen(8080);`;

const policy = examples().find(({ text }) => text.includes('metadata: { name: server-names, '))?.text ?? '';
/** The policy of the page for the pods behind the Service, whose ports are others. */
const ofPods = policy
  .replace(/targetRefs: .*/, 'selector: { matchLabels: { app: echo } }')
  .replaceAll('[443]', '[8443]');

/** What a client reads; empty: the connection was reset. */
async function ask(name: Name, ip = service, port = 443, ...more: string[]): Promise<string> {
  const to = ['--resolve', `${name}:${port}:${ip}`, '--cacert', caFile, '--noproxy', '*'];
  const args = ['-sS', '-m', '10', ...to, ...more, `https://${name}:${port}/`];
  return (await run('weft-web', 'curl', args, 20_000)).stdout;
}
const askAll = (): Promise<string[]> => Promise.all(names.map((name) => ask(name)));
const becomes = (what: string, expected: readonly string[]): Promise<unknown> =>
  until(what, 30_000, async () => (await askAll()).join() === expected.join());
const all = names.map((name) => `for ${name}`);
const allowed = ['for shop.example', 'for www.shop.example', '', ''];
/** Of the waypoint: relayed connections have no line in the access log of requests. */
const log = (): string[] => testbed.log(waypointProcess(waypoint)).split('\n');

before(async () => {
  assert.notEqual(policy, '');
  await mesh.prepare();
  mesh.gateway();
  mesh.replace(
    'echo.yaml',
    'ports: [{ name: http, port: 80',
    'ports: [{ name: secure, port: 443, targetPort: 8443 }, { name: http, port: 80',
  );
  testbed = mesh.create();
  caFile = join(mesh.manifests, 'ca.pem');
  writeFileSync(caFile, certificate.ca);
  for (const name of ['v1', 'v2'])
    testbed.start(`echo-${name}`, `weft-echo-${name}`, process.execPath, ['-e', server]);
  testbed.start('api', 'weft-api', process.execPath, ['-e', server]);
  await testbed.up();
  await startWaypoint(testbed, waypoint);
  for (const name of ['weft-echo-v1', 'weft-echo-v2', 'weft-api']) await listening(name, 8443);
  await becomes('without a policy every name passes', all);
});
after(() => mesh.remove());

for (const [of, text] of [
  ['the Service', policy],
  ['its pods', ofPods],
] as const)
  test(`a policy of ${of} lets allowed server names pass and resets others, and the log says which`, async () => {
    mesh.write('server-names.yaml', text);
    await becomes('the policy is in force', allowed);
    for (const name of ['admin.shop.example', 'other.example'] as const) {
      const why = `no rule of shop/server-names allows it; TLS server name: ${name}`;
      await until(`the log says ${why}`, 20_000, async () => {
        assert.equal(await ask(name), '');
        return log().some((line) => line.includes('WEFT_DENIED') && line.includes(why));
      });
    }
    // TLS 1.2, and a client that has to send a second ClientHello.
    assert.equal(await ask('shop.example', service, 443, '--tls-max', '1.2'), 'for shop.example');
    assert.equal(
      await ask('www.shop.example', service, 443, '--curves', 'P-256:P-384'),
      'for www.shop.example',
    );
    // Plain HTTP to the port, a TLS client without a name, and the pod's own address.
    const plain = ['-sS', '-m', '10', '--noproxy', '*', '-w', '%{http_code}'];
    const { stdout } = await run('weft-web', 'curl', [...plain, `http://${service}:443/`], 20_000);
    assert.match(stdout, /403$/);
    const noName = ['-k', '-sS', '-m', '10', '--noproxy', '*', `https://${service}:443/`];
    assert.equal((await run('weft-web', 'curl', noName, 20_000)).stdout, '');
    for (const name of ['admin.shop.example', 'other.example'] as const)
      assert.equal(await ask(name, pod, 8443), '', name);
    // Rules for other ports are not touched.
    const other = await run('weft-web', 'curl', [...plain, `http://${service}:80/`], 20_000);
    assert.match(other.stdout, /200$/);
    mesh.write('server-names.yaml', '');
    await becomes('without the policy every name passes again', all);
  });

test('in audit mode every name passes, and what would be refused is recorded', async () => {
  mesh.write('server-names.yaml', policy.replace('action: ALLOW', 'action: ALLOW\n  mode: audit'));
  const audited = (): boolean => log().some((line) => line.includes('"audited":["shop/server-names"]'));
  await until('the log has what would be refused', 30_000, async () => {
    assert.equal(await ask('other.example'), 'for other.example');
    return audited();
  });
  assert.deepEqual(await askAll(), all);
  mesh.write('server-names.yaml', '');
});

test('without a waypoint a rule on server names closes', async () => {
  const plain = ['-sS', '-m', '10', '--noproxy', '*', '-o', '/dev/null', '-w', '%{http_code}'];
  const status = async () => (await run('weft-web', 'curl', [...plain, 'http://10.96.0.10/'], 20_000)).stdout;
  assert.equal(await status(), '200');
  mesh.write(
    'server-names.yaml',
    ofPods.replace('app: echo', 'app: api').replace('[8443], sni', '[8080], sni').replace('[8443]', '[8080]'),
  );
  await until('the port of the rule is closed', 30_000, async () => (await status()) === '000');
});
