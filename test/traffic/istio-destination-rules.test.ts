/** DestinationRules of Istio, by group of fields: real requests through real tunnels and a real waypoint. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { adminGet, adminPort } from '../../src/cli/admin.js';
import { run } from '../../src/cli/run.js';
import { load } from '../../src/cli/demo/stage.js';
import { waypointNetns } from '../../src/cli/standalone/waypoint.js';
import { RouteMesh, ask, vips } from '../support/routes.js';
import { accessLog, statuses } from '../support/traffic-policy.js';
import { metricOf, shownBy } from '../support/waypoint-state.js';

const mesh = new RouteMesh('istio-rules');
before(() => mesh.up());
after(() => mesh.down());

const host = 'echo.shop.svc.cluster.local';
const clusterOf = (subset = ''): string => `outbound|80|${subset}|${host}`;
const rule = (spec: string, namespace = 'shop', target = 'echo'): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: echo, namespace: ${namespace} }
spec:
  host: ${target}
${spec.replace(/^\n/, '')}
`;
const subsets = '  subsets: [{ name: one, labels: { version: v1 } }, { name: two, labels: { version: v2 } }]';
/** Requests with `x-to: two` go to subset two, all others to subset one. */
const split = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: echo, namespace: shop }
spec:
  hosts: [echo]
  http:
    - match: [{ headers: { x-to: { exact: two } } }]
      route: [{ destination: { host: echo, subset: two } }]
    - route: [{ destination: { host: echo, subset: one } }]
`;
const all = (...manifests: readonly string[]): string => manifests.join('\n---\n');

const policies = async (): Promise<string> => {
  const dump = await adminGet(waypointNetns(mesh.waypoint), adminPort, '/dump');
  return JSON.stringify((JSON.parse(dump) as { servicePolicies: unknown }).servicePolicies);
};
/** The waypoint has a setting by the rule. */
const has = (text: string) => async (): Promise<boolean> => (await policies()).includes(text);
const podOf = async (headers: Record<string, string> = {}): Promise<string | undefined> =>
  (await ask('/', { headers })).pod;
/** Requests go where `split` says. Without it each has an endpoint by chance, so one request shows nothing. */
async function isSplit(): Promise<boolean> {
  for (let i = 0; i < 6; i++)
    if ((await podOf({ 'x-to': 'two' })) !== 'echo-v2' || (await podOf()) !== 'echo-v1') return false;
  return true;
}
/** Responses by status, of requests that are sent at once. */
async function atOnce(path: string, count: number): Promise<Record<string, number>> {
  const url = `http://${vips.echo}${path}?[1-${count}]`;
  const parallel = ['-Z', '--parallel-immediate', '--parallel-max', String(count)];
  const args = [
    '-sS',
    '-m',
    '20',
    '--noproxy',
    '*',
    ...parallel,
    '-o',
    '/dev/null',
    '-w',
    '%{http_code}\\n',
    url,
  ];
  const { stdout } = await run('weft-web', 'curl', args, 30_000);
  const found: Record<string, number> = {};
  for (const status of stdout.trim().split('\n')) found[status] = (found[status] ?? 0) + 1;
  return found;
}

test('requests reach the endpoints of their subset, and metrics name the Service', () =>
  mesh.withRoute(all(rule(subsets), split), isSplit, async () => {
    const seen = new Set<string>();
    for (let i = 0; i < 20; i++) seen.add(`${await podOf({ 'x-to': 'two' })} ${await podOf()}`);
    assert.deepEqual([...seen], ['echo-v2 echo-v1']);
    const [one] = await shownBy(mesh.waypoint, clusterOf('one'), 'echo-v1');
    assert.ok(one, 'clusters have the names of Istio');
    const text = await adminGet(waypointNetns(mesh.waypoint), 15020, '/metrics');
    const named = [...text.matchAll(/destination_service="([^"]*)"/g)].map(([, name]) => name);
    assert.ok(named.includes(host));
    assert.ok(
      named.every((name) => !name?.includes('subset')),
      [...new Set(named)].join(),
    );
  }));

test('a route to a subset is under the policies of its Service', () =>
  mesh.withRoute(
    all(
      rule(subsets),
      split.replace('hosts: [echo]', 'hosts: [echo-v2]'),
      `
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: secret, namespace: shop }
spec:
  action: DENY
  targetRefs: [{ group: '', kind: Service, name: echo }]
  rules: [{ to: [{ paths: [/secret] }] }]
`,
    ),
    async () => (await ask('/', { service: 'echo-v2' })).pod === 'echo-v1',
    async () => {
      await until('the policy is in force', 30_000, async () => (await ask('/secret')).status === 403);
      assert.equal((await ask('/secret', { service: 'echo-v2' })).status, 403);
      assert.equal((await ask('/open', { service: 'echo-v2' })).status, 200);
    },
  ));

test('loadBalancer: a header decides which endpoint, and the settings of a subset are its own', () =>
  mesh.withRoute(
    rule('  trafficPolicy: { loadBalancer: { consistentHash: { httpHeaderName: x-user } } }'),
    has('ringHash'),
    async () => {
      const pods = new Map<string, Set<string | undefined>>();
      for (let i = 0; i < 60; i++) {
        const user = `user-${i % 10}`;
        pods.set(user, (pods.get(user) ?? new Set()).add(await podOf({ 'x-user': user })));
      }
      assert.ok([...pods.values()].every((of) => of.size === 1));
      assert.equal(new Set([...pods.values()].flatMap((of) => [...of])).size, 2, 'not all at one endpoint');
    },
  ));

test('connectionPool: more requests than http2MaxRequests are refused, and say by which rule', () =>
  mesh.withRoute(
    rule('  trafficPolicy: { connectionPool: { http: { http2MaxRequests: 3 } } }'),
    has('"requestsMax":3'),
    async () => {
      assert.deepEqual(await atOnce('/slow/1500', 10), { 200: 3, 503: 7 });
      await until('the access log names the rule', 30_000, () =>
        Promise.resolve(
          accessLog(mesh).some((line) => line.includes('circuit-breaker by DestinationRule shop/echo')),
        ),
      );
    },
  ));

test('connectionPool: requests beyond the connections wait, and those beyond http1MaxPendingRequests are refused', () =>
  mesh.withRoute(
    rule(
      '  trafficPolicy: { connectionPool: { tcp: { maxConnections: 2 }, http: { http1MaxPendingRequests: 4, maxRequestsPerConnection: 1 } } }',
    ),
    has('"connectionsMax":2'),
    async () => {
      // Connections that are open when a limit is lowered stay: with one request each, requests end those of other tests.
      await until('no connection is left', 30_000, async () => {
        await ask('/');
        const shown = ['echo-v1', 'echo-v2'].map((pod) => shownBy(mesh.waypoint, clusterOf(), pod));
        return (await Promise.all(shown)).flat().every(({ connections }) => connections === 0);
      });
      // All have come before the first ends.
      const found = await atOnce('/slow/2000', 20);
      // A request that comes while a connection is being opened waits as well.
      assert.ok((found['200'] ?? 0) >= 4 && (found['200'] ?? 0) <= 6, JSON.stringify(found));
      assert.equal((found['200'] ?? 0) + (found['503'] ?? 0), 20);
      const [shown] = await shownBy(mesh.waypoint, clusterOf(), 'echo-v1');
      assert.ok(shown);
    },
  ));

test('connectionPool: h2UpgradePolicy and useClientProtocol decide the version of requests to endpoints', async () => {
  const version = async (...more: readonly string[]): Promise<string | undefined> => {
    const { stdout } = await run('weft-web', 'curl', [
      '-sS',
      '-m',
      '6',
      '--noproxy',
      '*',
      ...more,
      `http://${vips.echo}/`,
    ]);
    return /"version":"([^"]*)"/.exec(stdout)?.[1];
  };
  await mesh.withRoute(
    rule('  trafficPolicy: { connectionPool: { http: { h2UpgradePolicy: UPGRADE } } }'),
    has('"upstreamProtocol":"http2"'),
    async () => assert.match((await version()) ?? '', /^HTTP\/2/),
  );
  await mesh.withRoute(
    rule('  trafficPolicy: { connectionPool: { http: { useClientProtocol: true } } }'),
    has('"upstreamProtocol":"client"'),
    async () => {
      assert.equal(await version(), 'HTTP/1.1');
      assert.match((await version('--http2-prior-knowledge')) ?? '', /^HTTP\/2/);
    },
  );
});

test('outlierDetection: an endpoint is ejected after its errors, and returns after its time', () =>
  mesh.withRoute(
    rule(
      '  trafficPolicy: { outlierDetection: { consecutiveErrors: 3, interval: 500ms, baseEjectionTime: 3s } }',
    ),
    has('"consecutive5xx":3'),
    async () => {
      const failed = (await statuses('/fail-at/echo-v1', 60)).filter((status) => status === 500).length;
      assert.equal(failed, 3);
      const state = async (): Promise<string | undefined> =>
        (await shownBy(mesh.waypoint, clusterOf(), 'echo-v1'))[0]?.state;
      assert.equal(await state(), 'ejected');
      assert.equal(
        await metricOf(mesh.waypoint, 'envoy_cluster_outlier_detection_ejections_active', clusterOf()),
        1,
      );
      await until('it returns', 30_000, async () => (await state()) === 'healthy');
      assert.ok((await statuses('/fail-at/echo-v1', 20)).includes(500));
    },
  ));

test('outlierDetection: the last endpoint of a subset is used although it fails', () =>
  mesh.withRoute(
    all(rule(`  trafficPolicy: { outlierDetection: { consecutive5xxErrors: 2 } }\n${subsets}`), split),
    async () => (await isSplit()) && (await has('"consecutive5xx":2')()),
    async () => {
      assert.ok((await statuses('/fail-at/echo-v1', 6)).every((status) => status === 500));
      assert.equal((await shownBy(mesh.waypoint, clusterOf('one'), 'echo-v1'))[0]?.state, 'ejected');
      assert.equal((await ask('/')).pod, 'echo-v1');
    },
  ));

test('tls: what cannot be carried out is closed, and TLS is never plain in its place', async () => {
  await mesh.withRoute(
    rule('  trafficPolicy: { tls: { mode: MUTUAL, clientCertificate: /a, privateKey: /b } }'),
    has('trafficPolicy.tls.clientCertificate'),
    async () => {
      const { status } = await ask('/');
      assert.ok(status >= 500, String(status));
      await until('the access log says why', 30_000, () =>
        Promise.resolve(
          accessLog(mesh).some((line) =>
            line.includes('DestinationRule shop/echo: trafficPolicy.tls.clientCertificate'),
          ),
        ),
      );
    },
  );
  // The endpoints speak no TLS.
  await mesh.withRoute(rule('  trafficPolicy: { tls: { mode: SIMPLE } }'), has('endpointTls'), async () => {
    const { status } = await ask('/');
    assert.equal(status, 503);
    assert.ok(accessLog(mesh).some((line) => line.includes('WEFT_UPSTREAM_TLS')));
  });
});

test('a VirtualService and the rule of its subsets come and go together without a failed request', async () => {
  const sent = load(`http://${vips.echo}/`, 8);
  for (let round = 0; round < 12; round++)
    await mesh.withRoute(
      round % 2 === 0 ? all(rule(subsets), split) : all(split, rule(subsets)),
      isSplit,
      () => Promise.resolve(),
    );
  const { answered, failures } = await sent.stop();
  assert.deepEqual(failures, {}, `${answered} responses`);
  assert.ok(answered > 50, `${answered} responses`);
});

test('a rule of another namespace changes nothing', () =>
  mesh.withRoute(
    rule(
      `  trafficPolicy: { tls: { mode: MUTUAL }, connectionPool: { http: { http2MaxRequests: 1 } } }`,
      'other',
      host,
    ),
    () => Promise.resolve(true),
    async () => {
      // A rule that is in force, written after it: the control plane has read both.
      mesh.rewrite(
        all(
          rule('  trafficPolicy: { tls: { mode: MUTUAL } }', 'other', host),
          rule('  trafficPolicy: { loadBalancer: { simple: RANDOM } }'),
        ),
      );
      await until('the own rule is in force', 30_000, has('DestinationRule shop/echo'));
      assert.ok(!(await policies()).includes('DestinationRule other'));
      assert.equal((await ask('/')).status, 200);
      assert.equal(
        (await ask('/', { from: 'weft-visitor' })).status,
        200,
        'nor for clients of that namespace',
      );
    },
  ));
