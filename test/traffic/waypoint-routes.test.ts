/**
 * Which requests a route matches and where they go, as the Gateway API specifies for a mesh. Each feature of its mesh profile has a test of
 * our own, through real tunnels. Filters: waypoint-route-filters.test.ts.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { run } from '../../src/cli/run.js';
import { RouteMesh, ask, grpc, httpRoute, inForce, vips } from '../support/routes.js';

const mesh = new RouteMesh('routes');
before(() => mesh.up());
after(() => mesh.down());

test('without a route all endpoints of a Service respond, whatever the path', async () => {
  const pods = new Set<string | undefined>();
  for (let i = 0; i < 40; i++) pods.add((await ask(`/any/${i}`)).pod);
  assert.deepEqual([...pods].sort(), ['echo-v1', 'echo-v2']);
});

test('a pod reaches itself through its own Service', async () => {
  assert.equal((await ask('/', { from: 'weft-echo-v1', service: 'echo-v1' })).pod, 'echo-v1');
  assert.equal((await ask('/', { from: 'weft-echo-v2', service: 'echo-v2' })).pod, 'echo-v2');
});

test('paths match by whole segments, headers by value; a rule applies if one of its matches does', () =>
  mesh.withRoute(
    httpRoute(
      'matching',
      `
    - matches: [{ path: { type: PathPrefix, value: / } }, { headers: [{ name: version, value: one }] }]
      backendRefs: [{ name: echo-v1, port: 80 }]
    - matches: [{ path: { type: PathPrefix, value: /v2 } }, { headers: [{ name: version, value: two }] }]
      backendRefs: [{ name: echo-v2, port: 80 }]`,
    ),
    inForce('matching'),
    async () => {
      const cases: [string, Record<string, string>, string][] = [
        ['/', {}, 'echo-v1'],
        ['/example', {}, 'echo-v1'],
        ['/', { Version: 'one' }, 'echo-v1'],
        ['/v2', {}, 'echo-v2'],
        ['/v2/example', {}, 'echo-v2'],
        ['/v2/', {}, 'echo-v2'],
        ['/', { Version: 'two' }, 'echo-v2'],
        ['/v2example', {}, 'echo-v1'],
        ['/foo/v2/example', {}, 'echo-v1'],
        ['/example/../v2', {}, 'echo-v2'],
      ];
      for (const [path, headers, pod] of cases)
        assert.equal((await ask(path, { headers })).pod, pod, `${path} ${JSON.stringify(headers)}`);
    },
  ));

test('a request that no rule matches gets 404', () =>
  mesh.withRoute(
    httpRoute(
      'only',
      `
    - matches: [{ path: { type: Exact, value: /only }, method: GET }]
      backendRefs: [{ name: echo-v1, port: 80 }]`,
    ),
    inForce('only'),
    async () => {
      assert.equal((await ask('/only')).pod, 'echo-v1');
      assert.equal((await ask('/only/')).status, 404);
      assert.equal((await ask('/only', { method: 'DELETE' })).status, 404);
    },
  ));

test('query parameters match by value and have lower precedence than headers', () =>
  mesh.withRoute(
    httpRoute(
      'query',
      `
    - matches: [{ queryParams: [{ name: animal, value: whale }] }, { queryParams: [{ name: animal, value: dolphin }, { name: color, value: blue }] }]
      backendRefs: [{ name: echo-v1, port: 80 }]
    - matches: [{ queryParams: [{ name: animal, value: dolphin }] }, { headers: [{ name: x-two, value: 'yes' }] }]
      backendRefs: [{ name: echo-v2, port: 80 }]`,
    ),
    inForce('query'),
    async () => {
      assert.equal((await ask('/?animal=whale')).pod, 'echo-v1');
      assert.equal((await ask('/?animal=dolphin&color=blue')).pod, 'echo-v1');
      assert.equal((await ask('/?color=blue&animal=dolphin')).pod, 'echo-v1');
      assert.equal((await ask('/?animal=whale', { headers: { 'x-two': 'yes' } })).pod, 'echo-v2');
      assert.equal((await ask('/?animal=Whale')).status, 404);
      assert.equal((await ask('/')).status, 404);
    },
  ));

test('weights are kept to within 5 percentage points over 500 requests; weight 0 is never chosen', () =>
  mesh.withRoute(
    httpRoute(
      'weights',
      `
    - backendRefs: [{ name: echo-v1, port: 80, weight: 90 }, { name: echo-v2, port: 80, weight: 10 }, { name: missing, port: 80, weight: 0 }]`,
    ),
    inForce('weights'),
    async () => {
      const url = `http://${vips.echo}/[1-500]`;
      const { stdout } = await run('weft-web', 'curl', ['-sS', '-m', '60', '--noproxy', '*', url], 60_000);
      const v1 = [...stdout.matchAll(/"pod":"echo-v1"/g)].length;
      assert.equal([...stdout.matchAll(/"pod":/g)].length, 500);
      assert.ok(Math.abs(v1 - 450) <= 25, `${v1} of 500`);
    },
  ));

test('a backend that does not exist gives 500 for its share, and for all requests if it is the only one', () =>
  mesh.withRoute(
    httpRoute(
      'missing',
      `
    - matches: [{ path: { type: PathPrefix, value: /half } }]
      backendRefs: [{ name: echo-v1, port: 80 }, { name: missing, port: 80 }]
    - matches: [{ path: { type: PathPrefix, value: /all } }]
      backendRefs: [{ name: echo-v1, port: 9999 }]`,
    ),
    inForce('missing'),
    async () => {
      const statuses = await Promise.all(Array.from({ length: 60 }, async () => (await ask('/half')).status));
      const failed = statuses.filter((status) => status === 500).length;
      assert.ok(failed > 10 && failed < 50, `${failed} of 60`);
      assert.ok(statuses.every((status) => status === 500 || status === 200));
    },
  ));

test('a route applies only to its Service, not to a pod’s address (MeshFrontend)', () =>
  mesh.withRoute(
    httpRoute(
      'frontend',
      `
    - filters: [{ type: ResponseHeaderModifier, responseHeaderModifier: { set: [{ name: X-Header-Set, value: set }], add: [{ name: X-Added, value: a }], remove: [x-served-by] } }]
      backendRefs: [{ name: echo-v2, port: 80 }]`,
      { service: 'echo-v2' },
    ),
    async () => (await ask('/', { service: 'echo-v2' })).headers['x-header-set'] === 'set',
    async () => {
      const through = await ask('/', { service: 'echo-v2' });
      assert.equal(through.headers['x-served-by'], undefined);
      assert.equal(through.headers['x-added'], 'a');
      const direct = await ask('/', {
        url: 'http://10.244.1.60:8080/',
        headers: { host: '10.244.1.60:8080' },
      });
      assert.equal(direct.status, 200);
      assert.equal(direct.headers['x-header-set'], undefined);
      assert.equal(direct.headers['x-served-by'], 'echo-v2');
      // The Service's address selects the Service, whatever host the request names (MeshFrontendHostname).
      const renamed = await ask('/', { service: 'echo-v2', headers: { host: 'somebody.else' } });
      assert.equal(renamed.headers['x-header-set'], 'set');
      // Another Service in front of the same pods is another frontend.
      assert.equal((await ask('/', { service: 'echo-v1' })).headers['x-header-set'], undefined);
    },
  ));

test('a route that names a port of its Service applies only to that port (MeshPorts)', () =>
  mesh.withRoute(
    httpRoute(
      'ports',
      `
    - filters: [{ type: ResponseHeaderModifier, responseHeaderModifier: { set: [{ name: X-Header-Set, value: v1 }] } }]
      backendRefs: [{ name: echo-v1, port: 80 }]`,
      { service: 'ports', port: 80 },
    ),
    async () => (await ask('/', { service: 'ports' })).headers['x-header-set'] === 'v1',
    async () => {
      const other = await ask('/', { service: 'ports', port: 8081 });
      assert.equal(other.status, 200);
      assert.equal(other.headers['x-header-set'], undefined);
    },
  ));

test('a route in another namespace applies to that namespace’s clients, instead of the Service’s own (MeshConsumerRoute)', () =>
  mesh.withRoute(
    `${httpRoute(
      'producer',
      `
    - backendRefs: [{ name: echo-v1, port: 80 }]`,
    )}---${httpRoute(
      'consumer',
      `
    - filters: [{ type: ResponseHeaderModifier, responseHeaderModifier: { set: [{ name: X-Consumer, value: 'yes' }] } }]
      backendRefs: [{ name: echo-v2, namespace: shop, port: 80 }]`,
      { namespace: 'other' },
    )}`,
    async () =>
      (await ask('/', { from: 'weft-visitor' })).headers['x-consumer'] === 'yes' &&
      (await ask('/')).pod === 'echo-v1',
    async () => {
      for (let i = 0; i < 10; i++) {
        assert.equal((await ask('/', { from: 'weft-visitor' })).pod, 'echo-v2');
        const own = await ask('/');
        assert.equal(own.pod, 'echo-v1');
        assert.equal(own.headers['x-consumer'], undefined);
      }
    },
  ));

test('gRPC calls are split by weight, to within 5 percentage points over 500 calls', () =>
  mesh.withRoute(
    `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: weights, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: echo, port: 7070 }]
  rules:
    - matches: [{ method: { service: demo.Echo } }]
      backendRefs: [{ name: echo-v1, port: 7070, weight: 90 }, { name: echo-v2, port: 7070, weight: 10 }]
`,
    async () => ((await grpc(40)).counts['echo-v1'] ?? 0) >= 32,
    async () => {
      const { counts } = await grpc(500);
      assert.equal(
        Object.values(counts).reduce((sum, one) => sum + one, 0),
        500,
      );
      assert.ok(Math.abs((counts['echo-v1'] ?? 0) - 450) <= 25, JSON.stringify(counts));
    },
  ));

test('gRPC routes by service and method and changes headers; a missing backend of weight 0 has no effect', () =>
  mesh.withRoute(
    `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: grpc, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: echo, port: 7070 }]
  rules:
    - matches: [{ method: { service: demo.Echo, method: Say } }]
      backendRefs: [{ name: echo-v2, port: 7070 }, { name: missing, port: 7070, weight: 0 }]
    - matches: [{ method: { method: Chat } }]
      filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-set, value: a }] } }]
      backendRefs: [{ name: echo-v1, port: 7070 }]
`,
    async () => (await grpc(10)).counts['echo-v2'] === 10,
    async () => {
      const { unary, stream } = await grpc();
      assert.deepEqual(unary, { answer: 'hello', code: 0, by: 'echo-v2' });
      assert.deepEqual(stream, {
        seen: 'a',
        answers: ['message 0', 'message 1', 'message 2'],
        code: 0,
        by: 'echo-v1',
      });
    },
  ));

test('an HTTP upgrade is passed through, in both directions', async () => {
  const program = `import http from 'node:http';
const request = http.request({ host: '${vips.echo}', path: '/', headers: { connection: 'Upgrade', upgrade: 'echo' } });
request.on('upgrade', (answer, socket) => {
  socket.write('one');
  socket.once('data', (one) => {
    socket.end('two');
    let rest = '';
    socket.on('data', (two) => (rest += two));
    socket.on('end', () => console.log(answer.statusCode, String(one), rest));
  });
});
request.end();`;
  const { stdout } = await run('weft-web', process.execPath, ['--input-type=module', '-e', program]);
  assert.equal(stdout.trim(), '101 one two');
});

test('of two kinds of routes on one port the more specific applies, and the other’s status says so', () =>
  mesh.withRoute(
    `${httpRoute(
      'everything',
      `
    - backendRefs: [{ name: echo-v1, port: 80 }]`,
    )}---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: calls, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: echo, port: 7070 }]
  rules: [{ backendRefs: [{ name: echo-v2, port: 7070 }] }]
`,
    async () => (await grpc(10)).counts['echo-v2'] === 10,
    async () => {
      for (let i = 0; i < 10; i++) assert.equal((await ask('/')).pod, 'echo-v1');
    },
  ));
