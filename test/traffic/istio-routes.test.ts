/** VirtualServices through a whole mesh: each group of fields with real requests. Without a waypoint's help nothing of it would happen. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RouteMesh, ask, httpRoute, inForce, vips, type Ask } from '../support/routes.js';
import { run } from '../../src/cli/run.js';
import { until } from '../../src/base/wait.js';

const mesh = new RouteMesh('istio-routes');
before(() => mesh.up());
after(() => mesh.down());

const marked = (name: string): string => `
    - match: [{ uri: { exact: /in-force/${name} } }]
      redirect: { authority: in.force, redirectCode: 302 }`;
/** A VirtualService of `echo`, with a rule that shows that it is in force. */
const virtualService = (
  name: string,
  http: string,
  more: { hosts?: string; namespace?: string; spec?: string } = {},
): string => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${name}, namespace: ${more.namespace ?? 'shop'} }
spec:
  hosts: [${more.hosts ?? 'echo'}]${more.spec ?? ''}
  http:${marked(name)}${http}
`;
const withVirtualService = (
  name: string,
  http: string,
  check: () => Promise<void>,
  more: Parameters<typeof virtualService>[2] & { asked?: Ask } = {},
): Promise<void> => mesh.withRoute(virtualService(name, http, more), inForce(name, more.asked), check);

const pod = async (path: string, asked?: Ask): Promise<string | undefined> => (await ask(path, asked)).pod;
const toV1 = 'route: [{ destination: { host: echo-v1 } }]';
const toV2 = 'route: [{ destination: { host: echo-v2 } }]';

test('rules match in the order written, by headers, methods, authorities, queries and the absence of headers', () =>
  withVirtualService(
    'order',
    `
    - match: [{ uri: { prefix: /a } }]
      ${toV1}
    - match: [{ uri: { exact: /abc } }]
      ${toV2}
    - match: [{ headers: { x-user-type: { exact: beta-tester } } }, { headers: { x-prefix: { prefix: be } } }, { headers: { x-regex: { regex: 'b[0-9]+' } } }, { headers: { x-present: {} } }]
      ${toV2}
    - match: [{ method: { exact: PUT } }, { method: { regex: 'D.*' } }]
      ${toV2}
    - match: [{ authority: { prefix: v2. } }]
      ${toV2}
    - match: [{ queryParams: { version: { exact: v2 } } }, { queryParams: { v: { regex: '[2-9]' } } }]
      ${toV2}
    - match: [{ uri: { prefix: /without }, withoutHeaders: { x-v1: {} } }]
      ${toV2}
    - match: [{ uri: { exact: /Case }, ignoreUriCase: true }, { uri: { regex: '/re/[a-z]+' } }, { scheme: { exact: https } }]
      ${toV2}
    - ${toV1}`,
    async () => {
      const header = (name: string, value: string): Promise<string | undefined> =>
        pod('/', { headers: { [name]: value } });
      // The more specific match comes later, and is not asked.
      for (const path of ['/abc', '/a', '/ab/c']) assert.equal(await pod(path), 'echo-v1', path);
      assert.equal(await header('x-user-type', 'beta-tester'), 'echo-v2');
      assert.equal(await header('x-user-type', 'beta-testers'), 'echo-v1');
      assert.equal(await header('x-prefix', 'beta'), 'echo-v2');
      assert.equal(await header('x-regex', 'b12'), 'echo-v2');
      assert.equal(await header('x-regex', 'b12c'), 'echo-v1');
      assert.equal(await header('x-present', ''), 'echo-v1', 'curl drops a header without a value');
      assert.equal(await header('x-present', 'any'), 'echo-v2');
      for (const [method, expected] of [
        ['PUT', 'echo-v2'],
        ['DELETE', 'echo-v2'],
        ['POST', 'echo-v1'],
      ] as const)
        assert.equal(await pod('/', { method }), expected, method);
      assert.equal(await pod('/', { headers: { host: 'v2.echo' } }), 'echo-v2');
      assert.equal(await pod('/?version=v2'), 'echo-v2');
      assert.equal(await pod('/?version=v1&v=3'), 'echo-v2');
      assert.equal(await pod('/?version=v%32'), 'echo-v2');
      assert.equal(await pod('/?version=v1'), 'echo-v1');
      assert.equal(await pod('/without'), 'echo-v2');
      assert.equal(await pod('/without', { headers: { 'x-v1': 'yes' } }), 'echo-v1');
      for (const path of ['/case', '/CASE', '/re/abc']) assert.equal(await pod(path), 'echo-v2', path);
      assert.equal(await pod('/re/abc1'), 'echo-v1');
    },
  ));

test('weights, and a request that no rule matches', () =>
  withVirtualService(
    'weights',
    `
    - match: [{ uri: { prefix: /w } }]
      route: [{ destination: { host: echo-v1 }, weight: 80 }, { destination: { host: echo-v2.shop.svc.cluster.local, port: { number: 80 } }, weight: 20 }]
    - match: [{ uri: { prefix: /plain-again } }]
      ${toV1}`,
    async () => {
      const pods = await Promise.all(Array.from({ length: 60 }, () => pod('/w')));
      const ofV2 = pods.filter((one) => one === 'echo-v2').length;
      assert.ok(ofV2 > 2 && ofV2 < 30, `${ofV2} of 60`);
      assert.equal((await ask('/none')).status, 404);
    },
  ));

test('redirects, rewrites and direct responses', () =>
  withVirtualService(
    'paths',
    `
    - match: [{ uri: { prefix: /old } }]
      redirect: { uri: /new, authority: example.org, redirectCode: 308 }
    - match: [{ uri: { exact: /secure } }]
      redirect: { scheme: https, derivePort: FROM_PROTOCOL_DEFAULT }
    - match: [{ uri: { exact: /port } }]
      redirect: { port: 8443 }
    - match: [{ uri: { prefix: /api/v1/ } }, { uri: { exact: /whole } }]
      rewrite: { uri: /, authority: other.host }
      ${toV1}
    - match: [{ uri: { prefix: /users } }]
      rewrite: { uriRegexRewrite: { match: '^/users/([^/]+)/(.*)$', rewrite: '/\\2/of/\\1' } }
      ${toV1}
    - match: [{ uri: { prefix: /gone } }]
      directResponse: { status: 410, body: { string: moved away } }
      headers: { response: { set: { x-why: old } } }
    - match: [{ uri: { exact: /reset } }]
      directResponse: { status: 205, body: { string: never sent } }
    - match: [{ uri: { exact: /same } }]
      directResponse: { status: 304, body: { string: never sent } }
    - match: [{ headers: { x-city: { regex: 'Zü?(rich)?|Genève' } } }]
      directResponse: { status: 204, body: { string: never sent } }
    - ${toV1}`,
    async () => {
      const old = await ask('/old?q=1');
      assert.deepEqual([old.status, old.headers['location']], [308, 'http://example.org/new?q=1']);
      const secure = await ask('/secure');
      assert.deepEqual([secure.status, secure.headers['location']], [301, 'https://echo/secure']);
      assert.equal((await ask('/port')).headers['location'], 'http://echo:8443/port');
      const { seen } = await ask('/api/v1/orders?q=1');
      assert.deepEqual([seen?.path, seen?.headers['host']], ['/orders?q=1', 'other.host']);
      assert.equal((await ask('/whole')).seen?.path, '/');
      assert.equal((await ask('/users/ann/cart?x=1')).seen?.path, '/cart/of/ann?x=1');
      const gone = await ask('/gone');
      assert.deepEqual([gone.status, gone.headers['x-why']], [410, 'old']);
      assert.equal(gone.headers['content-length'], String('moved away'.length));
      const reset = await ask('/reset');
      assert.deepEqual([reset.status, reset.headers['content-length']], [205, '0']);
      const same = await ask('/same');
      assert.deepEqual([same.status, same.headers['content-length']], [304, undefined]);
      // Header values are bytes, and the expression is text.
      for (const [city, status] of [
        ['Zürich', 204],
        ['Z', 204],
        ['Genève', 204],
        ['Zu', 200],
      ] as const)
        assert.equal((await ask('/', { headers: { 'x-city': city } })).status, status, city);
    },
  ));

test('headers are set, added and removed, for a rule and for a destination', () =>
  withVirtualService(
    'headers',
    `
    - route:
        - destination: { host: echo-v1 }
          headers: { request: { set: { x-of: destination } }, response: { remove: [x-served-by] } }
      headers:
        request: { set: { x-set: new }, add: { x-add: more }, remove: [x-remove] }
        response: { add: { x-response: rule } }`,
    async () => {
      const { seen, headers } = await ask('/', {
        headers: { 'x-set': 'old', 'x-add': 'one', 'x-remove': '1' },
      });
      assert.equal(seen?.headers['x-set'], 'new');
      assert.match(seen?.headers['x-add'] ?? '', /^one, ?more$/);
      assert.equal(seen?.headers['x-remove'], undefined);
      assert.equal(seen?.headers['x-of'], 'destination');
      assert.equal(headers['x-response'], 'rule');
      assert.equal(headers['x-served-by'], undefined);
    },
  ));

test('timeouts and retries', () =>
  withVirtualService(
    'retries',
    `
    - match: [{ uri: { prefix: /slow } }]
      timeout: 0.3s
      ${toV1}
    - match: [{ uri: { prefix: /flaky } }]
      retries: { attempts: 3, retryOn: '5xx', backoff: 5ms }
      ${toV1}
    - match: [{ uri: { prefix: /status/503 } }]
      retries: { attempts: 3, retryOn: 'reset,gateway-error,connect-failure', perTryTimeout: 2s }
      ${toV1}
    - ${toV1}`,
    async () => {
      assert.equal((await ask('/slow/2000')).status, 504);
      assert.equal((await ask('/slow/10')).status, 200);
      assert.equal((await ask('/flaky/vs-a/3')).status, 200);
      assert.equal((await ask('/flaky/vs-b/3', { method: 'POST' })).status, 200, 'whatever the method');
      assert.equal((await ask('/flaky/vs-c/9')).status, 503);
      assert.equal((await ask('/status/503')).status, 503);
      const seen = JSON.parse(
        (await run('weft-web', 'curl', ['-s', `http://${vips['echo-v1']}/seen`])).stdout,
      ) as Record<string, number>;
      assert.equal(seen['/status/503'], 4, 'one try and three retries');
    },
  ));

test('faults: delays and aborts', () =>
  withVirtualService(
    'faults',
    `
    - match: [{ headers: { x-delay: {} } }]
      fault: { delay: { percentage: { value: 100 }, fixedDelay: 0.5s } }
      ${toV1}
    - match: [{ headers: { x-abort: {} } }]
      fault: { abort: { percentage: { value: 100 }, httpStatus: 418 } }
      ${toV1}
    - match: [{ headers: { x-none: {} } }]
      fault: { abort: { httpStatus: 418 } }
      ${toV1}
    - ${toV1}`,
    async () => {
      const startMs = performance.now();
      assert.equal((await ask('/', { headers: { 'x-delay': '1' } })).status, 200);
      assert.ok(performance.now() - startMs > 490);
      assert.equal((await ask('/', { headers: { 'x-abort': '1' } })).status, 418);
      assert.equal((await ask('/', { headers: { 'x-none': '1' } })).status, 200, 'without a percentage');
      assert.equal((await ask('/')).status, 200);
    },
  ));

test('mirrors get copies of requests', () =>
  withVirtualService(
    'mirrors',
    `
    - match: [{ uri: { prefix: /copied } }]
      mirrors: [{ destination: { host: echo-v2 }, percentage: { value: 100 } }]
      ${toV1}
    - match: [{ uri: { prefix: /one-copy } }]
      mirror: { host: echo-v2 }
      mirrorPercentage: { value: 100 }
      ${toV1}
    - ${toV1}`,
    async () => {
      for (const path of ['/copied/a', '/one-copy/a']) {
        assert.equal(await pod(path), 'echo-v1');
        await until(`the copy of ${path} arrives`, 30_000, async () => {
          const { stdout } = await run('weft-web', 'curl', ['-s', `http://${vips['echo-v2']}/seen`]);
          return (JSON.parse(stdout) as Record<string, number>)[path] === 1;
        });
      }
    },
  ));

test('CORS: origins by text, prefix and expression', () =>
  withVirtualService(
    'cors',
    `
    - corsPolicy:
        allowOrigins: [{ exact: 'https://a.test' }, { prefix: 'https://b.' }, { regex: 'https://[cd]\\.test' }]
        allowMethods: [GET, PUT]
        maxAge: 1h
        unmatchedPreflights: IGNORE
      ${toV1}`,
    async () => {
      const of = async (origin: string, method = 'GET') =>
        ask('/', { method, headers: { origin, 'access-control-request-method': 'PUT' } });
      for (const origin of ['https://a.test', 'https://b.test', 'https://d.test']) {
        assert.equal((await of(origin)).headers['access-control-allow-origin'], origin);
        const preflight = await of(origin, 'OPTIONS');
        assert.equal(preflight.headers['access-control-allow-methods'], 'GET, PUT');
        assert.equal(preflight.headers['access-control-max-age'], '3600');
      }
      for (const origin of ['https://a.test.evil', 'http://b.test', 'https://e.test'])
        assert.equal((await of(origin)).headers['access-control-allow-origin'], undefined, origin);
      const ignored = await of('https://e.test', 'OPTIONS');
      assert.equal(ignored.pod, undefined, 'not sent to the endpoint');
    },
  ));

test('clients: by namespace, and by labels of all pods of their service account', () =>
  withVirtualService(
    'sources',
    `
    - match: [{ uri: { prefix: /by-namespace }, sourceNamespace: other }, { uri: { prefix: /by-labels }, sourceLabels: { app: intruder } }]
      ${toV2}
    - ${toV1}`,
    async () => {
      assert.equal(await pod('/by-namespace', { from: 'weft-visitor' }), 'echo-v2');
      assert.equal(await pod('/by-namespace'), 'echo-v1');
      assert.equal(await pod('/by-labels', { from: 'weft-intruder' }), 'echo-v2');
      assert.equal(await pod('/by-labels'), 'echo-v1');
    },
  ));

test('a rule is for one port, and other ports keep theirs', () =>
  withVirtualService(
    'ports',
    `
    - match: [{ port: 8081 }]
      ${toV2.replace('echo-v2 }', 'echo-v2, port: { number: 80 } }')}
    - match: [{ port: 80, uri: { prefix: /only } }]
      ${toV1}`,
    async () => {
      assert.equal(await pod('/x', { service: 'ports', port: 8081 }), 'echo-v2');
      assert.equal(await pod('/only', { service: 'ports' }), 'echo-v1');
      assert.equal((await ask('/x', { service: 'ports' })).status, 404);
    },
    { hosts: 'ports', asked: { service: 'ports' } },
  ));

test('a delegate has the rules, and the root says for which requests', async () => {
  const yaml = `${virtualService(
    'root',
    `
    - match: [{ uri: { prefix: /shop } }]
      delegate: { name: inner }
      headers: { response: { set: { x-root: 'yes' } } }
    - ${toV1}`,
  )}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: inner, namespace: shop }
spec:
  http:
    - match: [{ uri: { prefix: /shop/two } }]
      ${toV2}
    - match: [{ uri: { prefix: /elsewhere } }]
      ${toV2}
    - ${toV1}
`;
  await mesh.withRoute(yaml, inForce('root'), async () => {
    const two = await ask('/shop/two');
    assert.deepEqual([two.pod, two.headers['x-root']], ['echo-v2', 'yes']);
    assert.equal(await pod('/shop/one'), 'echo-v1');
    assert.equal(await pod('/elsewhere'), 'echo-v1');
  });
});

test('a wildcard is for Services without a VirtualService of their own', async () => {
  const yaml = [
    virtualService('wide', `\n    - ${toV2}`, { hosts: "'*.shop.svc.cluster.local'" }),
    virtualService('own', `\n    - ${toV1}`),
  ].join('---');
  await mesh.withRoute(yaml, inForce('own'), async () => {
    assert.equal(await pod('/x'), 'echo-v1');
    assert.equal(await pod('/x', { service: 'echo-v1' }), 'echo-v2');
  });
});

test('in another namespace it is for that namespace’s clients, and with exportTo only for those named', async () => {
  const asked = { from: 'weft-visitor' };
  await withVirtualService(
    'consumer',
    `
    - route: [{ destination: { host: echo-v2.shop.svc.cluster.local } }]`,
    async () => {
      for (let i = 0; i < 5; i++) assert.equal(await pod('/x', asked), 'echo-v2');
      assert.equal((await ask('/in-force/consumer')).status, 200, 'clients of other namespaces');
    },
    { hosts: 'echo.shop.svc.cluster.local', namespace: 'other', asked },
  );
  await withVirtualService(
    'exported',
    `
    - ${toV1}`,
    async () => assert.equal((await ask('/in-force/exported', asked)).status, 200),
    { spec: "\n  exportTo: ['.']" },
  );
});

test('a route of the Gateway API at the same port precedes it', async () => {
  const yaml = [
    virtualService('loses', `\n    - ${toV1}`),
    httpRoute('wins', '\n    - backendRefs: [{ name: echo-v2, port: 80 }]', { port: 80 }),
  ].join('---');
  await mesh.withRoute(yaml, inForce('wins'), async () => {
    assert.equal(await pod('/x'), 'echo-v2');
    assert.equal((await ask('/in-force/loses')).status, 200);
  });
});

test('what cannot be read is closed: its requests do not go on to the next rule', () =>
  withVirtualService(
    'closed',
    `
    - match: [{ uri: { prefix: /closed } }]
      fault: { abort: { percentage: { value: 1 }, http2Error: NO_ERROR } }
      ${toV1}
    - match: [{ uri: { prefix: /re }, headers: { x-a: { regex: '(' } } }]
      ${toV1}
    - match: [{ uri: { prefix: /no-service } }]
      route: [{ destination: { host: missing } }]
    - ${toV2}`,
    async () => {
      for (const path of ['/closed', '/re', '/no-service']) assert.equal((await ask(path)).status, 500, path);
      assert.equal(await pod('/open'), 'echo-v2');
    },
  ));

test('TCP rules by the namespace of the client, and by the port', async () => {
  const yaml = `
kind: Service
metadata: { name: bytes, namespace: shop, labels: { weft.dev/waypoint: waypoint } }
spec:
  selector: { app: echo }
  clusterIPs: [10.96.0.31]
  ports: [{ name: tcp-bytes, port: 9000, targetPort: 8080 }, { name: tcp-more, port: 9001, targetPort: 8080 }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: bytes, namespace: shop }
spec:
  hosts: [bytes]
  tcp:
    - match: [{ port: 9001 }]
      route: [{ destination: { host: echo-v2, port: { number: 80 } } }]
    - match: [{ port: 9000, sourceNamespace: other, destinationSubnets: [10.96.0.0/16] }]
      route: [{ destination: { host: echo-v2, port: { number: 80 } } }]
    - route: [{ destination: { host: echo-v1, port: { number: 80 } } }]
`;
  const podAt = (port: number, from = 'weft-web'): Promise<string | undefined> =>
    pod('/', { from, url: `http://10.96.0.31:${port}/` });
  await mesh.withRoute(
    yaml,
    async () => (await podAt(9001)) === 'echo-v2' && (await podAt(9000)) === 'echo-v1',
    async () => {
      for (let i = 0; i < 5; i++) {
        assert.equal(await podAt(9001), 'echo-v2');
        assert.equal(await podAt(9000), 'echo-v1');
        assert.equal(await podAt(9000, 'weft-visitor'), 'echo-v2');
      }
    },
  );
});
