/**
 * Routes attached to Services, as the Gateway API's specification words them for a mesh: each feature of its mesh profile by a test of
 * our own, through real tunnels.
 */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { Testbed, tearDown } from '../../src/cli/standalone/testbed.js';
import { startWaypoint } from '../../src/cli/standalone/waypoint.js';

const state = '/run/weft/test-routes';
const manifests = mkdtempSync(join(tmpdir(), 'weft-manifests-'));
const demo = join(projectRoot, 'dist', 'src', 'cli', 'demo');
const example = (name: string): string =>
  readFileSync(join(projectRoot, 'docs', 'examples', 'waypoint', `${name}.yaml`), 'utf8');
let testbed: Testbed;

const vips = { echo: '10.96.0.20', 'echo-v1': '10.96.0.21', 'echo-v2': '10.96.0.22', ports: '10.96.0.30' };
type ServiceName = keyof typeof vips;

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly pod: string | undefined;
  readonly seen: { readonly path: string; readonly headers: Record<string, string> } | undefined;
}

interface Ask {
  readonly from?: string;
  readonly service?: ServiceName;
  readonly port?: number;
  readonly url?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

async function ask(
  path: string,
  { from = 'weft-web', service = 'echo', port = 80, ...rest }: Ask = {},
): Promise<Answer> {
  const url = rest.url ?? `http://${vips[service]}:${port}${path}`;
  const headers = Object.entries({ host: service, ...rest.headers }).flatMap(([k, v]) => [
    '-H',
    `${k}: ${v}`,
  ]);
  const args = [
    '-sSi',
    '-m',
    '6',
    '--noproxy',
    '*',
    '--path-as-is',
    '-X',
    rest.method ?? 'GET',
    ...headers,
    url,
  ];
  const { stdout } = await run(from, 'curl', args);
  const [head = '', body = ''] = stdout.split('\r\n\r\n');
  const [line = '', ...lines] = head.split('\r\n');
  const seen = body.startsWith('{') ? (JSON.parse(body) as Answer['seen'] & { pod: string }) : undefined;
  return {
    status: Number(line.split(' ')[1] ?? 0),
    headers: Object.fromEntries(
      lines.map((one) => [
        one.slice(0, one.indexOf(':')).toLowerCase(),
        one.slice(one.indexOf(':') + 1).trim(),
      ]),
    ),
    pod: seen?.pod,
    seen,
  };
}

/** One route file at a time, taken away with its test; resolves when `ready` holds. */
let turns = 0;
async function withRoute(
  yaml: string,
  ready: () => Promise<unknown>,
  check: () => Promise<void>,
): Promise<void> {
  const path = join(manifests, `route-${++turns}.yaml`);
  writeFileSync(path, yaml);
  try {
    await until('the route is in force', 30_000, ready);
    await check();
  } finally {
    rmSync(path);
    // A Service without routes is as if nobody read its requests: each test begins there.
    await until('it is gone', 30_000, async () => (await ask('/plain-again')).status === 200);
  }
}

const http = (
  name: string,
  rules: string,
  more: { service?: string; namespace?: string; port?: number } = {},
): string => `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: ${name}, namespace: ${more.namespace ?? 'shop'} }
spec:
  parentRefs: [{ group: '', kind: Service, name: ${more.service ?? 'echo'}, namespace: shop${more.port ? `, port: ${more.port}` : ''} }]
  rules:
${rules.replace(/^\n/, '')}
    - matches: [{ path: { type: Exact, value: /in-force/${name} } }]
      filters: [{ type: RequestRedirect, requestRedirect: { hostname: in.force } }]
`;
/** Each route has a rule of its own by which it is known to be in force: what it does else may be so by chance. */
const inForce =
  (name: string, asked: Ask = {}) =>
  async (): Promise<boolean> =>
    (await ask(`/in-force/${name}`, asked)).status === 302;
before(async () => {
  await tearDown(state);
  cpSync(join(projectRoot, 'src', 'cli', 'demo', 'manifests'), manifests, { recursive: true });
  writeFileSync(join(manifests, 'gateway.yaml'), example('gateway'));
  writeFileSync(
    join(manifests, 'namespace.yaml'),
    'kind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mesh: enabled } }\n',
  );
  writeFileSync(
    join(manifests, 'more.yaml'),
    `kind: Namespace
metadata: { name: other, labels: { weft.dev/mesh: enabled } }
---
kind: Pod
metadata: { name: visitor, namespace: other, annotations: { weft.dev/netns: weft-visitor } }
spec: { nodeName: node-a, serviceAccountName: visitor }
status: { podIPs: [{ ip: 10.244.1.30 }, { ip: 'fd00:244:1::30' }] }
---
kind: Service
metadata: { name: ports, namespace: shop, labels: { weft.dev/waypoint: waypoint } }
spec:
  selector: { app: echo }
  clusterIPs: [10.96.0.30]
  ports: [{ name: http, port: 80, targetPort: 8080 }, { name: http-alt, port: 8081, targetPort: 8080 }]
`,
  );
  testbed = Testbed.create({ from: manifests, state });
  for (const version of ['v1', 'v2'])
    testbed.start(`echo-${version}`, `weft-echo-${version}`, process.execPath, [
      join(demo, 'echo.js'),
      `echo-${version}`,
      '8080',
    ]);
  await testbed.up();
  await startWaypoint(testbed, { namespace: 'shop', name: 'waypoint', node: 'node-b' });
  await until('echo answers', 30_000, async () => (await ask('/')).status === 200);
});
after(async () => {
  await tearDown(state);
  rmSync(manifests, { recursive: true, force: true });
});

test('without a route a Service is as it was: all its endpoints answer, whatever the path', async () => {
  const pods = new Set<string | undefined>();
  for (let i = 0; i < 40; i++) pods.add((await ask(`/any/${i}`)).pod);
  assert.deepEqual([...pods].sort(), ['echo-v1', 'echo-v2']);
});

test('a pod reaches itself through its own Service', async () => {
  assert.equal((await ask('/', { from: 'weft-echo-v1', service: 'echo-v1' })).pod, 'echo-v1');
  assert.equal((await ask('/', { from: 'weft-echo-v2', service: 'echo-v2' })).pod, 'echo-v2');
});

test('paths match by whole segments, headers by value; a rule holds where one of its matches does', () =>
  withRoute(
    http(
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

test('a request that no rule matches is answered 404', () =>
  withRoute(
    http(
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

test('query parameters match by value, and count for precedence behind headers', () =>
  withRoute(
    http(
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

test('weights are kept: 500 requests within five of a hundred; weight 0 is never chosen', () =>
  withRoute(
    http(
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

test('a backend that does not exist is 500 for its share, and for all where there is no other', () =>
  withRoute(
    http(
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

test('request headers are set, added and removed; per backend too, and by named rules', () =>
  withRoute(
    http(
      'headers',
      `
    - name: changed
      matches: [{ path: { type: PathPrefix, value: /set } }]
      filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: X-Header-Set, value: set-overwrites }], add: [{ name: X-Header-Add, value: add-appends }], remove: [X-Header-Remove] } }]
      backendRefs: [{ name: echo-v1, port: 80 }]
    - name: backend
      matches: [{ path: { type: PathPrefix, value: /backend } }]
      backendRefs: [{ name: echo-v2, port: 80, filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: X-Of-Backend, value: v2 }] } }] }]`,
    ),
    inForce('headers'),
    async () => {
      const headers = { 'x-header-set': 'old', 'x-header-add': 'first', 'x-header-remove': 'x' };
      const { seen } = await ask('/set', { headers });
      assert.equal(seen?.headers['x-header-set'], 'set-overwrites');
      assert.match(seen?.headers['x-header-add'] ?? '', /^first, ?add-appends$/);
      assert.equal(seen?.headers['x-header-remove'], undefined);
      assert.equal((await ask('/backend')).seen?.headers['x-of-backend'], 'v2');
      assert.equal((await ask('/set')).seen?.headers['x-of-backend'], undefined);
    },
  ));

test('what a route does it does for its Service alone: not by a pod’s address (MeshFrontend)', () =>
  withRoute(
    http(
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
      // By the Service's address it is the Service, whatever the request calls it (MeshFrontendHostname).
      const renamed = await ask('/', { service: 'echo-v2', headers: { host: 'somebody.else' } });
      assert.equal(renamed.headers['x-header-set'], 'set');
      // Another Service in front of the same pods is another frontend.
      assert.equal((await ask('/', { service: 'echo-v1' })).headers['x-header-set'], undefined);
    },
  ));

test('a route that names a port of its Service holds for that port alone (MeshPorts)', () =>
  withRoute(
    http(
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

test('a route in another namespace holds for that namespace’s clients, in place of the Service’s own (MeshConsumerRoute)', () =>
  withRoute(
    `${http(
      'producer',
      `
    - backendRefs: [{ name: echo-v1, port: 80 }]`,
    )}---${http(
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

test('redirects: host, status, port, scheme and path, each by itself and together', () =>
  withRoute(
    http(
      'redirects',
      [
        ['/host', '{ hostname: example.org }'],
        ['/status', '{ hostname: example.org, statusCode: 301 }'],
        ['/s303', '{ hostname: example.org, statusCode: 303 }'],
        ['/s307', '{ hostname: example.org, statusCode: 307 }'],
        ['/s308', '{ hostname: example.org, statusCode: 308 }'],
        ['/port', '{ port: 8083 }'],
        ['/scheme', '{ scheme: https }'],
        ['/scheme-and-host', '{ scheme: https, hostname: example.org }'],
        ['/prefix', '{ path: { type: ReplacePrefixMatch, replacePrefixMatch: /replacement } }'],
        ['/full', '{ path: { type: ReplaceFullPath, replaceFullPath: /replaced } }'],
        [
          '/full-and-host',
          '{ hostname: example.org, statusCode: 301, path: { type: ReplaceFullPath, replaceFullPath: /replaced } }',
        ],
      ]
        .map(
          ([path, filter]) => `
    - matches: [{ path: { type: PathPrefix, value: ${path} } }]
      filters: [{ type: RequestRedirect, requestRedirect: ${filter} }]`,
        )
        .join(''),
    ),
    async () => (await ask('/host')).status === 302,
    async () => {
      const cases: [string, number, string][] = [
        ['/host/a?b=c', 302, 'http://example.org/host/a?b=c'],
        ['/status', 301, 'http://example.org/status'],
        ['/s303', 303, 'http://example.org/s303'],
        ['/s307', 307, 'http://example.org/s307'],
        ['/s308', 308, 'http://example.org/s308'],
        ['/port', 302, 'http://echo:8083/port'],
        ['/scheme', 302, 'https://echo/scheme'],
        ['/scheme-and-host', 302, 'https://example.org/scheme-and-host'],
        ['/prefix/lemon', 302, 'http://echo/replacement/lemon'],
        ['/full/path/original', 302, 'http://echo/replaced'],
        ['/full-and-host', 301, 'http://example.org/replaced'],
      ];
      for (const [path, status, location] of cases) {
        const answer = await ask(path);
        assert.equal(answer.status, status, path);
        assert.equal(answer.headers['location'], location);
      }
    },
  ));

test('rewrites: a prefix, a whole path, the host', () =>
  withRoute(
    http(
      'rewrites',
      `
    - matches: [{ path: { type: PathPrefix, value: /prefix/one } }]
      filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /one } } }]
      backendRefs: [{ name: echo-v1, port: 80 }]
    - matches: [{ path: { type: PathPrefix, value: /strip } }]
      filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: / } } }]
      backendRefs: [{ name: echo-v1, port: 80 }]
    - matches: [{ path: { type: PathPrefix, value: /full/one } }]
      filters: [{ type: URLRewrite, urlRewrite: { hostname: other.example, path: { type: ReplaceFullPath, replaceFullPath: /one } } }]
      backendRefs: [{ name: echo-v2, port: 80 }]`,
    ),
    inForce('rewrites'),
    async () => {
      assert.equal((await ask('/prefix/one/two?q=1')).seen?.path, '/one/two?q=1');
      assert.equal((await ask('/prefix/one')).seen?.path, '/one');
      assert.equal((await ask('/strip/three')).seen?.path, '/three');
      assert.equal((await ask('/strip')).seen?.path, '/');
      const full = await ask('/full/one/two');
      assert.equal(full.seen?.path, '/one');
      assert.equal(full.seen?.headers['host'], 'other.example');
    },
  ));

test('a mirror sees what its backend sees, and its answer is nobody’s', () =>
  withRoute(
    http(
      'mirror',
      `
    - filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: echo-v2, port: 80 } } }]
      backendRefs: [{ name: echo-v1, port: 80 }]`,
    ),
    inForce('mirror'),
    async () => {
      const key = `mirrored-${Date.now()}`;
      // Each request of a key is counted where it is served: v2 has failed once already when it is asked itself.
      assert.equal((await ask(`/flaky/${key}/1`)).status, 503);
      assert.equal((await ask(`/flaky/${key}/1`)).pod, 'echo-v1');
      const direct = await ask(`/flaky/${key}/1`, { service: 'echo-v2' });
      assert.equal(direct.status, 200, 'v2 has counted the copies');
    },
  ));

test('gRPC calls are split by weight: 500 within five of a hundred', () =>
  withRoute(
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

test('gRPC by service and method, its headers changed; a missing backend of weight 0 does no harm', () =>
  withRoute(
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

interface Calls {
  readonly unary: { readonly answer?: string; readonly code: number; readonly by: string };
  readonly stream: {
    readonly answers: readonly string[];
    readonly code: number;
    readonly by: string;
    readonly seen: string;
  };
  readonly counts: Readonly<Record<string, number>>;
}
async function grpc(calls = 1): Promise<Calls> {
  const args = [join(demo, 'grpc.js'), `${vips.echo}:7070`, String(calls)];
  return JSON.parse((await run('weft-web', process.execPath, args, 15_000)).stdout) as Calls;
}

test('an upgrade is passed through, both ways', async () => {
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

test('of two kinds of routes on one port the more specific holds, and the other is told so', () =>
  withRoute(
    `${http(
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
