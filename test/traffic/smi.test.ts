/** SMI's objects with real requests: shares of a root Service, requests chosen by header, and who may ask what, with a waypoint and without. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { accessLogOf, startWaypoint, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';

const mesh = new DemoMesh('smi');
const waypoint: WaypointReplica = { namespace: 'shop', name: 'waypoint', node: 'node-b', workers: 1 };
const echo = '10.96.0.20';
const api = '10.96.0.10';
const morePorts =
  '{ name: tcp-x, port: 6000, targetPort: 8080 }, { name: raw, port: 6001, targetPort: 9999 }, { name: web, port: 6002, targetPort: 8080 }';
/** A server of a protocol that is not HTTP. */
const raw = (name: string): string =>
  `require('net').createServer((s) => s.on('error', () => {}).on('data', () => s.end('"pod":"${name}"'))).listen(9999)`;
let testbed: Testbed;

const curl = async (client: string, url: string, ...args: string[]): Promise<string> => {
  const fixed = ['-sS', '-m', '60', '--noproxy', '*', ...args];
  return (await run(`weft-${client}`, 'curl', [...fixed, url], 90_000)).stdout;
};
/** The status of a response; `000`: the connection was refused or reset. */
const statusOf = async (client: string, url: string, ...args: string[]): Promise<string> =>
  (await curl(client, url, '-o', '/dev/null', '-w', '%{http_code}', ...args)).slice(-3);
/** How many of `count` requests each pod has got. */
async function shares(url: string, count: number, ...args: string[]): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>();
  for (const pod of podsIn(await curl('web', `${url}/[1-${count}]`, ...args)))
    found.set(pod, (found.get(pod) ?? 0) + 1);
  return found;
}
const podsIn = (text: string): string[] => [...text.matchAll(/"pod":"([^"]*)"/g)].map(([, pod = '']) => pod);
const become = (what: string, expected: string, found: () => Promise<string>): Promise<unknown> =>
  until(what, 20_000, async () => (await found().catch(String)) === expected);

/** The lines of a log that have a text. */
const linesOf = (file: string, text: string): string =>
  readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line.includes(text))
    .join('\n');

const split = (name: string, spec: string): string => `apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: { name: ${name}, namespace: shop }
spec: { service: echo, ${spec} }
`;
const target = (account: string, rules: string): string => `apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: { name: ${account}, namespace: shop }
spec:
  destination: { kind: ServiceAccount, name: ${account}, namespace: shop }
  rules: [${rules}]
  sources: [{ kind: ServiceAccount, name: web, namespace: shop }]
`;
const specs = `apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: { name: routes, namespace: shop }
spec:
  matches:
    - { name: metrics, pathRegex: /metrics, methods: [GET] }
    - { name: users, pathRegex: '/users/[0-9]+$' }
    - { name: firefox, headers: { user-agent: '.*Firefox.*' } }
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: { name: firefox, namespace: shop }
spec: { matches: [{ name: firefox, headers: { user-agent: '.*(Firefox|Füchs?le).*' } }] }
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: TCPRoute
metadata: { name: redis, namespace: shop }
spec: { matches: { ports: [6379] } }
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: TCPRoute
metadata: { name: web, namespace: shop }
spec: { matches: { ports: [8080] } }
`;

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  mesh.write('specs.yaml', specs);
  // A port whose connections are relayed unread, and two whose protocol is not declared.
  for (const ip of [echo, '10.96.0.21', '10.96.0.22'])
    mesh.replace(
      'echo.yaml',
      `clusterIPs: [${ip}, 'fd00:96::${ip.slice(-2)}']\n  ports: [`,
      `clusterIPs: [${ip}, 'fd00:96::${ip.slice(-2)}']\n  ports: [${morePorts}, `,
    );
  testbed = mesh.create();
  const server = join(projectRoot, 'dist', 'src', 'cli', 'demo', 'echo.js');
  for (const version of ['v1', 'v2']) {
    testbed.start(`echo-${version}`, `weft-echo-${version}`, process.execPath, [server, version, '8080']);
    testbed.start(`raw-${version}`, `weft-echo-${version}`, process.execPath, ['-e', raw(version)]);
  }
  for (const port of ['6379', '9000'])
    testbed.start(`api-${port}`, 'weft-api', process.execPath, [server, 'api', port]);
  await testbed.up();
  await startWaypoint(testbed, waypoint);
  await listening('weft-api', 6379);
  await listening('weft-api', 9000);
  await become('the echo Service', '200', () => statusOf('web', `http://${echo}/`));
});
after(() => mesh.remove());

test('TrafficSplit: 90 percent to one Service and 10 to the other', async () => {
  mesh.write(
    'split.yaml',
    split('canary', 'backends: [{ service: echo-v1, weight: 90 }, { service: echo-v2, weight: 10 }]'),
  );
  await until('the split', 30_000, async () => ((await shares(`http://${echo}`, 50)).get('v1') ?? 0) > 38);
  const found = await shares(`http://${echo}`, 1_000);
  assert.equal((found.get('v1') ?? 0) + (found.get('v2') ?? 0), 1_000);
  assert.ok(Math.abs((found.get('v1') ?? 0) - 900) < 50, JSON.stringify([...found]));
});

test('TrafficSplit with an HTTPRouteGroup: all requests with the header go to its backend, the others are split as before', async () => {
  mesh.write(
    'ab.yaml',
    split(
      'ab',
      'matches: [{ kind: HTTPRouteGroup, name: firefox }], backends: [{ service: echo-v1, weight: 0 }, { service: echo-v2, weight: 100 }]',
    ),
  );
  const firefox = ['-A', 'Mozilla/5.0 Firefox/126.0'];
  await until(
    'the header',
    30_000,
    async () => (await shares(`http://${echo}`, 20, ...firefox)).get('v2') === 20,
  );
  assert.deepEqual([...(await shares(`http://${echo}`, 100, ...firefox))], [['v2', 100]]);
  // Header values are bytes, and the expression is text.
  assert.deepEqual([...(await shares(`http://${echo}`, 20, '-A', 'das Füchle'))], [['v2', 20]]);
  const others = await shares(`http://${echo}`, 500, '-A', 'Mozilla/5.0 Chrome/125.0');
  assert.ok(Math.abs((others.get('v1') ?? 0) - 450) < 40, JSON.stringify([...others]));
});

test('TrafficSplit: connections that are not HTTP are split, and ports without a declared protocol in both cases', async () => {
  const closing = ['-H', 'connection: close'];
  for (const port of [6000, 6002]) {
    const found = await shares(`http://${echo}:${port}`, 300, ...closing);
    assert.ok(Math.abs((found.get('v1') ?? 0) - 270) < 30, `${port}: ${JSON.stringify([...found])}`);
  }
  const script = `for i in $(seq 100); do exec 3<>/dev/tcp/${echo}/6001; printf 'x\\n' >&3; cat <&3; done`;
  const pods = podsIn((await run('weft-web', 'bash', ['-c', script], 60_000)).stdout);
  assert.equal(pods.length, 100);
  assert.ok(Math.abs(pods.filter((pod) => pod === 'v1').length - 90) < 15, pods.join());
});

test('TrafficTarget with a TCPRoute: on a pod without a waypoint, one client may connect to one port', async () => {
  const redis = `http://${api}:6379/`;
  assert.deepEqual(await Promise.all([statusOf('web', redis), statusOf('intruder', redis)]), ['200', '200']);
  mesh.write('target.yaml', target('api', '{ kind: TCPRoute, name: redis }'));
  await become('the TrafficTarget', '000', () => statusOf('intruder', redis));
  assert.equal(await statusOf('web', redis), '200');
  assert.equal(await statusOf('web', `http://${api}:9000/`), '000');
  assert.match(
    linesOf(join(mesh.state, 'agent-node-b', 'connections.log'), 'shop/TrafficTarget:api'),
    /no rule of shop\/TrafficTarget:api allows it/,
  );
  // A pod of another account stays open.
  assert.equal(await statusOf('intruder', `http://${echo}/`), '200');
  mesh.write('target.yaml', '');
  await become('it is removed', '200', () => statusOf('intruder', redis));
});

test('TrafficTarget with an HTTPRouteGroup: the waypoint allows its requests to one client, and nothing else', async () => {
  mesh.write(
    'target.yaml',
    target(
      'echo',
      '{ kind: TCPRoute, name: web }, { kind: HTTPRouteGroup, name: routes, matches: [metrics, users] }',
    ),
  );
  await become('the TrafficTarget', '403', () => statusOf('web', `http://${echo}/other`));
  const status = (path: string, ...args: string[]): Promise<string> =>
    statusOf('web', `http://${echo}${path}`, ...args);
  assert.equal(await status('/metrics'), '200');
  assert.equal(await status('/metrics', '-X', 'POST'), '403');
  assert.equal(await status('/users/12'), '200');
  assert.equal(await status('/users/12/x'), '403');
  assert.equal(await statusOf('intruder', `http://${echo}/metrics`), '403');
  await until('the access log names the object', 30_000, () =>
    Promise.resolve(linesOf(accessLogOf(testbed, waypoint), 'shop/TrafficTarget:echo') !== ''),
  );
  // A request to the pod's own address passes the waypoint, too.
  assert.equal(await statusOf('web', 'http://10.244.2.60:8080/metrics'), '200');
  assert.equal(await statusOf('web', 'http://10.244.2.60:8080/other'), '403');
});

test('without its HTTPRouteGroup the TrafficTarget allows nothing', async () => {
  mesh.write('specs.yaml', specs.replace('name: routes,', 'name: renamed,'));
  await become('the group is missing', '403', () => statusOf('web', `http://${echo}/metrics`));
  mesh.write('specs.yaml', specs);
  await become('the group is back', '200', () => statusOf('web', `http://${echo}/metrics`));
});
