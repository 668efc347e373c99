/** Requests whose filters take time, respond, fail, or are still at work when the request ends. */
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import type net from 'node:net';
import { test, type TestContext } from 'node:test';
import { filter } from '../../../test/support/filters.js';
import { anyRequest, id, key, policy } from '../../../test/support/mesh.js';
import {
  ask,
  askEcho,
  backend,
  echoHandler,
  eventually,
  httpUpstream,
  RawClient,
  route,
  startWaypoint,
  type TestWaypoint,
  type WaypointOptions,
} from '../../../test/support/waypoint.js';
import type { Filter, FilterResponse, Stage, StagedFilter } from '../filters/filter.js';

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A filter whose promises are settled by the test, with the names of the calls that it got. */
class Gate implements Filter {
  readonly calls: string[] = [];
  readonly waiting: Settled[] = [];

  onRequest(): Promise<FilterResponse | undefined> {
    this.calls.push('request');
    const settled = withResolvers();
    this.waiting.push(settled);
    return settled.promise;
  }
  onEnd(): void {
    this.calls.push('end');
  }
  onCancel(): void {
    this.calls.push('cancel');
  }

  at(stage: Stage): StagedFilter {
    return { stage, filter: this };
  }
}
interface Settled {
  readonly promise: Promise<FilterResponse | undefined>;
  resolve(response?: FilterResponse): void;
  reject(error: Error): void;
}
function withResolvers(): Settled {
  let resolve!: (response?: FilterResponse) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<FilterResponse | undefined>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

interface Scene {
  readonly waypoint: TestWaypoint;
  readonly gate: Gate;
  /** Requests that arrived at the endpoint. */
  readonly arrived: string[];
}
async function scene(
  t: TestContext,
  stage: Stage = 'authentication',
  more: Partial<WaypointOptions> = {},
): Promise<Scene> {
  const arrived: string[] = [];
  const echo = echoHandler('api');
  const upstream = await httpUpstream(t, (request, response) => {
    arrived.push(request.url ?? '');
    echo(request, response);
  });
  upstream.server.on('upgrade', (_request, socket: net.Socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n');
    socket.on('error', () => undefined);
  });
  const gate = new Gate();
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    filters: [gate.at(stage)],
    ...more,
  });
  return { waypoint, gate, arrived };
}
const isWaiting = (gate: Gate, n = 1): Promise<void> =>
  eventually(() => gate.waiting.length === n, 'the filter is pending');
const isEmpty = ({ context }: TestWaypoint): Promise<void> =>
  eventually(() => context.exchanges.size === 0, 'no request is left');

test('a request waits for the promises of its filters, one after the other, at every stage', async (t) => {
  for (const stage of [
    'load-shedding',
    'authentication',
    'external-authorization',
    'fault-injection',
  ] as const) {
    for (const routes of [[], [route('r', [{ backends: [backend('api')] }])]]) {
      const second = new Gate();
      const first = new Gate();
      const { waypoint, arrived } = await scene(t, stage, {
        filters: [first.at(stage), second.at(stage)],
        routes,
      });
      const asked = askEcho(waypoint.port, { method: 'POST', body: 'abc' });
      await isWaiting(first);
      assert.equal(second.waiting.length, 0);
      first.waiting[0]?.resolve();
      await isWaiting(second);
      assert.deepEqual(arrived, []);
      second.waiting[0]?.resolve();
      assert.equal((await asked).body, 'abc');
      await isEmpty(waypoint);
      assert.deepEqual(
        [first.calls, second.calls],
        [
          ['request', 'end'],
          ['request', 'end'],
        ],
      );
    }
  }
});

test('filters without promises do not give up their turn: the request is at the router in the same one', async (t) => {
  const order: string[] = [];
  const note = (name: string): StagedFilter => ({
    stage: 'route',
    filter: { onRequest: () => void order.push(name), onEnd: () => void order.push(`${name} ends`) },
  });
  const first: StagedFilter = {
    stage: 'load-shedding',
    filter: { onRequest: () => void queueMicrotask(() => order.push('microtask')) },
  };
  const { waypoint } = await scene(t, 'route', { filters: [note('a'), first, note('b')] });
  await askEcho(waypoint.port);
  await eventually(() => order.length === 5, 'the end');
  assert.deepEqual(order, ['a', 'b', 'microtask', 'a ends', 'b ends']);
});

test('a promised response is sent in the endpoint’s place, with its body and the rule’s response headers', async (t) => {
  const filters = [filter('responseHeaders', { set: [{ name: 'x-rule', value: '1' }] })];
  const { waypoint, gate, arrived } = await scene(t, 'local-rate-limit', {
    routes: [route('r', [{ filters }])],
  });
  const asked = ask(waypoint.port, { method: 'PUT', body: 'x'.repeat(100_000) });
  await isWaiting(gate);
  gate.waiting[0]?.resolve({
    kind: 'response',
    head: { status: 418, headers: ['x-own', '2'] },
    body: Buffer.from('short'),
  });
  const { status, headers, body } = await asked;
  assert.deepEqual([status, headers['x-own'], headers['x-rule'], body], [418, '2', '1', 'short']);
  const refused = ask(waypoint.port);
  await isWaiting(gate, 2);
  gate.waiting[1]?.resolve({
    kind: 'reply',
    reply: { status: 429, flag: 'UO', code: 'WEFT_TEST', why: 'test', headers: ['retry-after', '7'] },
  });
  const limited = await refused;
  assert.deepEqual(
    [limited.status, limited.headers['retry-after'], limited.headers['x-rule']],
    [429, '7', '1'],
  );
  assert.equal(waypoint.records[1]?.code, 'WEFT_TEST');
  await isEmpty(waypoint);
  assert.deepEqual(gate.calls, ['request', 'request'], 'a filter that responded itself needs no end');
  assert.deepEqual(arrived, []);
});

test('a filter that fails at the response, an upgrade, the end or a cancellation costs its request alone', async (t) => {
  const fail = (): never => {
    throw new Error('boom');
  };
  const atResponse: StagedFilter = { stage: 'route', filter: { onResponse: fail } };
  const secret = filter('responseHeaders', { set: [{ name: 'x-rule', value: '1' }] });
  const broken = await scene(t, 'route', {
    filters: [atResponse],
    routes: [route('r', [{ filters: [secret] }])],
  });
  for (const options of [
    {},
    { method: 'POST', body: 'x'.repeat(100_000) },
    { path: '/upgrade', headers: { connection: 'upgrade', upgrade: 'x' } },
  ]) {
    const { status, body } = await ask(broken.waypoint.port, options);
    assert.deepEqual([status, body], [500, ''], 'the endpoint’s response is not passed on');
    const { code, why, flag } = broken.waypoint.records.at(-1) ?? {};
    assert.deepEqual([code, why, flag], ['WEFT_FILTER_FAILED', 'a filter failed: boom', 'LR']);
  }
  await isEmpty(broken.waypoint);

  const ended: string[] = [];
  const atEnd: StagedFilter = { stage: 'route', filter: { onRequest: () => undefined, onEnd: fail } };
  const after: StagedFilter = { stage: 'route', filter: { onEnd: () => void ended.push('after') } };
  const { waypoint } = await scene(t, 'route', { filters: [atEnd, after] });
  assert.equal((await ask(waypoint.port)).status, 200, 'the response was complete before');
  await isEmpty(waypoint);
  assert.deepEqual(ended, ['after']);
  assert.equal(waypoint.records.at(-1)?.code, 'WEFT_FILTER_FAILED', 'the log has a line');

  const gate = new Gate();
  gate.onCancel = fail;
  const canceled = await scene(t, 'route', { filters: [gate.at('route'), after] });
  const client = await RawClient.open(canceled.waypoint.port);
  client.socket.write('GET / HTTP/1.1\r\nhost: api.shop\r\n\r\n');
  await isWaiting(gate);
  client.socket.resetAndDestroy();
  await isEmpty(canceled.waypoint);
  assert.equal(canceled.waypoint.records.at(-1)?.flag, 'DC', 'why the request ended remains');
});

test('a filter that fails closes the request: by a rejection at any time, or by an exception', async (t) => {
  const { waypoint, gate, arrived } = await scene(t);
  const asked = ask(waypoint.port);
  await isWaiting(gate);
  gate.waiting[0]?.reject(new Error('no decision'));
  const { status, body } = await asked;
  assert.deepEqual([status, body], [500, '']);
  const { code, flag, why } = waypoint.records[0] ?? {};
  assert.deepEqual([code, flag, why], ['WEFT_FILTER_FAILED', 'LR', 'a filter failed: no decision']);
  const throws: StagedFilter = {
    stage: 'rbac',
    filter: {
      onRequest: () => {
        throw new Error('broken');
      },
    },
  };
  const broken = await scene(t, 'rbac', { filters: [throws] });
  assert.equal((await ask(broken.waypoint.port)).status, 500);
  assert.deepEqual([arrived, broken.arrived], [[], []]);
  await isEmpty(waypoint);
  await isEmpty(broken.waypoint);
});

test('the client leaves while a filter is pending: the filter is canceled, and its late result is ignored', async (t) => {
  const { waypoint, gate, arrived } = await scene(t);
  const results: ((settled: Settled | undefined) => void)[] = [
    (settled) => settled?.resolve(),
    (settled) => settled?.resolve({ kind: 'response', head: { status: 200, headers: [] } }),
    (settled) => settled?.reject(new Error('too late')),
  ];
  for (const [i, settle] of results.entries()) {
    const client = await RawClient.open(waypoint.port);
    client.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
    await isWaiting(gate, i + 1);
    client.socket.resetAndDestroy();
    await isEmpty(waypoint);
    settle(gate.waiting[i]);
    await sleep(10);
  }
  assert.deepEqual(gate.calls, ['request', 'cancel', 'request', 'cancel', 'request', 'cancel']);
  assert.deepEqual(
    waypoint.records.map(({ flag }) => flag),
    ['DC', 'DC', 'DC'],
  );
  assert.deepEqual(arrived, []);
});

test('a mesh update while a filter is pending: the request is refused if it is no longer served, and policies wait for their stage', async (t) => {
  const { waypoint, gate, arrived } = await scene(t, 'external-authorization', { identity: id('web') });
  const deny = policy('p', 'deny', { http: anyRequest }, { services: [key('api')] });
  const asked = ask(waypoint.port);
  await isWaiting(gate);
  // Stages before the policies may add what policies match, so the policies are not evaluated yet.
  waypoint.apply({ mesh: { policies: [deny] } });
  assert.equal(waypoint.context.exchanges.size, 1);
  gate.waiting[0]?.resolve();
  assert.equal((await asked).status, 403);
  const [late] = [ask(waypoint.port)];
  await isWaiting(gate, 2);
  waypoint.apply({ mesh: { removed: [key('api')] } });
  assert.equal((await late).status, 503);
  assert.equal(waypoint.records[1]?.code, 'WEFT_NOT_SERVED');
  gate.waiting[1]?.resolve();
  await sleep(10);
  assert.deepEqual(arrived, []);
  assert.deepEqual(gate.calls, ['request', 'end', 'request', 'cancel']);

  // After the policies' stage an update is enforced while a filter is pending.
  const after = await scene(t, 'global-rate-limit', { identity: id('web') });
  const forbidden = ask(after.waypoint.port);
  await isWaiting(after.gate);
  after.waypoint.apply({ mesh: { policies: [deny] } });
  assert.equal((await forbidden).status, 403);
  assert.deepEqual(after.gate.calls, ['request', 'cancel']);
});

test('the rule’s timeout includes the time that filters take, before and after the rule is matched', async (t) => {
  const routes = [route('r', [{ requestTimeoutMs: 1_000 }])];
  for (const stage of ['authentication', 'fault-injection'] as const) {
    const { waypoint, gate, arrived } = await scene(t, stage, { routes });
    const asked = ask(waypoint.port);
    await isWaiting(gate);
    if (stage === 'authentication') {
      await sleep(1_050);
      assert.equal(waypoint.context.exchanges.size, 1);
      gate.waiting[0]?.resolve();
    }
    assert.equal((await asked).status, 504);
    assert.deepEqual(arrived, []);
    assert.equal(waypoint.records[0]?.flag, 'UT');
    await isEmpty(waypoint);
  }
  const idle = await scene(t, 'authentication', { limits: { streamIdleMsMax: 60 } });
  assert.equal(
    (await ask(idle.waypoint.port)).status,
    504,
    'without a rule the idle timeout bounds a filter',
  );
  assert.deepEqual(idle.gate.calls, ['request', 'cancel']);
});

test('the body is not read while a filter is pending, and no byte is lost', async (t) => {
  const { waypoint, gate } = await scene(t);
  const total = 32 << 20;
  const client = await RawClient.open(waypoint.port);
  t.after(() => client.socket.destroy());
  client.write(`PUT / HTTP/1.1\r\nhost: api\r\ncontent-length: ${total}\r\n\r\n`);
  client.write(Buffer.alloc(total, 'x'));
  await isWaiting(gate);
  await sleep(200);
  assert.ok(
    client.socket.writableLength > total / 2,
    `${client.socket.writableLength} bytes wait at the client`,
  );
  assert.equal(waypoint.records.length, 0);
  gate.waiting[0]?.resolve();
  await eventually(() => waypoint.records.length === 1, 'the response');
  const { status, bytesReceived } = waypoint.records[0] ?? {};
  assert.deepEqual([status, bytesReceived], [200, total]);
});

test('an HTTP/2 body is not read beyond its window while a filter is pending', async (t) => {
  const { waypoint, gate } = await scene(t, 'authentication', { protocol: 'http1' });
  const session = http2.connect(`http://127.0.0.1:${waypoint.port}`);
  t.after(() => session.destroy());
  const request = session.request({ ':method': 'PUT', ':path': '/', ':authority': 'api' });
  const total = 8 << 20;
  request.end(Buffer.alloc(total, 'x'));
  await isWaiting(gate);
  await sleep(200);
  assert.ok(request.writableLength > total / 2, `${request.writableLength} bytes wait at the client`);
  gate.waiting[0]?.resolve();
  request.resume();
  await eventually(() => waypoint.records.length === 1, 'the response');
  const { status, bytesReceived } = waypoint.records[0] ?? {};
  assert.deepEqual([status, bytesReceived], [200, total]);
});

test('a configuration update does not affect requests under way', async (t) => {
  const routeOf = (value: string) =>
    route('r', [
      {
        filters: [
          filter('requestHeaders', { set: [{ name: 'x-rule', value }] }),
          filter('responseHeaders', { set: [{ name: 'x-rule', value }] }),
        ],
      },
    ]);
  const { waypoint, gate } = await scene(t, 'local-rate-limit', { routes: [routeOf('old')] });
  const asked = ask(waypoint.port);
  await isWaiting(gate);
  waypoint.apply({ routes: [routeOf('new')] });
  const later = ask(waypoint.port);
  await isWaiting(gate, 2);
  for (const { resolve } of gate.waiting) resolve();
  for (const [response, value] of [
    [await asked, 'old'],
    [await later, 'new'],
  ] as const) {
    const { headers } = JSON.parse(response.body) as { headers: Record<string, string> };
    assert.deepEqual([headers['x-rule'], response.headers['x-rule']], [value, value]);
  }
});

test('a request gives its share back once, however it ends', async (t) => {
  const { waypoint, gate } = await scene(t, 'load-shedding', { limits: { requestsMax: 2 } });
  for (let i = 0; i < 5; i++) {
    const client = await RawClient.open(waypoint.port);
    client.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
    await isWaiting(gate, i + 1);
    client.socket.resetAndDestroy();
    await isEmpty(waypoint);
  }
  const held = ask(waypoint.port);
  await isWaiting(gate, 6);
  assert.equal((await ask(waypoint.port)).status, 503, 'one client has half of the limit');
  assert.equal(gate.waiting.length, 6, 'the limit comes first');
  gate.waiting[5]?.resolve();
  assert.equal((await held).status, 200);
});
