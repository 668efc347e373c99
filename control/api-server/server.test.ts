/** The aggregated API with real TLS connections. A fake API server has the front proxy's settings and reviews access. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import https from 'node:https';
import net from 'node:net';
import { after, before, beforeEach, test } from 'node:test';
import tls from 'node:tls';
import { until } from '../../src/base/wait.js';
import type { KeyAndCertificate } from '../../src/tls/issue.js';
import {
  edge,
  frontProxyData,
  issue,
  registry,
  rootOf,
  type Review,
} from '../../test/support/aggregated-api.js';
import { close, createApiServer, listen } from '../../test/support/api-server.js';
import type { EdgeAnswer } from '../../src/model/edge.js';
import { computedRates } from './computed-rates.js';
import { serverLimits } from './server.js';
import { ExplainSource } from '../explain/explained.js';
import { snapshotOf } from '../policy-mesh/policy-mesh.js';
import { startAggregatedApi, type AggregatedApi } from './start.js';

const mesh = rootOf();
const proxies = rootOf();
const aggregator = issue(proxies, 'aggregator');

let data: Record<string, string> | undefined;
let configMapStatus = 200;
let failedReads = 0;
let reviewStatus = 201;
let reviews: Review[] = [];
const mayRead = ({ user, resourceAttributes: { namespace = '' } }: Review['spec']): boolean =>
  user === 'admin' || (user === 'shop-admin' && namespace === 'shop');

const apiServer = createApiServer((request, response) => {
  let text = '';
  request.on('data', (part: Buffer) => (text += part.toString()));
  request.on('end', () => {
    const send = (status: number, body: object): void =>
      void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (request.method === 'GET') {
      if (configMapStatus !== 200) failedReads++;
      return send(configMapStatus, configMapStatus === 200 ? { data } : { message: 'away' });
    }
    const review = JSON.parse(text) as Review;
    reviews.push(review);
    send(
      reviewStatus,
      reviewStatus === 201 ? { ...review, status: { allowed: mayRead(review.spec) } } : { message: 'away' },
    );
  });
});

let api: AggregatedApi;
let answer: () => Promise<EdgeAnswer>;
let reached: string[] = [];
before(async () => {
  data = frontProxyData(proxies.certPem);
  api = await startAggregatedApi({
    config: await listen(apiServer),
    listen: '127.0.0.1:0',
    groups: ['observe.weft.dev', 'metrics.smi-spec.io'],
    rootNamespace: 'weft-system',
    explanations: new ExplainSource({
      whole: () => snapshotOf([], 'weft-system'),
      rootNamespace: 'weft-system',
    }),
    certificate: issue(mesh, 'weft-control.weft-system.svc'),
    registry,
    edges: { query: () => answer() },
    changes: { query: () => Promise.resolve({ changes: [], sinceMs: 0, missing: [] }) },
    taps: { open: () => undefined },
    onResponse: () => undefined,
    onLimit: (limit) => reached.push(limit),
    log: { info: () => undefined, warn: () => undefined },
    checkMs: 25,
  });
});
after(() => {
  api.stop();
  close(apiServer);
});
beforeEach(() => {
  answer = () => Promise.resolve({ edges: [edge], sinceMs: 0, missing: [] });
  reviews = [];
  reached = [];
});

interface Asked {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Record<string, unknown>;
}
interface Ask {
  readonly as?: KeyAndCertificate | undefined;
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly method?: string;
  readonly payload?: string;
  readonly agent?: https.Agent;
}
const admin = { 'x-remote-user': 'admin' };
const root = '/apis/metrics.smi-spec.io/v1alpha1';
const ask = (
  path: string,
  { as = aggregator, headers = admin, method = 'GET', payload, agent }: Ask = {},
): Promise<Asked> =>
  new Promise((resolve, reject) => {
    const call = https.request(
      {
        host: '127.0.0.1',
        port: api.port,
        path,
        method,
        headers,
        ca: mesh.certPem,
        servername: 'weft-control.weft-system.svc',
        ...(as.keyPem === '' ? {} : { key: as.keyPem, cert: as.certPem }),
        agent: agent ?? false,
      },
      (response) => {
        let text = '';
        response.on('data', (part: Buffer) => (text += part.toString()));
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: text.startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : { text },
          }),
        );
      },
    );
    call.on('error', reject);
    call.end(payload);
  });
const none: KeyAndCertificate = { keyPem: '', certPem: '' };
const items = ({
  body,
}: Asked): readonly { readonly metadata: { readonly name: string }; readonly edge: object }[] =>
  body['items'] as ReturnType<typeof items>;

test('the front proxy gets what a user whom it names may read', async () => {
  const list = await ask(`${root}/namespaces/shop/pods`);
  assert.equal(list.status, 200, JSON.stringify(list.body));
  assert.equal(list.body['kind'], 'TrafficMetricsList');
  assert.deepEqual(list.body['resource'], { kind: 'Pod', namespace: 'shop' });
  assert.deepEqual(
    items(list).map(({ metadata }) => metadata.name),
    ['db', 'web'],
  );
  const one = await ask(`${root}/namespaces/shop/pods/web`);
  assert.equal(one.body['kind'], 'TrafficMetrics');
  assert.deepEqual((one.body['metrics'] as unknown[]).slice(3), [
    { name: 'success_count', value: '4' },
    { name: 'failure_count', value: '1' },
  ]);
  const edges = await ask(`${root}/namespaces/shop/pods/web/edges`);
  assert.deepEqual(
    items(edges).map((item) => item.edge),
    [{ direction: 'from', side: 'server', resource: { kind: 'Pod', namespace: 'bank', name: 'teller' } }],
  );
});

test('clients discover the group, its version and its resources', async () => {
  const groups = await ask('/apis');
  assert.equal(groups.body['kind'], 'APIGroupList');
  const resources = (await ask(root)).body['resources'] as readonly {
    readonly name: string;
    readonly verbs: unknown;
  }[];
  const names = resources.map(({ name }) => name).filter((name) => !name.includes('/'));
  assert.deepEqual(names.toSorted(), [
    'daemonsets',
    'deployments',
    'jobs',
    'namespaces',
    'nodes',
    'pods',
    'replicasets',
    'replicationcontrollers',
    'services',
    'statefulsets',
    'trafficsplits',
  ]);
  assert.equal(names.at(-1), 'pods', 'the one that kubectl reads');
  assert.ok(resources.some(({ name }) => name === 'pods/edges'));
  assert.equal((await ask('/openapi/v2')).body['swagger'], '2.0');
  assert.equal((await ask('/healthz', { as: none })).body['text'], 'ok');
});

for (const [who, how] of [
  ['without a certificate', { as: none }],
  ["with a certificate of the mesh's own CA", { as: issue(mesh, 'aggregator') }],
  ['with a certificate of an unknown CA', { as: issue(rootOf(), 'aggregator') }],
  ["with the front proxy's CA and another name", { as: issue(proxies, 'kubelet') }],
  ['with an expired certificate', { as: issue(proxies, 'aggregator', -60) }],
  ['that names no user', { headers: { 'x-remote-group': 'system:masters' } }],
  ['that names an empty user', { headers: { 'x-remote-user': '' } }],
  ['that names two users', { headers: { 'x-remote-user': ['admin', 'system'] } }],
  ['with a token instead', { as: none, headers: { authorization: 'Bearer x' } }],
] as const)
  test(`forbidden: a client ${who} gets 401 and learns nothing`, async () => {
    for (const path of [
      `${root}/namespaces/shop/pods`,
      root,
      '/apis',
      `${root}/namespaces/shop/pods/web/edges`,
    ]) {
      const { status, body, headers } = await ask(path, how as Ask);
      assert.equal(status, 401);
      assert.equal(body['kind'], 'Status');
      assert.equal(body['reason'], 'Unauthorized');
      assert.equal(headers['connection'], 'close');
      assert.doesNotMatch(JSON.stringify(body), /web|teller|shop/);
    }
    assert.deepEqual(reviews, []);
  });

test("the user's groups and extra are reviewed as the front proxy sent them", async () => {
  const headers = {
    'x-remote-user': 'nobody',
    'x-remote-group': ['a', 'b, c'],
    'x-remote-extra-acme.com%2fproject': ['p', 'q'],
  };
  await ask(`${root}/namespaces/shop/pods/web/edges`, { headers });
  assert.deepEqual(reviews[0]?.spec, {
    user: 'nobody',
    groups: ['a', 'b, c'],
    extra: { 'acme.com/project': ['p', 'q'] },
    resourceAttributes: {
      group: 'metrics.smi-spec.io',
      version: 'v1alpha1',
      resource: 'pods',
      subresource: 'edges',
      verb: 'get',
      namespace: 'shop',
      name: 'web',
    },
  });
});

test('forbidden: a user of one namespace reads metrics of another, of all, or of the cluster', async () => {
  const headers = { 'x-remote-user': 'shop-admin' };
  assert.equal((await ask(`${root}/namespaces/shop/pods`, { headers })).status, 200);
  assert.equal((await ask(`${root}/namespaces/shop`, { headers })).status, 200);
  for (const path of [
    '/namespaces/bank/pods',
    '/namespaces/bank/pods/teller',
    '/namespaces/bank/pods/teller/edges',
    '/namespaces/bank/services',
    '/namespaces/bank/trafficsplits',
    '/namespaces/bank',
    '/namespaces/bank/edges',
    '/namespaces',
    '/pods',
    '/nodes',
    '/nodes/node1',
    '/namespaces/shop/../bank/pods',
    '/namespaces/shop/%2e%2e/bank/pods',
  ]) {
    const { status, body } = await ask(`${root}${path}`, { headers });
    assert.equal(status, 403, path);
    assert.equal(body['reason'], 'Forbidden');
  }
});

test('forbidden: the edges of a pod name pods of a namespace that the user may not read', async () => {
  const headers = { 'x-remote-user': 'shop-admin' };
  for (const path of ['/namespaces/shop/pods/web/edges', '/namespaces/shop/edges']) {
    const { status, body } = await ask(`${root}${path}`, { headers });
    assert.equal(status, 200, path);
    assert.doesNotMatch(JSON.stringify(body), /bank|teller/);
    assert.match(JSON.stringify(body), /"direction":"from"/);
  }
});

test('access is reviewed once for requests that follow each other', async () => {
  const headers = { 'x-remote-user': 'once' };
  for (let i = 0; i < 5; i++) await ask(`${root}/namespaces/shop/pods`, { headers });
  assert.equal(reviews.length, 1);
});

test('forbidden: metrics are read while the API server reviews no access', async () => {
  reviewStatus = 500;
  const headers = { 'x-remote-user': 'unreviewed' };
  const { status, body } = await ask(`${root}/namespaces/shop/pods`, { headers });
  assert.equal(status, 503);
  assert.match(String(body['message']), /did not review/);
  reviewStatus = 201;
  assert.equal(
    (await ask(`${root}/namespaces/shop/pods`, { headers })).status,
    403,
    'the failure is not kept',
  );
});

test('requests that are not served say why, as objects of kind Status', async () => {
  const refused: [string, Ask, number, RegExp][] = [
    [`${root}/namespaces/shop/pods`, { method: 'POST' }, 405, /POST/],
    [`${root}/namespaces/shop/pods`, { method: 'DELETE' }, 405, /DELETE/],
    [`${root}/namespaces/shop/pods?watch=true`, {}, 405, /watched/],
    [
      `${root}/namespaces/shop/pods`,
      { payload: 'x', headers: { ...admin, 'content-length': '1' } },
      413,
      /body/,
    ],
    [`${root}/namespaces/shop/pods?labelSelector=a%20b`, {}, 400, /labelSelector/],
    [`${root}/namespaces/shop/pods?fieldSelector=a%3Db`, {}, 400, /fieldSelector/],
    [`${root}/namespaces/shop/pods?limit=x`, {}, 400, /limit/],
    [`${root}/namespaces/shop/pods/absent`, {}, 404, /not found/],
    [`${root}/namespaces/shop/pods/absent/edges`, {}, 404, /not found/],
    [`${root}/namespaces/shop/secrets`, {}, 404, /not served/],
    [`${root}/namespaces/shop/nodes`, {}, 404, /not served/],
    [`${root}/namespaces/shop/pods/web/log`, {}, 404, /not served/],
    [`${root}/pods/web`, {}, 404, /not served/],
    ['/api/v1/pods', {}, 404, /not served/],
  ];
  for (const [path, how, code, text] of refused) {
    const { status, body } = await ask(path, how);
    assert.equal(status, code, path);
    assert.deepEqual([body['kind'], body['status'], body['code']], ['Status', 'Failure', code]);
    assert.match(String(body['message']), text);
  }
});

test('labels select, and a list has pages', async () => {
  const by = async (query: string): Promise<readonly string[]> =>
    items(await ask(`${root}/namespaces/shop/pods?${query}`)).map(({ metadata }) => metadata.name);
  assert.deepEqual(await by('labelSelector=app%3Dweb'), ['web']);
  assert.deepEqual(await by('labelSelector=app%20notin%20(web,x),weft.dev/mesh'), ['db']);
  const first = await ask(`${root}/namespaces/shop/pods?limit=1`);
  assert.deepEqual(
    items(first).map(({ metadata }) => metadata.name),
    ['db'],
  );
  const { continue: next, remainingItemCount } = first.body['metadata'] as Record<string, unknown>;
  assert.equal(remainingItemCount, 1);
  assert.deepEqual(await by(`limit=1&continue=${String(next)}`), ['web']);
});

test('kubectl gets a table', async () => {
  const accept = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json';
  const { body } = await ask(`${root}/namespaces/shop/pods`, { headers: { ...admin, accept } });
  assert.equal(body['kind'], 'Table');
  const rows = body['rows'] as readonly { readonly cells: readonly string[] }[];
  assert.deepEqual(
    rows.map(({ cells }) => cells.slice(0, 3)),
    [
      ['db', '', '-'],
      ['web', '', '80.00%'],
    ],
  );
});

test('metrics of which a part is missing say so', async () => {
  answer = () => Promise.resolve({ edges: [edge], sinceMs: 0, missing: ['weft-control-2'] });
  const { headers, status } = await ask(`${root}/namespaces/bank/pods`);
  assert.equal(status, 200);
  assert.match(String(headers['warning']), /^299 - "incomplete: 1 replicas/);
});

test('an error of the control plane is not shown to the client', async () => {
  answer = () => Promise.reject(new Error('secret detail'));
  const { status, body } = await ask(`${root}/pods`);
  assert.equal(status, 500);
  assert.doesNotMatch(JSON.stringify(body), /secret/);
});

test('threat 4: clients that show no certificate cannot keep the front proxy from its connections, and are closed', async () => {
  const sockets = Array.from({ length: 2 * serverLimits.connections }, () =>
    net
      .connect({ host: '127.0.0.1', port: api.port, localAddress: '127.0.0.2' })
      .on('error', () => undefined),
  );
  await until('the limit is reached', 30_000, () => reached.includes('metrics-api-connections'));
  assert.equal((await ask('/apis')).status, 200);
  await until('silent clients are closed', 30_000, () => sockets.every(({ closed }) => closed));
});

test('the serving certificate is replaced without ending connections, and the front proxy is still known by its own', async () => {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  assert.equal((await ask('/apis', { agent })).status, 200);
  const next = issue(mesh, 'weft-control.weft-system.svc');
  api.present(next);
  const presented = await new Promise<Buffer>((resolve, reject) => {
    const socket = tls.connect({
      host: '127.0.0.1',
      port: api.port,
      ca: mesh.certPem,
      servername: 'weft-control.weft-system.svc',
    });
    socket.on('secureConnect', () => {
      resolve(socket.getPeerCertificate().raw);
      socket.destroy();
    });
    socket.on('error', reject);
  });
  assert.ok(presented.equals(new X509Certificate(next.certPem).raw));
  assert.equal((await ask('/apis', { agent })).status, 200, 'on the open connection');
  assert.equal((await ask('/apis')).status, 200);
  assert.equal((await ask('/apis', { as: none })).status, 401);
  agent.destroy();
});

for (const [what, path, max] of [
  ['discovers', '/apis', serverLimits.perUser.burst],
  ['reads metrics', `${root}/namespaces/shop/pods`, computedRates.perUser.burst],
] as const)
  test(`a user who ${what} too often waits, and others do not`, async () => {
    const headers = { 'x-remote-user': 'shop-admin' };
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
    let last: Asked | undefined;
    for (let i = 0; i <= max * 4 && last?.status !== 429; i++) last = await ask(path, { headers, agent });
    assert.equal(last?.status, 429);
    assert.equal(last.headers['retry-after'], '1');
    assert.equal(last.body['reason'], 'TooManyRequests');
    assert.ok(reached.includes('metrics-api-rate'));
    assert.equal((await ask(path, { agent })).status, 200);
    agent.destroy();
  });

test('a CA that the API server replaces is believed no longer, also on open connections', async () => {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  assert.equal((await ask('/apis', { agent })).status, 200);
  const next = rootOf();
  data = frontProxyData(next.certPem);
  await until(
    'the new CA is believed',
    10_000,
    async () =>
      (await ask('/apis', { as: issue(next, 'aggregator') }).catch(() => undefined))?.status === 200,
  );
  assert.equal((await ask('/apis')).status, 401);
  const former = await ask('/apis', { agent }).catch(() => undefined);
  assert.ok(former === undefined || former.status === 401);
  agent.destroy();
  // While the ConfigMap cannot be read, the last known front proxy stays.
  configMapStatus = 500;
  await until('the ConfigMap was read in vain', 30_000, () => failedReads >= 3);
  assert.equal((await ask('/apis', { as: issue(next, 'aggregator') })).status, 200);
  configMapStatus = 200;
  for (const bad of [
    undefined,
    {},
    { ...frontProxyData(next.certPem), 'requestheader-client-ca-file': 'x' },
  ]) {
    data = bad as typeof data;
    await until(
      'nobody is believed',
      10_000,
      async () =>
        (await ask('/apis', { as: issue(next, 'aggregator') }).catch(() => undefined))?.status === 401,
    );
    data = frontProxyData(next.certPem);
    await until(
      'the front proxy is believed again',
      10_000,
      async () =>
        (await ask('/apis', { as: issue(next, 'aggregator') }).catch(() => undefined))?.status === 200,
    );
  }
});
