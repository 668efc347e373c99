/** An issuer that signs with a new key at once, through the real control plane, which fetches its keys, and a real waypoint. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { jwksLimits } from '../../control/jwks/decide.js';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { underlayNetns } from '../../src/cli/standalone/topology.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { startWaypoint, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';
import { DemoMesh } from '../support/demo-mesh.js';
import { claimsOf, issuerName, jwksOf, newKey, signed, type SigningKey } from '../support/jwt-issuer.js';

const mesh = new DemoMesh('jwt-rotation');
const place: WaypointReplica = { namespace: 'shop', name: 'waypoint', node: 'node-b', workers: 2 };
const vip = 'http://10.96.0.20/';
const port = 8099;
let testbed: Testbed;

const [first, second, third] = [
  newKey('ES256', 'first'),
  newKey('ES256', 'second'),
  newKey('ES256', 'third'),
];
const keysFile = join(mesh.manifests, '..', 'weft-test-jwt-rotation.json');
const publish = (...keys: readonly SigningKey[]): void => writeFileSync(keysFile, jwksOf(...keys));
const fetches = (): number => testbed.log('issuer').split('requested ').length - 1;

async function statusOf(token: string): Promise<number> {
  const args = ['-sS', '-m', '10', '--noproxy', '*', '-o', '/dev/null', '-w', '%{http_code}'];
  const { stdout } = await run('weft-web', 'curl', [...args, '-H', `authorization: Bearer ${token}`, vip]);
  return Number(stdout);
}
/** Far less than the time until the set is fetched anyway. */
const become = (what: string, wanted: number, token: string): Promise<unknown> =>
  until(what, 90_000, async () => (await statusOf(token)) === wanted);

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  publish(first);
  testbed = mesh.create({ controlFlags: ['--jwks-allow-http', '--jwks-allow-cidrs', '0.0.0.0/0'] });
  const { controlIp } = testbed.topology;
  const echo = join(projectRoot, 'dist', 'src', 'cli', 'demo', 'echo.js');
  for (const version of ['v1', 'v2'])
    testbed.start(`echo-${version}`, `weft-echo-${version}`, process.execPath, [echo, version, '8080']);
  await testbed.up();
  const server = join(projectRoot, 'dist', 'test', 'support', 'key-set-server.js');
  testbed.start('issuer', underlayNetns, process.execPath, [server, keysFile, controlIp, String(port)]);
  await until('the issuer serves', 30_000, () => testbed.log('issuer').includes('ready'));
  await startWaypoint(testbed, place);
  mesh.write(
    'users.yaml',
    `apiVersion: weft.dev/v1alpha1
kind: AuthenticationPolicy
metadata: { name: users, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: echo }]
  jwt: { issuers: [{ issuer: '${issuerName}', jwks: { uri: 'http://${controlIp}:${port}/keys' } }] }
`,
  );
  await become('the policy is in force', 401, 'none');
  await become('the first key', 200, signed(first));
});
after(() => mesh.remove());

test('a token of a key that the issuer has just published is valid within seconds, and one of a removed key is not', async () => {
  assert.equal(fetches(), 1);
  assert.equal(await statusOf(signed(second)), 401);
  publish(second);
  await become('the second key', 200, signed(second));
  await become('the first key is gone', 401, signed(first));
});

test('a flood of invented keys costs the issuer one request per interval, and hides no rotation', async () => {
  const [before, beganMs] = [fetches(), performance.now()];
  const flood = async (from: number): Promise<void> => {
    for (let i = 0; i < 100; i++)
      assert.equal(await statusOf(signed(second, claimsOf(), { kid: `invented-${from + i}` })), 401);
  };
  await Promise.all([0, 100, 200, 300].map(flood));
  publish(second, third);
  await become('the third key', 200, signed(third));
  const intervals = Math.ceil((performance.now() - beganMs) / jwksLimits.refetchMs);
  assert.ok(fetches() - before <= 1 + intervals, `${fetches() - before} requests in ${intervals} intervals`);
  assert.equal(await statusOf(signed(second)), 200);
  for (const log of ['control', 'issuer']) assert.ok(!testbed.log(log).includes('invented'), log);
});
