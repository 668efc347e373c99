/** The life of a waypoint: traffic other than routed HTTP, whose identity is trusted, and failures of the parts that it depends on. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { sleep, until } from '../../src/base/wait.js';
import { adminGet, adminPort } from '../../src/cli/admin.js';
import { load } from '../../src/cli/demo/stage.js';
import { programs, run, sh } from '../../src/cli/run.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import {
  startWaypoint,
  stopWaypoint,
  waypointNetns,
  waypointProcess,
  type WaypointReplica,
} from '../../src/cli/standalone/waypoint.js';
import { connectionRecords } from '../support/records.js';
import { DemoMesh } from '../support/demo-mesh.js';

const mesh = new DemoMesh('waypoint');
const demo = join(projectRoot, 'dist', 'src', 'cli', 'demo');
const example = (name: string): string =>
  readFileSync(join(projectRoot, 'docs', 'examples', 'waypoint', `${name}.yaml`), 'utf8');
const place: WaypointReplica = {
  namespace: 'shop',
  name: 'waypoint',
  node: 'node-b',
  workers: 2,
  flags: ['--drain-delay-ms', '200', '--drain-ms', '5000'],
};
const vip = '10.96.0.20';
let testbed: Testbed;

const write = (file: string, text: string): void => mesh.write(file, text);
const remove = (file: string): void => rmSync(join(mesh.manifests, file), { force: true });
async function status(url: string, netns = 'weft-web', ...more: string[]): Promise<number> {
  const args = ['-sS', '-o', '/dev/null', '-m', '6', '--noproxy', '*', '-w', '%{http_code}', ...more, url];
  return Number((await run(netns, 'curl', args)).stdout);
}
const opens = (url: string): Promise<unknown> =>
  until(`${url} responds`, 30_000, async () => (await status(url)) === 200);

/** The bytes that an application reads after it connects, sends (or only waits), and reads once. */
async function raw(ip: string, port: number, say: string | undefined, netns = 'weft-web'): Promise<string> {
  const code = `import socket
try:
    s = socket.create_connection(('${ip}', ${port}), 6)
    ${say === undefined ? 'pass' : `s.sendall(b'${say}')`}
    print(s.recv(100).decode() or 'end')
except OSError as e: print('refused')
`;
  return (await run(netns, 'python3', ['-c', code], 20_000)).stdout.trim();
}

const metrics = async (): Promise<string> =>
  (await run(waypointNetns(place), 'curl', ['-sS', '-m', '5', 'http://127.0.0.1:15020/metrics'])).stdout;

const greeter = `
import socket
s = socket.create_server(('::', 9001), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
while True:
    c, _ = s.accept(); c.sendall(b'220 hello'); c.close()
`;

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  write(
    'bytes.yaml',
    `kind: Service
metadata: { name: bytes, namespace: shop, labels: { weft.dev/waypoint: waypoint } }
spec:
  selector: { app: echo, version: v1 }
  clusterIPs: [10.96.0.40]
  ports: [{ name: tcp-echo, port: 9000 }, { name: greeting, port: 9001 }, { name: anything, port: 9002, targetPort: 9000 }]
`,
  );
  testbed = mesh.create();
  for (const version of ['v1', 'v2'])
    testbed.start(`echo-${version}`, `weft-echo-${version}`, process.execPath, [
      join(demo, 'echo.js'),
      `echo-${version}`,
      '8080',
    ]);
  testbed.start('bytes', 'weft-echo-v1', process.execPath, [join(demo, 'probe.js'), 'listen', '9000']);
  testbed.start('greeter', 'weft-echo-v1', 'python3', ['-c', greeter]);
  await testbed.up();
  await startWaypoint(testbed, place);
  await opens(`http://${vip}/`);
});
after(() => mesh.remove());

test('the endpoint’s node authorizes and logs the client, not the waypoint', async () => {
  write(
    'l4.yaml',
    `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: only-web, namespace: shop }
spec: { action: ALLOW, selector: { matchLabels: { app: echo } }, rules: [{ from: [{ serviceAccounts: [shop/web], cidrs: [10.244.1.10/32, 'fd00:244:1::10/128'] }] }] }
`,
  );
  await until(
    'intruder is refused',
    30_000,
    async () => (await status(`http://${vip}/`, 'weft-intruder')) === 403,
  );
  // Older connections are kept for a while, and their lines show the decision that admitted them.
  await sleep(5_500);
  // Only v1 is called, because its node's log is read.
  assert.equal(await status('http://10.96.0.21/'), 200);
  const record = await until('its record', 30_000, () =>
    connectionRecords(join(mesh.state, 'agent-node-b')).findLast(
      ({ why, policy }) => why === 'waypoint' && policy !== undefined,
    ),
  );
  assert.equal(record.source.identity, 'spiffe://cluster.local/ns/shop/sa/web');
  assert.match(record.source.address, /^10\.244\.1\.10:/);
  assert.equal(record.policy, 'shop/only-web');
  remove('l4.yaml');
  await until(
    'intruder is served',
    30_000,
    async () => (await status(`http://${vip}/`, 'weft-intruder')) === 200,
  );
});

test('bytes of a declared TCP port pass unchanged; a protocol in which the server speaks first does not block for ever', async () => {
  assert.equal(await raw('10.96.0.40', 9000, 'not http'), 'not http');
  assert.equal(await raw('10.96.0.40', 9001, undefined), '220 hello');
  assert.equal(await raw('10.96.0.40', 9002, '\\x16\\x03\\x01tls-like'), '\u0016\u0003\u0001tls-like');
});

test('a TCP connection is refused if a policy has request conditions, unless a rule allows the connection itself', async () => {
  write(
    'l7.yaml',
    `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: gets, namespace: shop }
spec: { action: ALLOW, selector: { matchLabels: { app: echo } }, rules: [{ to: [{ methods: [GET] }] }] }
`,
  );
  await until(
    'POST is refused',
    30_000,
    async () => (await status(`http://${vip}/`, 'weft-web', '-d', 'x')) === 403,
  );
  assert.equal(await status(`http://${vip}/`), 200);
  assert.equal(await raw('10.96.0.40', 9002, 'no http at all'), 'refused');
  assert.equal(await raw('10.96.0.40', 9000, 'no http'), 'refused');
  assert.equal(await raw('10.244.2.60', 9000, 'no http'), 'refused');
  remove('l7.yaml');
  await until(
    'POST is served',
    30_000,
    async () => (await status(`http://${vip}/`, 'weft-web', '-d', 'x')) === 200,
  );
});

test('a configuration change applies to the next request of an open connection', async () => {
  const child = spawn(
    'nsenter',
    [
      '--net=/run/netns/weft-web',
      '--',
      process.execPath,
      '--input-type=module',
      '-e',
      `import http from 'node:http';
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const ports = new Set();
const ask = () => http.get('http://${vip}/', { agent }, (r) => {
  ports.add(r.socket.localPort);
  r.resume();
  console.log(JSON.stringify({ by: r.headers['x-served-by'], connections: ports.size }));
  setTimeout(ask, 50);
});
ask();`,
    ],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  let said = '';
  child.stdout.on('data', (bytes: Buffer) => (said += bytes.toString()));
  const last = (count: number): { by: string; connections: number }[] =>
    said
      .split('\n')
      .filter(Boolean)
      .slice(-count)
      .map((line) => JSON.parse(line) as { by: string; connections: number });
  try {
    for (const pod of ['echo-v2', 'echo-v1']) {
      write(
        'one.yaml',
        example('split').replace(/name: echo-v[12], port: 80, weight/g, `name: ${pod}, port: 80, weight`),
      );
      await until(
        `all go to ${pod}`,
        30_000,
        () => last(10).length === 10 && last(10).every(({ by }) => by === pod),
      );
    }
    assert.equal(last(1)[0]?.connections, 1);
  } finally {
    child.kill('SIGKILL');
    remove('one.yaml');
  }
});

test('a worker that dies loses only its own connections and is replaced', async () => {
  const { pid = 0 } = testbed.mark(waypointProcess(place)) ?? {};
  const workers = (): string[] =>
    execFileSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' })
      .split('\n')
      .filter(Boolean);
  const before = workers();
  assert.equal(before.length, 2);
  const running = load(`http://${vip}/`);
  await until('requests are answered', 60_000, () => running.answered() > 25);
  process.kill(Number(before[0]), 'SIGKILL');
  await until('there are two workers again', 30_000, () => {
    const now = workers();
    return now.length === 2 && !now.includes(before[0] ?? '');
  });
  const since = running.answered();
  await until('further requests are answered', 60_000, () => running.answered() > since + 25);
  const { answered, failures } = await running.stop();
  assert.ok(answered > 50, JSON.stringify({ answered, failures }));
  // Only its requests in flight fail: at most one per client connection.
  const lost = Object.values(failures).reduce((sum, one) => sum + one, 0);
  assert.ok(lost <= 16, JSON.stringify(failures));
  assert.ok(workers().includes(before[1] ?? ''));
});

test('without the control plane a waypoint keeps its configuration; one that starts then is not ready, and its Services are closed', async () => {
  await testbed.stop('control', 'SIGKILL');
  for (let i = 0; i < 5; i++) assert.equal(await status(`http://${vip}/`), 200);
  await stopWaypoint(testbed, place, 'SIGKILL');
  const token = join(mesh.state, `token-${waypointProcess(place)}`);
  testbed.start('waypoint-early', waypointNetns(place), process.execPath, [
    programs.waypoint,
    ...['--gateway', 'shop/waypoint', '--control', '10.88.0.254:15012', '--workers', '1'],
    ...['--root', join(testbed.controlState(), 'root-cert.pem'), '--token', token],
  ]);
  const ready = await until('it reports that it is not ready', 30_000, async () => {
    const args = ['-sS', '-m', '2', '-w', ' %{http_code}', 'http://127.0.0.1:15020/healthz/ready'];
    const { stdout } = await run(waypointNetns(place), 'curl', args);
    return stdout.endsWith('503') && stdout;
  });
  assert.match(ready, /not ready: control plane disconnected/);
  assert.equal(await status(`http://${vip}/`), 0);
  assert.equal(await status('http://10.244.2.60:8080/'), 0);
  await testbed.startControl();
  await opens(`http://${vip}/`);
  await testbed.stop('waypoint-early');
  await startWaypoint(testbed, place);
  await opens(`http://${vip}/`);
});

test('the root is replaced under load without a failed request', async () => {
  const serial = async (): Promise<string> =>
    (
      JSON.parse(await adminGet(waypointNetns(place), adminPort, '/status')) as {
        certificate: { serial: string };
      }
    ).certificate.serial;
  const running = load(`http://${vip}/`);
  let before = await serial();
  for (const phase of ['begin', 'switch', 'finish']) {
    sh(process.execPath, [
      programs.control,
      'rotate-root',
      '--state',
      testbed.controlState(),
      '--phase',
      phase,
    ]);
    before = await until(`a new certificate after ${phase}`, 30_000, async () => {
      const now = await serial();
      return now !== before && now;
    });
    await sleep(1_000);
  }
  const { answered, failures } = await running.stop();
  assert.deepEqual(failures, {});
  assert.ok(answered > 100);
});

test('connections that are older than the waypoint end with its label, and the next go through it', async () => {
  write(
    'late.yaml',
    `kind: Service
metadata: { name: late, namespace: shop }
spec: { selector: { app: cache }, clusterIPs: [10.96.0.50], ports: [{ name: tcp-x, port: 7000 }] }
`,
  );
  testbed.start('late-1', 'weft-cache', process.execPath, [join(demo, 'probe.js'), 'listen', '7000']);
  testbed.start('late-2', 'weft-cache-2', process.execPath, [join(demo, 'probe.js'), 'listen', '7000']);
  await until('the server responds', 30_000, async () => (await raw('10.96.0.50', 7000, 'a')) === 'a');
  const child = spawn(
    'nsenter',
    [
      '--net=/run/netns/weft-web',
      '--',
      process.execPath,
      join(demo, 'probe.js'),
      'connect',
      '10.96.0.50',
      '7000',
    ],
    { stdio: ['pipe', 'pipe', 'ignore'] },
  );
  let said = '';
  child.stdout.on('data', (bytes: Buffer) => (said += bytes.toString()));
  await until('the connection is open', 30_000, () => said.includes('connected'));
  child.stdin.write('x');
  await until('the connection relays bytes', 30_000, () => said.includes('"text":"x"'));
  write(
    'late.yaml',
    readFileSync(join(mesh.manifests, 'late.yaml'), 'utf8').replace(
      'namespace: shop }',
      'namespace: shop, labels: { weft.dev/waypoint: waypoint } }',
    ),
  );
  await until('the connection is closed', 30_000, () => /"event":"(error|end)"/.test(said));
  child.kill();
  await until(
    'it answers through the waypoint',
    30_000,
    async () => (await raw('10.96.0.50', 7000, 'b')) === 'b',
  );
  remove('late.yaml');
});

test('metrics have the names that dashboards use, summed over all workers', async () => {
  await status(`http://${vip}/`);
  const text = await until('the metrics count requests', 30_000, async () => {
    const all = await metrics();
    return all.includes('istio_requests_total{') && all;
  });
  const line = text
    .split('\n')
    .find((one) => one.startsWith('istio_requests_total{') && one.includes('response_code="200"'));
  for (const label of [
    'reporter="waypoint"',
    'source_principal="spiffe://cluster.local/ns/shop/sa/web"',
    'source_workload="web"',
    'destination_principal="spiffe://cluster.local/ns/shop/sa/echo"',
    'destination_service="echo.shop.svc.cluster.local"',
    'request_protocol="http"',
    'connection_security_policy="mutual_tls"',
  ])
    assert.ok(line?.includes(label), `${label} in ${line}`);
  assert.match(text, /istio_request_duration_milliseconds_bucket\{.*le="\+Inf"/);
});

test('the clusters of all workers are at the admin address', async () => {
  await status(`http://${vip}/`);
  const workers = JSON.parse(await adminGet(waypointNetns(place), adminPort, '/clusters')) as {
    readonly worker: number;
    readonly clusters: readonly {
      readonly name: string;
      readonly endpoints: readonly {
        readonly state: string;
        readonly counts: { readonly success: number };
      }[];
    }[];
  }[];
  assert.equal(workers.length, 2);
  const endpoints = workers
    .flatMap(({ clusters }) => clusters)
    .filter(({ name }) => name === 'outbound|80||echo.shop.svc.cluster.local')
    .flatMap((cluster) => cluster.endpoints);
  assert.ok(endpoints.some(({ state, counts }) => state === 'healthy' && counts.success > 0));
});

test('at SIGTERM requests in flight get their responses, and no new ones arrive', async () => {
  const slow = status(`http://${vip}/slow/4000`);
  await sleep(1_500);
  await stopWaypoint(testbed, place);
  assert.equal(await slow, 200);
  await until('its Services are closed', 30_000, async () => (await status(`http://${vip}/`)) === 0);
  await startWaypoint(testbed, place);
  await opens(`http://${vip}/`);
});
