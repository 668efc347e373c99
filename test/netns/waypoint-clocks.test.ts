/** A waypoint's timeouts, from the annotations of a Gateway and a route to streams through real tunnels. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { adminGet, adminPort } from '../../src/cli/admin.js';
import { run } from '../../src/cli/run.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import type { ServicePolicy } from '../../src/model/service-policy.js';
import { startWaypoint, waypointNetns, waypointProcess } from '../../src/cli/standalone/waypoint.js';
import { DemoMesh } from '../support/demo-mesh.js';

/** A client of a Service without routes: the time until its stream, on which nothing moves, is ended; 5000 if it stays open. */
const patient = `import http2 from 'node:http2';
const session = http2.connect('http://10.96.0.41:8481');
session.on('error', () => process.exit(1));
const stream = session.request({ ':method': 'POST', ':path': '/shop.Clock/Quiet', 'content-type': 'application/grpc', te: 'trailers' }, { endStream: false });
stream.on('error', () => undefined);
stream.write('word');
stream.once('data', () => {
  const since = performance.now();
  const done = (ms) => { console.log(Math.round(ms)); process.exit(0); };
  stream.once('close', () => done(performance.now() - since));
  setTimeout(() => done(5000), 5000);
});`;
/** A Service whose own annotation is in force instead of its Gateway's, which is 2 s. */
const own = (annotations: string): string => `kind: Service
metadata: { name: own, namespace: shop, labels: { weft.dev/waypoint: waypoint }, annotations: { ${annotations} } }
spec:
  selector: { app: echo }
  clusterIPs: [10.96.0.41]
  ports: [{ name: grpc, port: 8481 }]
`;

const mesh = new DemoMesh('clocks');
let testbed: Testbed;

/** Sends ticks on /Tick. On other paths it begins a response, is then silent, and sends back the bytes that it gets. */
const server = `import http2 from 'node:http2';
http2.createServer().on('stream', (stream, headers) => {
  stream.on('error', () => undefined);
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
  if (headers[':path'].endsWith('/Tick')) {
    const timer = setInterval(() => stream.write('tick'), 200);
    stream.on('close', () => clearInterval(timer));
  }
  stream.on('data', (bytes) => stream.write(bytes));
}).listen(8481, '::');`;

/** A client that sends one word on each stream and reads. */
const client = `import http2 from 'node:http2';
const session = http2.connect('http://10.96.0.40:8481');
session.on('error', () => process.exit(1));
const open = (path) => {
  const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' }, { endStream: false });
  stream.got = '';
  stream.on('error', () => undefined);
  stream.on('data', (bytes) => { stream.got += bytes; stream.emit('more'); });
  stream.ended = new Promise((resolve) => stream.once('close', () => resolve(stream.rstCode)));
  stream.write('word');
  return stream;
};
const until = (stream, holds) => new Promise((resolve) => {
  const look = () => holds(stream.got) && resolve();
  stream.on('more', look);
  look();
});
const [listener, quiet, kept] = ['/shop.Clock/Tick', '/shop.Clock/Quiet', '/shop.Kept/Quiet'].map(open);
const code = await quiet.ended;
await until(listener, (got) => got.length > 4 * 20);
kept.write('still');
await until(kept, (got) => got === 'wordstill');
console.log(JSON.stringify({ quiet: code, listener: listener.closed, kept: kept.closed }));
process.exit(0);`;

before(async () => {
  await mesh.prepare();
  mesh.gateway((yaml) =>
    yaml.replace(
      /^metadata:$/m,
      "metadata:\n  annotations: { weft.dev/stream-idle-timeout: '2s', weft.dev/request-body-idle-timeout: '1s' }",
    ),
  );
  mesh.write(
    'more.yaml',
    `kind: Service
metadata: { name: clock, namespace: shop, labels: { weft.dev/waypoint: waypoint } }
spec:
  selector: { app: echo }
  clusterIPs: [10.96.0.40]
  ports: [{ name: grpc, port: 8481 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: kept, namespace: shop, annotations: { weft.dev/stream-idle-timeout: '0s' } }
spec:
  parentRefs: [{ group: '', kind: Service, name: clock }]
  rules:
    - matches: [{ method: { service: shop.Kept } }]
      backendRefs: [{ name: clock, port: 8481 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: others, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: clock }]
  rules:
    - matches: [{ method: { service: shop.Clock } }]
      backendRefs: [{ name: clock, port: 8481 }]
`,
  );
  mesh.write('own.yaml', own("weft.dev/stream-idle-timeout: '0s'"));
  testbed = mesh.create();
  for (const version of ['v1', 'v2']) {
    testbed.start(`clock-${version}`, `weft-echo-${version}`, process.execPath, [
      '--input-type=module',
      '-e',
      server,
    ]);
  }
  await testbed.up();
  const [place] = testbed.topology.waypoints;
  assert.ok(place);
  assert.deepEqual(place.flags, ['--request-body-idle-timeout-ms=1000', '--stream-idle-timeout-ms=2000']);
  await startWaypoint(testbed, place);
});
after(() => mesh.remove());

test('a stream with traffic in one direction stays open, an idle one ends after the Gateway’s timeout, a route may disable it', async () => {
  const said = await until('the streams ended as expected', 60_000, async () => {
    const { stdout } = await run('weft-web', process.execPath, ['--input-type=module', '-e', client], 20_000);
    return stdout === '' ? undefined : stdout;
  });
  assert.deepEqual(JSON.parse(said), { quiet: 2, listener: false, kept: false });
});

test('an annotation on a Service replaces the Gateway’s timeout, a change takes effect without a restart, and an invalid value is reported', async () => {
  const lasts = async (): Promise<number | undefined> => {
    const { stdout } = await run(
      'weft-web',
      process.execPath,
      ['--input-type=module', '-e', patient],
      20_000,
    );
    return stdout === '' ? undefined : Number(stdout);
  };
  const [place] = testbed.topology.waypoints;
  assert.ok(place);
  const started = testbed.mark(waypointProcess(place));
  assert.equal(await until('a stream of the Service', 30_000, lasts), 5000);
  mesh.write(
    'own.yaml',
    own(
      "weft.dev/stream-idle-timeout: 9s, weft.dev/stream-idle-timeout.grpc: 1s, weft.dev/load-balancing: 'fastest'",
    ),
  );
  const ms = await until('the port’s own timeout is in force', 30_000, async () => {
    const found = await lasts();
    return found !== undefined && found < 1_990 ? found : undefined;
  });
  assert.ok(ms >= 900, `${ms} ms`);
  assert.deepEqual(testbed.mark(waypointProcess(place)), started);
  const { servicePolicies } = JSON.parse(await adminGet(waypointNetns(place), adminPort, '/dump')) as {
    servicePolicies: readonly ServicePolicy[];
  };
  assert.deepEqual(servicePolicies.find(({ service }) => service.includes('/own.'))?.origins, [
    { setting: 'bodyIdleMs', object: 'Gateway shop/waypoint' },
    { setting: 'streamIdleMs', object: 'Service shop/own port 8481' },
  ]);
  const problems = JSON.parse(readFileSync(join(mesh.state, 'control', 'problems.json'), 'utf8')) as string[];
  assert.ok(
    problems.some((text) => /^Service shop\/own: .*load-balancing: "fastest" is unknown/.test(text)),
    problems.join('\n'),
  );
});
