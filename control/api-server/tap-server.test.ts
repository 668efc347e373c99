/** Taps behind the aggregated API, with real TLS connections: who reads what, and when a tap ends. */
import assert from 'node:assert/strict';
import type http from 'node:http';
import https from 'node:https';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { encodeTappedEvent } from '../../src/discovery/codec/tap.js';
import type { TapEvent } from '../../src/model/mesh-snapshot.js';
import { frontProxyData, issue, registry, rootOf, type Review } from '../../test/support/aggregated-api.js';
import { close, createApiServer, listen } from '../../test/support/api-server.js';
import { tapConnection, tapParty } from '../../test/support/taps.js';
import { TapHub } from '../taps/tap-hub.js';
import { ReplicatedTaps } from '../taps/tap-source.js';
import { readFrontProxy } from './front-proxy.js';
import { ApiServer } from './server.js';
import { startAggregatedApi, type AggregatedApi } from './start.js';
import { TapRequests } from './tap-requests.js';

const mesh = rootOf();
const proxies = rootOf();
const aggregator = issue(proxies, 'aggregator');
const reviews: Review[] = [];

const apiServer = createApiServer((request, response) => {
  let text = '';
  request.on('data', (part: Buffer) => (text += part.toString()));
  request.on('end', () => {
    const send = (status: number, body: object): void =>
      void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (request.method === 'GET') return send(200, { data: frontProxyData(proxies.certPem) });
    const review = JSON.parse(text) as Review;
    reviews.push(review);
    send(201, { ...review, status: { allowed: review.spec.resourceAttributes['namespace'] === 'shop' } });
  });
});
const hub = new TapHub({
  registry,
  onRefused: (why) => assert.fail(why),
  onLost: () => undefined,
  onLimit: () => undefined,
});
const taps = new ReplicatedTaps(hub, { replicas: () => [], controlPlane: () => assert.fail() });
let api: AggregatedApi;
before(async () => {
  api = await startAggregatedApi({
    config: await listen(apiServer),
    listen: '127.0.0.1:0',
    groups: ['observe.weft.dev'],
    rootNamespace: 'weft-system',
    certificate: issue(mesh, 'weft-control.weft-system.svc'),
    registry,
    edges: { query: () => Promise.resolve({ edges: [], sinceMs: 0, missing: [] }) },
    changes: { query: () => Promise.resolve({ changes: [], sinceMs: 0, missing: [] }) },
    explanations: { query: () => Promise.reject(new Error('not asked')) },
    taps,
    onResponse: () => undefined,
    onLimit: () => undefined,
    log: { info: () => undefined, warn: () => undefined },
    checkMs: 25,
  });
});
after(() => {
  api.stop();
  close(apiServer);
});

async function open(path: string, user: string, port = api.port) {
  const call = https.get({
    host: '127.0.0.1',
    port,
    path,
    headers: { 'x-remote-user': user },
    ca: mesh.certPem,
    servername: 'weft-control.weft-system.svc',
    key: aggregator.keyPem,
    cert: aggregator.certPem,
    agent: false,
  });
  call.on('error', () => undefined);
  const response = await new Promise<http.IncomingMessage>((resolve) => call.on('response', resolve));
  response.on('error', () => undefined);
  response.resume();
  return { response, end: () => call.destroy() };
}

/** Reads lines of a response that goes on. */
async function tapOf(path: string, user: string) {
  const { response, end } = await open(path, user);
  const lines: Record<string, unknown>[] = [];
  let rest = '';
  response.setEncoding('utf8').on('data', (part: string) => {
    const parts = (rest + part).split('\n');
    rest = parts.pop() ?? '';
    for (const one of parts) lines.push(JSON.parse(one) as Record<string, unknown>);
  });
  return { status: response.statusCode, lines, end };
}
const tapsPath = '/apis/observe.weft.dev/v1alpha1';
const tapped = tapConnection({
  source: tapParty('shop', 'web'),
  destination: { ...tapParty('bank', 'teller'), port: 80 },
  policy: 'bank/secret',
});
/** As node1, where web runs, reports it to all taps. */
const reportTapped = (event: TapEvent): void =>
  hub.report(
    { name: 'node1' },
    { events: [encodeTappedEvent({ taps: Array.from({ length: 100 }, (_, i) => i), event })], lost: [] },
  );

test('a tap of one namespace goes on, and names nothing of others; it ends when its reader is gone', async () => {
  const tap = await tapOf(`${tapsPath}/namespaces/shop/taps?watch=true`, 'shop-admin');
  assert.equal(tap.status, 200);
  await until('the tap has begun', 30_000, () => tap.lines.length > 0);
  const own = { ...tapped, source: { namespace: 'shop', workload: 'web', pod: 'web' } };
  reportTapped(own);
  await until('the event is shown', 30_000, () => tap.lines.some((line) => 'event' in line));
  const event = tap.lines.find((line) => 'event' in line)?.['event'] as TapEvent;
  assert.deepEqual([event.source.pod, event.destination.pod, event.policy], ['web', '', undefined]);
  assert.equal(event.reporter, 'node1');
  assert.equal(hub.size, 1);
  tap.end();
  await until('the tap is closed', 30_000, () => hub.size === 0);
  const { verb, resource, namespace } = reviews[0]?.spec.resourceAttributes ?? {};
  assert.deepEqual([verb, resource, namespace], ['watch', 'taps', 'shop']);
});

test('forbidden: a tap of another namespace, of all, or with a filter that names what the reader may not know', async () => {
  const statusOf = async (path: string, user = 'shop-admin'): Promise<number> =>
    (await open(`${tapsPath}/${path}`, user)).response.statusCode ?? 0;
  assert.equal(await statusOf('taps?watch=true'), 403);
  assert.equal(await statusOf('namespaces/bank/taps?watch=true'), 403);
  assert.equal(await statusOf('namespaces/shop/taps?watch=true&workload=bank/teller'), 403);
  assert.equal(await statusOf('namespaces/shop/taps?watch=true&policy=bank/secret'), 403);
  assert.equal(await statusOf('namespaces/shop/taps'), 405);
  assert.equal(await statusOf('namespaces/shop/taps?watch=true&status=9xx'), 400);
  assert.equal(hub.size, 0);
});

test('a tap ends within a minute when its reader may no longer read, or the API server does not say', async () => {
  let allowed: () => Promise<boolean> = () => Promise.resolve(true);
  const requests = new TapRequests({
    taps,
    authorizer: { isAllowed: () => allowed() },
    rootNamespace: 'weft-system',
    onLimit: () => undefined,
    recheckMs: 10,
  });
  const user = { user: 'jane', groups: [], extra: {} };
  for (const [then, why] of [
    [() => Promise.resolve(false), /is forbidden: User "jane" cannot watch/],
    [() => Promise.reject(new Error('away')), /could not be checked again: away/],
  ] as const) {
    allowed = () => Promise.resolve(true);
    const { stream } = await requests.watch(user, 'shop', new URLSearchParams('watch=true'));
    assert.ok(stream);
    let last = '';
    setTimeout(() => (allowed = then), 30);
    for await (const line of stream.lines) last = line;
    stream.close();
    assert.match((JSON.parse(last) as { readonly end: string }).end, why);
  }
  assert.equal(hub.size, 0);
});

test('a tap whose reader may no longer read is off at once, also if the reader reads nothing', async () => {
  let isAllowed = true;
  const requests = new TapRequests({
    taps,
    authorizer: { isAllowed: () => Promise.resolve(isAllowed) },
    rootNamespace: 'weft-system',
    onLimit: () => undefined,
    recheckMs: 10,
  });
  const user = { user: 'jane', groups: [], extra: {} };
  const { stream } = await requests.watch(user, 'shop', new URLSearchParams('watch=true'));
  assert.ok(stream);
  assert.equal(hub.size, 1);
  isAllowed = false;
  await until('the tap is off', 30_000, () => hub.size === 0);
  const lines: string[] = [];
  for await (const line of stream.lines) lines.push(line);
  assert.match(lines.at(-1) ?? '', /is forbidden: User/);
  stream.close();
});

test('forbidden: a program makes the API server review rights without end, by namespaces of peers that it makes up', async () => {
  const asked = new Set<string>();
  const requests = new TapRequests({
    taps,
    authorizer: {
      isAllowed: (_user, { namespace }) => {
        asked.add(namespace);
        return Promise.resolve(namespace === 'shop');
      },
    },
    rootNamespace: 'weft-system',
    onLimit: () => undefined,
  });
  const user = { user: 'jane', groups: [], extra: {} };
  const { stream } = await requests.watch(user, 'shop', new URLSearchParams('watch=true'));
  assert.ok(stream);
  const lines = stream.lines[Symbol.asyncIterator]();
  await lines.next();
  const own = { ...tapped, source: { namespace: 'shop', workload: 'web', pod: 'web' } };
  for (let i = 0; i < 2_000; i++) {
    const namespace = `made-up-${i}`;
    reportTapped({ ...own, destination: { ...tapParty(namespace, 'any'), port: 80 }, policy: 'shop/own' });
    const { value } = (await lines.next()) as { readonly value: string };
    const { event } = JSON.parse(value) as { readonly event: TapEvent };
    assert.deepEqual([event.destination.namespace, event.destination.workload], [namespace, '']);
  }
  assert.ok(asked.size <= 1_024 + 2, String(asked.size));
  stream.close();
});

test('a tap that begins after its reader was told that it takes too long is closed', async () => {
  let closed = 0;
  let begin: () => void = () => undefined;
  const begun = new Promise<void>((resolve) => (begin = resolve));
  const server = new ApiServer({
    listen: '127.0.0.1:0',
    certificate: issue(mesh, 'weft-control.weft-system.svc'),
    respond: async () => {
      await begun;
      const lines = (async function* () {
        await Promise.resolve();
        yield '';
      })();
      return { body: {}, stream: { lines, close: () => void closed++ } };
    },
    onResponse: () => undefined,
    onLimit: () => undefined,
    log: { warn: () => undefined },
    responseMs: 50,
  });
  const port = await server.start();
  try {
    const frontProxy = readFrontProxy(frontProxyData(proxies.certPem));
    assert.ok(frontProxy.ok);
    server.trust(frontProxy.value);
    assert.equal((await open('/', 'jane', port)).response.statusCode, 504);
    begin();
    await until('it is closed', 30_000, () => closed === 1);
  } finally {
    server.stop();
  }
});
