/** Istio's AuthorizationPolicy, PeerAuthentication and RequestAuthentication with real connections: at the node, and at a waypoint. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { startWaypoint, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';
import { DemoMesh } from '../support/demo-mesh.js';
import { istio } from '../support/istio-security.js';
import { connectionRecords } from '../support/records.js';

const mesh = new DemoMesh('istio-security');
const place: WaypointReplica = { namespace: 'shop', name: 'waypoint', node: 'node-b', workers: 1 };
/** The Service `api` has no waypoint; `echo` has one. */
const api = 'http://10.96.0.10/';
const apiPod = 'http://10.244.2.10:8080/';
const echo = 'http://10.96.0.20/';
let testbed: Testbed;

const outsider = `apiVersion: v1
kind: Pod
metadata: { name: outsider, namespace: shop, labels: { weft.dev/mesh: disabled }, annotations: { weft.dev/netns: weft-outsider } }
spec: { nodeName: node-b, serviceAccountName: outsider }
status: { podIPs: [{ ip: 10.244.2.77 }] }
`;

interface Asked {
  readonly by?: 'web' | 'intruder' | 'outsider';
  readonly args?: readonly string[];
}
/** The status of a response; 0 if there is none. */
async function status(url: string, { by = 'web', args = [] }: Asked = {}): Promise<number> {
  const all = ['-sS', '-o', '/dev/null', '-m', '6', '--noproxy', '*', '-w', '%{http_code}', ...args, url];
  return Number((await run(`weft-${by}`, 'curl', all)).stdout);
}
const becomes = (wanted: number, url: string, asked: Asked = {}): Promise<unknown> =>
  until(
    `${url} ${JSON.stringify(asked)} gives ${wanted}`,
    30_000,
    async () => (await status(url, asked)) === wanted,
  );

const files = new Set<string>();
function apply(kind: Parameters<typeof istio>[0], spec: string, name = 'p', namespace = 'shop'): void {
  const file = `${kind}-${name}.yaml`.toLowerCase();
  files.add(file);
  mesh.write(file, istio(kind, spec, { namespace, name }));
}

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  mesh.write('outsider.yaml', outsider);
  testbed = mesh.create();
  for (const name of ['api', 'echo-v1', 'echo-v2'])
    testbed.start(name, `weft-${name}`, process.execPath, [
      join(projectRoot, 'dist', 'src', 'cli', 'demo', 'echo.js'),
      name,
      '8080',
    ]);
  await testbed.up();
  await startWaypoint(testbed, place);
});
beforeEach(async () => {
  for (const file of files) rmSync(join(mesh.manifests, file), { force: true });
  files.clear();
  for (const by of ['web', 'intruder'] as const) {
    await becomes(200, api, { by });
    await becomes(200, echo, { by });
  }
});
after(() => mesh.remove());

const select = (app: string): string => `selector: { matchLabels: { app: ${app} } }`;
const service = (name: string): string => `targetRefs: [{ kind: Service, group: '', name: ${name} }]`;

test('at the node, a DENY refuses a principal, and its log names the kind and the object', async () => {
  const rule = 'from: [{ source: { principals: [cluster.local/ns/shop/sa/intruder] } }]';
  apply('AuthorizationPolicy', `{ ${select('api')}, action: DENY, rules: [{ ${rule} }] }`);
  await becomes(0, api, { by: 'intruder' });
  assert.equal(await status(apiPod, { by: 'intruder' }), 0);
  assert.equal(await status(api), 200);
  assert.equal(await status(echo, { by: 'intruder' }), 200);
  await until('the refusal is logged', 30_000, () =>
    connectionRecords(join(mesh.state, 'agent-node-b')).some(
      ({ policy }) => policy === 'shop/AuthorizationPolicy/p',
    ),
  );
});

test('at the node, an ALLOW allows what its source, port and condition match, and an empty spec nothing', async () => {
  const rule = `from: [{ source: { serviceAccounts: [web], ipBlocks: [10.244.1.0/24] } }], to: [{ operation: { ports: ["8080"] } }], when: [{ key: destination.ip, values: [10.244.2.10] }]`;
  apply('AuthorizationPolicy', `{ ${select('api')}, rules: [{ ${rule} }] }`);
  await becomes(0, api, { by: 'intruder' });
  assert.equal(await status(api), 200);
  apply('AuthorizationPolicy', `{ ${select('api')}, rules: [{ to: [{ operation: { ports: ["9"] } }] }] }`);
  await becomes(0, api);
  apply('AuthorizationPolicy', '{}');
  await becomes(403, echo);
  assert.equal(await status(api), 0);
  apply('AuthorizationPolicy', '{ rules: [{}] }', 'open');
  await becomes(200, api);
  await becomes(200, echo);
});

test('at the waypoint, a policy of a Service denies by method, path, header and client', async () => {
  const rules = [
    'to: [{ operation: { methods: [DELETE] } }]',
    'to: [{ operation: { paths: ["/admin/{*}/x"], notMethods: [HEAD] } }]',
    'from: [{ source: { namespaces: [shop], notPrincipals: ["*/sa/web"] } }], when: [{ key: "request.headers[x-role]", values: [guest] }]',
  ];
  apply(
    'AuthorizationPolicy',
    `{ ${service('echo')}, action: DENY, rules: [${rules.map((one) => `{ ${one} }`).join(', ')}] }`,
  );
  await becomes(403, echo, { args: ['-X', 'DELETE'] });
  assert.equal(await status(`${echo}admin/1/x`), 403);
  assert.equal(await status(`${echo}admin/1/2/x`), 200);
  const guest = ['-H', 'x-role: guest'];
  assert.equal(await status(echo, { args: guest }), 200);
  assert.equal(await status(echo, { by: 'intruder', args: guest }), 403);
  assert.equal(await status(echo, { by: 'intruder' }), 200);
  assert.equal(await status(api, { args: ['-X', 'DELETE'] }), 200, 'another Service');
});

test('at the waypoint, an ALLOW of a Gateway holds for every Service behind it, and by hosts', async () => {
  const target = 'targetRefs: [{ kind: Gateway, group: gateway.networking.k8s.io, name: waypoint }]';
  apply(
    'AuthorizationPolicy',
    `{ ${target}, rules: [{ to: [{ operation: { hosts: ["a.test:*", b.test] } }] }] }`,
  );
  await becomes(403, echo);
  assert.equal(await status('http://10.96.0.21/'), 403);
  assert.equal(await status(echo, { args: ['-H', 'host: b.test'] }), 200);
  assert.equal(await status(echo, { args: ['-H', 'host: a.test:80'] }), 200);
  assert.equal(await status(echo, { args: ['-H', 'host: a.test'] }), 403);
  assert.equal(await status(api), 200, 'a Service without a waypoint');
});

test('a policy by selector with conditions on requests is evaluated at the waypoint, and closes where none reads requests', async () => {
  const rule = 'to: [{ operation: { paths: [/closed] } }]';
  apply('AuthorizationPolicy', `{ ${select('echo')}, action: DENY, rules: [{ ${rule} }] }`);
  await becomes(403, `${echo}closed`);
  assert.equal(await status(echo), 200);
  apply('AuthorizationPolicy', `{ ${select('api')}, action: DENY, rules: [{ ${rule} }] }`);
  await becomes(0, api);
  await becomes(200, `${echo}closed`);
});

test('CUSTOM closes what it matches, and a request without a token has no principal', async () => {
  const rule = 'to: [{ operation: { paths: [/check] } }]';
  apply(
    'AuthorizationPolicy',
    `{ ${service('echo')}, action: CUSTOM, provider: { name: x }, rules: [{ ${rule} }] }`,
  );
  await becomes(403, `${echo}check`);
  assert.equal(await status(echo), 200);
  const token =
    'from: [{ source: { notRequestPrincipals: ["*"] } }], to: [{ operation: { methods: [POST] } }]';
  apply('AuthorizationPolicy', `{ ${service('echo')}, action: DENY, rules: [{ ${token} }] }`);
  await becomes(403, echo, { args: ['-X', 'POST'] });
  assert.equal(await status(echo), 200);
});

test('a policy that cannot be read closes what it selects, and nothing else', async () => {
  // Of a name that no other test has: otherwise the last valid content of its file might be in force in its place.
  apply(
    'AuthorizationPolicy',
    `{ ${select('api')}, rules: [{ from: [{ source: { newer: [x] } }] }] }`,
    'unread',
  );
  await becomes(0, api);
  assert.equal(await status(echo), 200);
});

test('a PeerAuthentication refuses plaintext, except at the port that it lifts, and only by the narrower object', async () => {
  const by = 'outsider' as const;
  await becomes(200, apiPod, { by });
  apply('PeerAuthentication', '{ mtls: { mode: STRICT } }', 'mesh', 'weft-system');
  await becomes(0, apiPod, { by });
  assert.equal(await status(api), 200);
  apply('PeerAuthentication', '{ mtls: { mode: PERMISSIVE } }', 'shop');
  await becomes(200, apiPod, { by });
  apply('PeerAuthentication', `{ ${select('api')}, mtls: { mode: STRICT } }`, 'api');
  await becomes(0, apiPod, { by });
  apply(
    'PeerAuthentication',
    `{ ${select('api')}, mtls: { mode: STRICT }, portLevelMtls: { "8080": { mode: PERMISSIVE } } }`,
    'api',
  );
  await becomes(200, apiPod, { by });
});

test('a RequestAuthentication without keys refuses requests with a token and lets the others pass', async () => {
  apply('RequestAuthentication', `{ ${select('echo')}, jwtRules: [{ issuer: a, jwks: '{}' }] }`);
  await becomes(401, echo, { args: ['-H', 'authorization: Bearer x.y.z'] });
  assert.equal(await status(`${echo}?access_token=x`), 401);
  assert.equal(await status(`${echo}?other=x`), 200);
  assert.equal(await status(echo), 200);
});
