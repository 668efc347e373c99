/** Tokens through the real control plane and a real waypoint: who may call the Service, by any of its addresses, as keys and policies change. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { accessLogOf, startWaypoint, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';
import { DemoMesh } from '../support/demo-mesh.js';
import {
  claimsOf,
  inSeconds,
  issuerName,
  jwksOf,
  newKey,
  signed,
  type SigningKey,
} from '../support/jwt-issuer.js';

const mesh = new DemoMesh('jwt');
const place: WaypointReplica = {
  namespace: 'shop',
  name: 'waypoint',
  node: 'node-b',
  workers: 1,
  flags: ['--access-log-mode', 'all'],
};
const vip = 'http://10.96.0.20/';
const side = 'http://10.96.0.29/';
/** Another Service with the same pods and the same waypoint, one without a waypoint, and a pod. */
const version = 'http://10.96.0.21/';
const pod = 'http://10.244.2.60:8080/';
let testbed: Testbed;

const [first, second] = [newKey('ES256', 'first'), newKey('RS256', 'second')];

/** The policy of the Service `echo`. */
const policy = (keys: readonly SigningKey[], more = ''): string => `apiVersion: weft.dev/v1alpha1
kind: AuthenticationPolicy
metadata: { name: users, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: echo }]
  jwt:
    issuers:
      - issuer: ${issuerName}
        audiences: [shop]
        jwks: { inline: '${jwksOf(...keys)}' }
        claimHeaders: [{ header: x-user, claim: [sub] }]
        from: [{ header: { name: authorization, prefix: 'Bearer ' } }, { query: access_token }]
    ${more}
`;
const users = (from: string): string => `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: users, namespace: shop }
spec:
  selector: { matchLabels: { app: echo } }
  action: ALLOW
  rules: [{ from: [{ jwt: ${from} }] }]
`;

interface Answer {
  readonly status: number;
  readonly body: string;
}
async function ask(url: string, token?: string, ...more: string[]): Promise<Answer> {
  const args = ['-sS', '-m', '10', '--noproxy', '*', '-w', '\n%{http_code}', ...more];
  if (token !== undefined) args.push('-H', `authorization: Bearer ${token}`);
  const { stdout } = await run('weft-web', 'curl', [...args, url], 20_000);
  const at = stdout.lastIndexOf('\n');
  return { status: Number(stdout.slice(at + 1)), body: stdout.slice(0, at) };
}
const status = async (url: string, token?: string): Promise<number> => (await ask(url, token)).status;
const become = (what: string, wanted: number, token?: string, url = vip): Promise<unknown> =>
  until(what, 30_000, async () => (await status(url, token)) === wanted);

/** A response that goes on until it is cut. */
function drip(token?: string): { bytes(): number; hasEnded(): boolean } {
  const auth = token === undefined ? [] : ['-H', `authorization: Bearer ${token}`];
  const args = ['--net=/run/netns/weft-web', '--', 'curl', '-sSN', '--noproxy', '*', ...auth, `${vip}drip`];
  const child = spawn('nsenter', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let bytes = 0;
  child.stdout.on('data', (chunk: Buffer) => (bytes += chunk.length));
  return { bytes: () => bytes, hasEnded: () => child.exitCode !== null };
}

const logLines = (): Record<string, unknown>[] =>
  readFileSync(accessLogOf(testbed, place), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  mesh.write(
    'side.yaml',
    `kind: Service
metadata: { name: echo-side, namespace: shop }
spec: { selector: { app: echo }, clusterIPs: [10.96.0.29], ports: [{ port: 80, targetPort: 8080 }] }
`,
  );
  testbed = mesh.create();
  const echo = join(projectRoot, 'dist', 'src', 'cli', 'demo', 'echo.js');
  for (const version of ['v1', 'v2'])
    testbed.start(`echo-${version}`, `weft-echo-${version}`, process.execPath, [echo, version, '8080']);
  await testbed.up();
  await startWaypoint(testbed, place);
  await become('no policy', 200);
});
after(() => mesh.remove());

test('only requests with a valid token reach the pods, by whatever address; the endpoint gets the user and not the token', async () => {
  mesh.write('users.yaml', policy([first]));
  await become('a token is required', 401);
  const token = signed(first);
  const { status: passed, body } = await ask(vip, token, '-H', 'x-user: root');
  assert.equal(passed, 200);
  const { headers } = JSON.parse(body) as { headers: Record<string, string> };
  assert.deepEqual([headers['x-user'], headers['authorization']], ['ann', undefined]);
  assert.equal(await status(`${vip}?access_token=${token}`), 200);
  const bad: Record<string, string> = {
    expired: signed(first, claimsOf({ exp: inSeconds(-3_600) })),
    'for another audience': signed(first, claimsOf({ aud: 'bank' })),
    'of another issuer': signed(first, claimsOf({ iss: 'https://evil.test' })),
    'of another key': signed(newKey('ES256', 'first')),
    'without a signature': signed(first, claimsOf(), { alg: 'none' }),
  };
  for (const [what, one] of Object.entries(bad)) assert.equal(await status(vip, one), 401, what);
  const head = await ask(vip, 'x', '-D', '-', '-o', '/dev/null');
  assert.match(head.body, /^www-authenticate: Bearer realm="10\.96\.0\.20", error="invalid_token"\r?$/im);
  // By the address of a pod, and by a Service without a policy, nobody validates the token.
  for (const url of [version, side, pod])
    for (const one of [token, undefined]) {
      const refused = await status(url, one);
      assert.ok(refused === 403 || refused === 0, `${url}: ${refused}`);
    }
  const line = await until('the refusal is in the log', 30_000, () =>
    logLines().find(({ why }) => String(why).includes('(expired)')),
  );
  assert.deepEqual(
    [line['flags'], line['code'], line['policy'], line['status']],
    ['JWT', 'WEFT_JWT_INVALID', 'AuthenticationPolicy shop/users', 401],
  );
  assert.ok(!logLines().some((one) => JSON.stringify(one).includes(token)), 'the log has no token');
});

test('keys that are added count at once, and so do keys that are removed', async () => {
  const [old, fresh] = [signed(first), signed(second)];
  assert.deepEqual([await status(vip, old), await status(vip, fresh)], [200, 401]);
  mesh.write('users.yaml', policy([first, second]));
  await become('the new key', 200, fresh);
  assert.equal(await status(vip, old), 200);
  mesh.write('users.yaml', policy([second]));
  await become('without the old key', 401, old);
  assert.equal(await status(vip, fresh), 200);
});

test('access depends on the users’ claims, and a change of the policy on users takes effect', async () => {
  mesh.write('access.yaml', users('{ claims: [{ path: [groups], values: [ops] }] }'));
  const user = (sub: string, groups: string[]): string => signed(second, claimsOf({ sub, groups }));
  await become('not of the group', 403, user('ann', ['dev']));
  assert.equal(await status(vip, user('bob', ['dev', 'ops'])), 200);
  const denied = await until('the denial is in the log', 30_000, () =>
    logLines().find(
      ({ flags, requestPrincipal }) => flags === 'RBAC' && requestPrincipal === `${issuerName}/ann`,
    ),
  );
  assert.equal(denied['policy'], 'shop/users');
  mesh.write('access.yaml', users('{ subjects: [ann], notSubjects: [bob] }'));
  await become('only this user', 200, user('ann', ['dev']));
  assert.equal(await status(vip, user('bob', ['dev', 'ops'])), 403);
  rmSync(join(mesh.manifests, 'access.yaml'));
  await become('without the policy', 200, user('bob', []));
});

test('a token that is optional lets requests without one pass, and none with a bad one', async () => {
  mesh.write('users.yaml', policy([second], 'required: false'));
  await become('without a token', 200);
  assert.equal(await status(vip, 'x'), 401);
  const { body } = await ask(vip, undefined, '-H', 'x-user: root');
  assert.ok(!body.includes('root'), 'a header that the client made up');
  assert.equal(await status(vip, signed(second)), 200);
});

test('a dry run refuses nothing, and what it would refuse is in the log and the metrics', async () => {
  mesh.write('users.yaml', policy([first], 'dryRun: true'));
  const bad = signed(second);
  const isTried = (actions: unknown): boolean =>
    /^jwt \(dry run\) by AuthenticationPolicy shop\/users: .*\(unknown-key\)/.test(String(actions));
  await until('the log says what would be', 30_000, async () => {
    assert.equal(await status(vip, bad), 200);
    return logLines().some(({ actions }) => isTried(actions));
  });
  assert.equal(await status(vip), 200);
});

test('a response under way ends once the policy no longer accepts its token, or asks for one; keys that rotate end none', async () => {
  mesh.write('users.yaml', policy([first]));
  await become('a token is required', 401);
  const old = drip(signed(first));
  await until('the response has begun', 30_000, () => old.bytes() > 0);
  mesh.write('users.yaml', policy([second]));
  await become('without the old key', 401, signed(first));
  const fresh = drip(signed(second));
  const sent = old.bytes();
  await until('the response goes on', 30_000, () => fresh.bytes() > 1 && old.bytes() > sent + 1);
  mesh.write('users.yaml', policy([second]).replace('audiences: [shop]', 'audiences: [bank]'));
  await until('another audience', 30_000, () => old.hasEnded() && fresh.hasEnded());
  rmSync(join(mesh.manifests, 'users.yaml'));
  await become('no policy', 200);
  const without = drip();
  await until('the response without a token has begun', 30_000, () => without.bytes() > 0);
  mesh.write('users.yaml', policy([second]));
  await until('the policy asks for a token', 30_000, () => without.hasEnded());
  mesh.write('users.yaml', policy([second]));
  await become('the policy is in force', 401);
  const removed = drip(signed(second));
  await until('the response of the issuer has begun', 30_000, () => removed.bytes() > 0);
  mesh.write('users.yaml', policy([second]).replace(issuerName, 'https://other.test'));
  await until('the issuer is removed', 30_000, () => removed.hasEnded());
  const cut = logLines().filter(
    ({ path, why }) => path === '/drip' && String(why).includes('AuthenticationPolicy'),
  );
  assert.equal(cut.length, 4);
});

test('a policy that cannot be read closes the Service', async () => {
  mesh.write('users.yaml', policy([first]).replace('issuer: ', 'newer: true\n        issuer: '));
  // A file's last valid content stays in force, so the policy gets a name of its own.
  mesh.write(
    'broken.yaml',
    policy([first]).replace('name: users', 'name: broken').replace('audiences', 'newer'),
  );
  await until('closed', 30_000, async () => ![200, 401].includes(await status(vip, signed(first))));
});
