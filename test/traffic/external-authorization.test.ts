/** External authorization by the policies of docs/external-authorization.md: real control plane, tunnels, waypoint with two workers, and decision service. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { run, signalProcess } from '../../src/cli/run.js';
import { listening } from '../support/demo-mesh.js';
import { policyOf } from '../support/docs-policy.js';
import { examples } from '../support/examples.js';
import { ask, RouteMesh, vips } from '../support/routes.js';
import { accessLog } from '../support/traffic-policy.js';
import { metricOf } from '../support/waypoint-state.js';

const mesh = new RouteMesh('external-authorization', 2);
const decider = 'decider';
const netns = 'weft-echo-v2';
const services = `
---
apiVersion: v1
kind: Service
metadata: { name: opa, namespace: shop }
spec:
  selector: { app: echo, version: v2 }
  clusterIPs: [10.96.0.70]
  ports: [{ name: grpc, port: 9191 }, { name: http, port: 9192 }]
---
`;
const startDecider = async (): Promise<void> => {
  const program = join(projectRoot, 'dist', 'src', 'cli', 'demo', 'decide.js');
  mesh.testbed.start(decider, netns, process.execPath, [program, '9191']);
  for (const port of [9191, 9192]) await listening(netns, port);
};
before(async () => {
  await mesh.up();
  await startDecider();
});
after(() => mesh.down());

/** A busy machine must not make a decision late. */
const patient = (yaml: string): string =>
  services +
  yaml
    .replace('timeout: 500ms', 'timeout: 5s')
    .replace(/( +)service: (.*)\n(?! +timeout)/g, '$1service: $2\n$1timeout: 5s\n');
const page = (name: string): string => patient(policyOf('external-authorization', name));
const asks = (path: string, user?: string, more: Record<string, string> = {}) =>
  ask(path, { headers: { ...(user === undefined ? {} : { 'x-user': user }), ...more } });
const isAsked = (path: string) => async (): Promise<boolean> => (await asks(path)).status === 401;
const upload = async (body: string): Promise<string> => {
  const args = [
    '-sS',
    '-m',
    '30',
    '--noproxy',
    '*',
    '-o',
    '/dev/null',
    '-w',
    '%{http_code}',
    '-H',
    'x-user: ann',
  ];
  const { stdout } = await run('weft-web', 'curl', [
    ...args,
    '--data-binary',
    body,
    `http://${vips.echo}/upload`,
  ]);
  return stdout;
};
const metric = (name: string): Promise<number> =>
  metricOf(mesh.waypoint, `envoy_cluster_ext_authz_${name}`, 'outbound|80||echo.shop.svc.cluster.local');

test('a service decides by gRPC: what it allows arrives with its headers, what it denies gets its response', async () => {
  await mesh.withRoute(page('guard'), isAsked('/orders/1'), async () => {
    const allowed = await asks('/orders/1', 'ann', { 'x-checked-user': 'root' });
    assert.equal(allowed.status, 200);
    assert.equal(allowed.seen?.headers['x-checked-user'], 'ann');
    assert.match(allowed.seen.headers['x-decision'] ?? '', /^\d+$/);
    const unknown = await asks('/orders/1');
    assert.deepEqual([unknown.status, unknown.headers['www-authenticate']], [401, 'Demo']);
    assert.equal((await asks('/orders/1', 'eve')).status, 403);
    const other = await asks('/shop', 'eve', { 'x-checked-user': 'root' });
    assert.equal(other.status, 200, 'a request that does not match');
    assert.equal(other.seen?.headers['x-checked-user'], undefined, 'and cannot say who was checked');
    assert.equal((await asks('/shop/../orders/1', 'eve')).status, 403);
    await until('the access log says which policy acted', 30_000, () =>
      Promise.resolve(
        accessLog(mesh).some(
          (line) =>
            line.includes('"UAEX"') &&
            line.includes('external-authorization by TrafficPolicy shop/guard orders'),
        ),
      ),
    );
    assert.ok((await metric('ok')) >= 1);
    assert.ok((await metric('denied')) >= 3);
  });
});

test('the address of a pod is no way around the decision', async () => {
  await mesh.withRoute(page('guard'), isAsked('/orders/1'), async () => {
    const url = 'http://10.244.2.60:8080/orders/1';
    assert.equal((await ask('', { url, headers: { 'x-user': 'eve' } })).status, 403);
    assert.equal((await ask('', { url, headers: { 'x-user': 'ann' } })).status, 200);
  });
});

test('the service hangs, is stopped, killed and back: requests are refused meanwhile, or pass where the policy fails open', async () => {
  const yaml = page('guard').replace('timeout: 5s', 'timeout: 1s');
  await mesh.withRoute(yaml, isAsked('/orders/1'), async () => {
    assert.equal((await asks('/orders/hang', 'ann')).status, 503);
    const mark = mesh.testbed.mark(decider);
    assert.ok(mark && signalProcess(mark, 'SIGSTOP'));
    assert.equal((await asks('/orders/1', 'ann')).status, 503);
    assert.equal((await asks('/shop')).status, 200, 'other requests do not wait');
    signalProcess(mark, 'SIGCONT');
    await until('it decides again', 30_000, async () => (await asks('/orders/1', 'ann')).status === 200);
    await mesh.testbed.stop(decider, 'SIGKILL');
    assert.equal((await asks('/orders/1', 'ann')).status, 503);
    mesh.rewrite(yaml.replace('timeout: 1s', 'timeout: 1s\n      failOpen: true'));
    await until('it fails open', 30_000, async () => (await asks('/orders/1', 'eve')).status === 200);
    assert.ok((await metric('failure_mode_allowed')) >= 1);
    mesh.rewrite(yaml);
    await until('it fails closed', 30_000, async () => (await asks('/orders/1', 'ann')).status === 503);
    await startDecider();
    await until('it decides again', 30_000, async () => (await asks('/orders/1', 'ann')).status === 200);
    assert.equal((await asks('/orders/1', 'eve')).status, 403);
  });
});

test('a service decides by plain HTTP', async () => {
  await mesh.withRoute(page('guard-http'), isAsked('/x'), async () => {
    const { status, seen } = await asks('/x', 'ann', { 'x-checked-user': 'root' });
    assert.deepEqual([status, seen?.headers['x-checked-user']], [200, 'ann']);
    const denied = await asks('/x', 'eve');
    assert.deepEqual(
      [denied.status, denied.headers['x-decision']],
      [403, undefined],
      'a header that is not listed',
    );
  });
});

test('a service decides by the body', async () => {
  const uploads = page('guard-uploads');
  await mesh.withRoute(
    uploads,
    async () => (await upload('virus')) === '403',
    async () => {
      assert.equal(await upload('text'), '200');
      assert.equal(await upload('x'.repeat(9_000)), '413');
      assert.equal((await asks('/upload')).status, 200, 'a GET is not asked for');
    },
  );
});

test('decisions are kept, for one client and one set of headers', async () => {
  const yaml = page('guard').replace(
    'timeout: 5s',
    'timeout: 5s\n      cache: 10m\n      requestHeaders: [x-user]',
  );
  await mesh.withRoute(yaml, isAsked('/orders/1'), async () => {
    const numbers = new Set<string | undefined>();
    for (let i = 0; i < 10; i++) numbers.add((await asks('/orders/kept', 'ann')).seen?.headers['x-decision']);
    // Each of the two workers keeps its own.
    assert.ok(numbers.size <= 2, [...numbers].join());
    assert.equal((await asks('/orders/kept', 'eve')).status, 403);
    const visitor = await ask('/orders/kept', { from: 'weft-visitor', headers: { 'x-user': 'ann' } });
    assert.ok(!numbers.has(visitor.seen?.headers['x-decision']), 'another identity');
  });
});

test('a route of the Service goes without a decision if the policy lets it', async () => {
  const route =
    examples().find(({ objects }) => objects.some(({ metadata }) => metadata?.name === 'health'))?.text ?? '';
  const yaml = page('guard-http').replace('protocol: HTTP', 'protocol: HTTP\n      routesMayDisable: true');
  await mesh.withRoute(
    `${yaml}\n---\n${route}`,
    async () => (await asks('/healthz')).status === 200 && (await asks('/other', 'ann')).status === 404,
    async () => {
      mesh.rewrite(`${page('guard-http')}\n---\n${route}`);
      await until('the annotation alone changes nothing', 30_000, isAsked('/healthz'));
    },
  );
});

test("the Gateway API's externalAuth asks for the requests of its rule", async () => {
  const route =
    examples().find(({ objects }) => objects.some(({ metadata }) => metadata?.name === 'checked'))?.text ??
    '';
  await mesh.withRoute(services + route, isAsked('/checked/1'), async () => {
    // Its timeout is Envoy's, which a busy machine may exceed.
    const checked = await until('the service decides in time', 30_000, async () => {
      const one = await asks('/checked/1', 'ann', { 'x-checked-user': 'root' });
      return one.status === 200 && one;
    });
    assert.equal(checked.seen?.headers['x-checked-user'], 'ann');
    await until('it denies', 30_000, async () => (await asks('/checked/1', 'eve')).status === 403);
  });
});

test('a Service without a waypoint is closed while a policy demands decisions', async () => {
  const bare = `${services}
apiVersion: v1
kind: Service
metadata: { name: bare, namespace: shop }
spec: { selector: { app: echo, version: v1 }, clusterIPs: [10.96.0.71], ports: [{ name: http, port: 80, targetPort: 8080 }] }
`;
  const yaml = `${bare}---\n${page('guard').replace(services, '').replace('name: echo }', 'name: bare }')}`;
  const status = async (): Promise<number> => (await ask('', { url: 'http://10.96.0.71/orders/1' })).status;
  await mesh.withRoute(
    bare,
    async () => (await status()) === 200,
    async () => {
      mesh.rewrite(yaml);
      await until('it is closed', 30_000, async () => (await status()) === 0);
      mesh.rewrite(bare);
      await until('it is open again', 30_000, async () => (await status()) === 200);
    },
  );
});
