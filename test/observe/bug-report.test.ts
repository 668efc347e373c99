/** `weft bug-report` of a running testbed: what the archive has, and that no key and no token is in it, wherever one is planted. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { changesQuestion } from '../../src/cli/changes/command.js';
import { askState } from '../../src/cli/control-admin.js';
import { run, sh } from '../../src/cli/run.js';
import { agentProcess } from '../../src/cli/standalone/agent.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { startWaypoint } from '../../src/cli/standalone/waypoint.js';
import type { Change } from '../../src/model/change.js';
import { leaksIn, readArchive } from '../support/archive.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';

const mesh = new DemoMesh('bug-report');
const archive = `/run/weft/test-bug-report.tar.gz`;
let testbed: Testbed;

const opaque = (): string => randomBytes(18).toString('hex');
const pem = String(
  generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' }),
);
const encoded = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const jwt = `${encoded({ alg: 'RS256', kid: 'k' })}.${encoded({ sub: 'system:serviceaccount:shop:web', nonce: opaque() })}.${randomBytes(64).toString('base64url')}`;
const planted = {
  header: opaque(),
  matched: opaque(),
  bearer: opaque(),
  cookie: opaque(),
  basic: Buffer.from(`admin:${opaque()}`).toString('base64'),
  password: opaque(),
  symmetric: randomBytes(32).toString('base64url'),
  environment: opaque(),
  secret: opaque(),
  configMap: opaque(),
  annotation: opaque(),
  query: opaque(),
};
/** Lines of the key, and parts of the token. */
const pieces = [
  ...pem.split('\n').filter((line) => /^[\w+/=]{40,}$/.test(line)),
  jwt.split('.')[1] ?? '',
  jwt.split('.')[2] ?? '',
];

const objects = `apiVersion: v1
kind: Secret
metadata: { name: tls, namespace: shop }
data: { tls.key: ${Buffer.from(pem).toString('base64')}, password: ${Buffer.from(planted.secret).toString('base64')} }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: settings, namespace: shop }
data: { password: ${planted.configMap} }
---
apiVersion: v1
kind: Service
metadata:
  name: planted
  namespace: shop
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: '{"data":{"password":"${planted.annotation}"}}'
    weft.dev/idle-timeout: '${jwt}'
    example.com/note: '${planted.annotation}'
spec: { clusterIP: 10.96.0.77, ports: [{ name: http, port: 80 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: planted, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: echo-v1, port: 80 }]
  rules:
    - matches: [{ headers: [{ name: x-partner, value: ${planted.matched} }] }]
      filters:
        - type: RequestHeaderModifier
          requestHeaderModifier: { set: [{ name: x-partner-key, value: ${planted.header} }, { name: authorization, value: Bearer ${jwt} }] }
      backendRefs: [{ name: echo-v1, port: 80 }]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: planted, namespace: shop }
spec: { jwtRules: [{ issuer: planted, jwks: '{"keys":[{"kty":"oct","kid":"symmetric","k":"${planted.symmetric}"}]}' }] }
---
apiVersion: v1
kind: Pod
metadata: { name: planted, namespace: shop }
spec:
  nodeName: elsewhere
  serviceAccountName: web
  containers:
    - { name: app, image: app:1, env: [{ name: DB, value: ${planted.environment} }], args: ['--password=${planted.environment}'] }
status: { podIPs: [{ ip: 10.244.9.9 }] }
`;

const logLines = [
  JSON.stringify({
    level: 30,
    msg: `called with Bearer ${planted.bearer}`,
    headers: { cookie: planted.cookie },
  }),
  `GET /orders?api_key=${planted.query} HTTP/1.1`,
  `Cookie: session=${planted.cookie}; theme=dark`,
  `Authorization: Basic ${planted.basic}`,
  `redis://:${planted.password}@redis:6379`,
  `token review failed for ${jwt}`,
  pem.trimEnd(),
  `secret data ${Buffer.from(pem).toString('base64')}`,
  `encoded ${Buffer.from(`token ${jwt} ends`).toString('base64')}`,
  JSON.stringify({ msg: pem }),
  '',
].join('\n');

/** Runs the command with a secret in its environment. Returns what it prints. */
function report(): string {
  rmSync(archive, { force: true });
  const weft = join(projectRoot, 'dist', 'src', 'cli', 'weft.js');
  return sh(process.execPath, [weft, 'bug-report', '--state', mesh.state, '-o', archive], '', {
    DATABASE_PASSWORD: planted.environment,
  });
}

/** Keys and tokens of Weft itself: the authority's key, that of join tokens, and the tokens of nodes and waypoints. */
function ownSecrets(): string[] {
  const control = join(mesh.state, 'control');
  const files = [
    ...readdirSync(control)
      .filter((name) => /key/.test(name))
      .map((name) => join(control, name)),
    ...readdirSync(mesh.state)
      .filter((name) => name.startsWith('token-'))
      .map((name) => join(mesh.state, name)),
  ].filter((path) => statSync(path).isFile());
  assert.ok(files.length >= 5, files.join(' '));
  return files.flatMap((path) =>
    readFileSync(path, 'utf8')
      .split(/[\n.]/)
      .filter((part) => part.length >= 40 && !part.startsWith('-----')),
  );
}

const noLeak = (files: ReadonlyMap<string, string>): void =>
  assert.deepEqual(leaksIn(files, [...Object.values(planted), ...pieces, ...ownSecrets()]), []);

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  testbed = mesh.create();
  const echo = join(projectRoot, 'dist', 'src', 'cli', 'demo', 'echo.js');
  testbed.start('api-server', 'weft-api', process.execPath, [echo, 'api', '8080']);
  testbed.start('echo-v1-server', 'weft-echo-v1', process.execPath, [echo, 'echo-v1', '8080']);
  await testbed.up();
  await startWaypoint(testbed, { namespace: 'shop', name: 'waypoint', node: 'node-b', workers: 1 });
  await listening('weft-echo-v1', 8080);
  mesh.write('planted.yaml', objects);
  appendFileSync(join(mesh.state, 'api-server.log'), 'a line of an application\n');
  for (const name of ['control', agentProcess('node-a'), 'waypoint-shop-waypoint-0'])
    appendFileSync(join(mesh.state, `${name}.log`), logLines);
  // The access log of the waypoint gets a line with a secret in its path.
  await until('a request is logged', 30_000, async () => {
    const url = `http://10.96.0.21/orders?access_token=${planted.query}`;
    const args = ['-sS', '-m', '10', '--noproxy', '*', '-H', `authorization: Bearer ${jwt}`, url];
    await run('weft-web', 'curl', args, 20_000);
    const log = join(mesh.state, 'waypoint-shop-waypoint-0.requests.log');
    return existsSync(log) && readFileSync(log, 'utf8').includes('/orders');
  });
});
after(async () => {
  await mesh.remove();
  rmSync(archive, { force: true });
});

test('the archive has versions, state, objects, logs, metrics and facts of the kernel, and prints what it has', async () => {
  const printed = report();
  assert.equal(statSync(archive).mode & 0o777, 0o600);
  assert.match(printed, /^versions\.json$/m);
  assert.match(printed, /^logs\/ \(\d+ files\)$/m);
  assert.match(printed, new RegExp(`^${archive} \\(\\d+ bytes\\)`, 'm'));
  const files = await readArchive(archive);
  for (const file of [
    'report.json',
    'versions.json',
    'status.json',
    'objects.json',
    'control/edges.json',
    'kernel/machine.json',
    'kernel/pins.json',
    'nodes/node-a/status.json',
    'nodes/node-a/dump.json',
    'nodes/node-a/metrics.txt',
    'nodes/node-b/dump.json',
    'waypoints/waypoint-shop-waypoint-0/dump.json',
    'waypoints/waypoint-shop-waypoint-0/metrics.txt',
    'logs/control.log',
    'logs/agent-node-a.log',
    'logs/waypoint-shop-waypoint-0.requests.log',
  ])
    assert.ok((files.get(file) ?? '').length > 2, `${file} is not in ${[...files.keys()].join(' ')}`);
  assert.match(files.get('nodes/node-a/metrics.txt') ?? '', /^weft_pods\{/m);
  assert.match(files.get('logs/control.log') ?? '', /"msg":"ready"/);
  assert.match(files.get('logs/waypoint-shop-waypoint-0.requests.log') ?? '', /\"path\":\"\/orders\"/);
  assert.match(files.get('kernel/pins.json') ?? '', /node-a/);
  const all = files.get('objects.json') ?? '';
  assert.match(all, /"x-partner-key"/);
  assert.match(all, /"kid\\":\\"symmetric/);
  assert.equal(files.has('logs/api-server.log'), false, 'logs of applications are not collected');
  assert.doesNotMatch(all, /"Secret"|"ConfigMap"|last-applied|"env"/);
});

test('weft changes says which file changed what, and that agents and the waypoint have acknowledged it', async () => {
  let change: Change | undefined;
  await until('all have acknowledged the change', 30_000, async () => {
    const { changes } = await askState(mesh.state, changesQuestion(0, 'shop'));
    change = changes.find(({ kind, name }) => kind === 'HTTPRoute' && name === 'planted');
    return change?.receivers.every(({ acknowledgedMs }) => acknowledgedMs !== undefined);
  });
  assert.deepEqual([change?.operation, change?.file], ['created', 'planted.yaml']);
  const names = change?.receivers.map(({ name }) => name).sort() ?? [];
  assert.deepEqual(names.slice(0, 2), ['node-a', 'node-b']);
  assert.match(names[2] ?? '', /^waypoint:shop\/waypoint\/[\w.-]+$/);
  assert.match((await readArchive(archive)).get('control/changes.json') ?? '', /"planted\.yaml"/);
});

/** Commands of a section of docs/operate.md. */
function commandsOf(heading: string): string[] {
  const page = readFileSync(join(projectRoot, 'docs', 'operate.md'), 'utf8');
  const section = page.slice(page.indexOf(`\n## ${heading}\n`)).split('\n## ')[1] ?? '';
  const [, block = ''] = /```sh\n([\s\S]*?)```/.exec(section) ?? [];
  return block.split('\n').flatMap((line) => line.replace(/ +#.*/, '').trim() || []);
}

test("the page's commands work as they are written", () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-report-'));
  const weft = `node ${join(projectRoot, 'dist', 'src', 'cli', 'weft.js')}`;
  try {
    const commands = [...commandsOf('What changed'), ...commandsOf('Report a problem')];
    assert.equal(commands.length, 6);
    for (const command of commands) {
      const isWeft = command.startsWith('npx weft ');
      // A checkout may itself be below /tmp.
      const here = command.replaceAll('/tmp/', `${dir}/`).replace('npx weft', weft);
      const printed = sh('bash', ['-c', `cd ${dir} && ${here}${isWeft ? ` --state ${mesh.state}` : ''}`]);
      assert.notEqual(printed, '', command);
    }
    assert.equal(readdirSync(dir).filter((name) => name.endsWith('.tar.gz')).length, 2);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test('no planted secret and no key or token of Weft is in the archive, in plain or in base64', async () => {
  report();
  const files = await readArchive(archive);
  // The search finds what is there.
  assert.notDeepEqual(leaksIn(files, ['x-partner-key']), []);
  noLeak(files);
});

test('an archive that exists is not replaced', async () => {
  const weft = join(projectRoot, 'dist', 'src', 'cli', 'weft.js');
  const before = readFileSync(archive);
  assert.throws(
    () => sh(process.execPath, [weft, 'bug-report', '--state', mesh.state, '-o', archive]),
    /WEFT_BUG_REPORT/,
  );
  assert.deepEqual(readFileSync(archive), before);
});

test('with an agent and the control plane stopped, the rest is collected and errors.txt says what is missing', async () => {
  await testbed.stop(agentProcess('node-a'), 'SIGKILL');
  await testbed.stop('control', 'SIGKILL');
  report();
  const files = await readArchive(archive);
  const errors = files.get('errors.txt') ?? '';
  assert.match(errors, /^nodes\/node-a\/dump\.json: WEFT_ADMIN/m);
  assert.match(errors, /^control\/edges\.json: WEFT_ADMIN/m);
  assert.match(files.get('status.json') ?? '', /its agent has ended/);
  assert.ok((files.get('logs/agent-node-a.log') ?? '').length > 0);
  assert.ok((files.get('nodes/node-b/dump.json') ?? '').length > 2);
  noLeak(files);
});
