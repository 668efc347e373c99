/** Hedged attempts: a further one starts at another endpoint when the time of a try is over, and the first good response wins. */
import assert from 'node:assert/strict';
import type http from 'node:http';
import http2 from 'node:http2';
import { test, type TestContext } from 'node:test';
import {
  ask,
  eventually,
  http2Upstream,
  httpUpstream,
  RawClient,
  startWaypoint,
  type TestWaypoint,
} from '../../../test/support/waypoint.js';
import { ask2, connect } from '../../../test/support/http2-client.js';
import { key, policy } from '../../../test/support/mesh.js';
import { settingsOfApi } from '../../../test/support/retry-policies.js';

const retry = { conditionKind: ['5xx'], attempts: 1, perTryTimeoutMs: 60, hedge: true };
const apply = (waypoint: TestWaypoint, settings: Parameters<typeof settingsOfApi>[1] = { retry }): void =>
  void waypoint.apply({ servicePolicies: [settingsOfApi('h', settings)] });
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

interface Held {
  readonly at: string;
  readonly request: http.IncomingMessage;
  readonly response: http.ServerResponse;
  readonly isGone: () => boolean;
}

/** Endpoints that hold each request until the test responds. */
async function holding(t: TestContext, count: number): Promise<{ ports: number[]; held: Held[] }> {
  const held: Held[] = [];
  const ports: number[] = [];
  for (let i = 0; i < count; i++) {
    const { port } = await httpUpstream(t, (request, response) => {
      let isGone = false;
      response.on('close', () => (isGone = !response.writableFinished));
      request.resume();
      held.push({ at: `${i}`, request, response, isGone: () => isGone });
    });
    ports.push(port);
  }
  return { ports, held };
}

async function start(t: TestContext, count = 2) {
  const { ports, held } = await holding(t, count);
  const waypoint = await startWaypoint(t, { backends: { api: ports } });
  const counted = () => {
    const { active, retries } = waypoint.clusters.ofService(key('api'), 80)?.dump() as {
      active: number;
      retries: number;
    };
    return [active, retries];
  };
  const assertIdle = async (): Promise<void> => {
    await eventually(() => waypoint.context.exchanges.size === 0, 'no request is left');
    assert.deepEqual(counted(), [0, 0]);
  };
  apply(waypoint);
  return { waypoint, ports, held, counted, assertIdle };
}

test('the other endpoint’s response wins, and the slow attempt is canceled', async (t) => {
  const { waypoint, held, counted, assertIdle } = await start(t);
  const response = ask(waypoint.port);
  await eventually(() => held.length === 2, 'the hedge');
  const [slow, hedge] = held as [Held, Held];
  assert.notEqual(slow.at, hedge.at);
  assert.deepEqual(counted(), [2, 1]);
  hedge.response.end('hedge');
  assert.equal((await response).body, 'hedge');
  await eventually(slow.isGone, 'the slow attempt is canceled');
  const { actions, attempts, flag, endpoint } = waypoint.records[0] ?? {};
  assert.deepEqual(actions, [{ feature: 'hedge', mode: 'did', policy: 'TrafficPolicy shop/h' }]);
  assert.deepEqual([attempts, flag], [2, undefined]);
  assert.equal(endpoint?.workload.name, `api-${hedge.at}`);
  // On a busy machine the time of the second try is over, too.
  const events = waypoint.upstreamEvents.filter((event) => event !== 'retryLimitExceeded');
  assert.deepEqual(events, ['retry', 'retrySuccess']);
  await assertIdle();
});

test('the slow attempt may still win, with its own endpoint in the log', async (t) => {
  const { waypoint, held, assertIdle } = await start(t);
  const response = ask(waypoint.port, { method: 'PUT', body: 'x'.repeat(50_000) });
  await eventually(() => held.length === 2, 'the hedge');
  const [slow, hedge] = held as [Held, Held];
  slow.response.end('slow');
  assert.equal((await response).body, 'slow');
  await eventually(hedge.isGone, 'the hedge is canceled');
  assert.equal(waypoint.records[0]?.endpoint?.workload.name, `api-${slow.at}`);
  await assertIdle();
});

test('a bad response does not win while another attempt is under way; the last one does', async (t) => {
  const { waypoint, held, assertIdle } = await start(t);
  for (const [first, second] of [
    [0, 1],
    [1, 0],
  ] as const) {
    held.length = 0;
    const response = ask(waypoint.port);
    await eventually(() => held.length === 2, 'the hedge');
    held[first]?.response.writeHead(503).end('bad');
    await sleep(50);
    held[second]?.response.end('good');
    const { status, body } = await response;
    assert.deepEqual([status, body], [200, 'good']);
    await assertIdle();
  }
  held.length = 0;
  const response = ask(waypoint.port);
  await eventually(() => held.length === 2, 'the hedge');
  held[0]?.response.writeHead(503).end('first');
  await sleep(30);
  held[1]?.request.socket.resetAndDestroy();
  const { status } = await response;
  assert.equal(status, 503);
  await assertIdle();
});

test('an attempt that breaks off leaves the other one alone; if all do, the request fails', async (t) => {
  const { waypoint, held, assertIdle } = await start(t);
  for (const broken of [0, 1]) {
    held.length = 0;
    const response = ask(waypoint.port);
    await eventually(() => held.length === 2, 'the hedge');
    held[broken]?.request.socket.resetAndDestroy();
    await sleep(40);
    held[1 - broken]?.response.end('whole');
    assert.equal((await response).body, 'whole');
    await assertIdle();
  }
  held.length = 0;
  const response = ask(waypoint.port);
  await eventually(() => held.length === 2, 'the hedge');
  for (const { request } of held) request.socket.resetAndDestroy();
  assert.equal((await response).status, 503);
  assert.equal(held.length, 2);
  await assertIdle();
});

test('with more attempts each one that is slow gets a further one, at an endpoint of its own', async (t) => {
  const { waypoint, held, counted, assertIdle } = await start(t, 3);
  apply(waypoint, { retry: { ...retry, attempts: 5 } });
  const response = ask(waypoint.port);
  await eventually(() => held.length === 3, 'the hedges');
  await sleep(150);
  assert.equal(held.length, 3, 'no endpoint gets a request twice at once');
  assert.equal(new Set(held.map(({ at }) => at)).size, 3);
  assert.deepEqual(counted(), [3, 2]);
  held[1]?.response.end('second');
  assert.equal((await response).body, 'second');
  await eventually(() => held[0]?.isGone() === true && held[2]?.isGone() === true, 'the others are canceled');
  await assertIdle();
});

test('what may not be sent twice is not hedged: POST, a body that is not buffered, an upgrade', async (t) => {
  const { waypoint, held, assertIdle } = await start(t);
  const asked = [
    ask(waypoint.port, { method: 'POST', body: 'order' }),
    ask(waypoint.port, { method: 'PUT', body: 'x'.repeat(300_000) }),
  ];
  await eventually(() => held.length === 2, 'both are there');
  await sleep(200);
  assert.equal(held.length, 2);
  for (const { response } of held) response.end();
  for (const response of asked) assert.equal((await response).status, 200, 'the time of a try ends nothing');
  apply(waypoint, { retry: { ...retry, unsafeMethods: ['POST'] } });
  held.length = 0;
  const response = ask(waypoint.port, { method: 'POST', body: 'order' });
  await eventually(() => held.length === 2, 'the policy names the method');
  held[0]?.response.end();
  assert.equal((await response).status, 200);
  await assertIdle();
});

test('the budget bounds hedges, and without another endpoint there is none', async (t) => {
  const { waypoint, held, assertIdle } = await start(t);
  apply(waypoint, { retry, retryBudgetPercent: 0, retryBudgetMin: 0 });
  const response = ask(waypoint.port);
  await eventually(() => waypoint.limitsReached.length > 0, 'the hedge is refused');
  await sleep(30);
  assert.equal(held.length, 1);
  held[0]?.response.end('slow');
  assert.equal((await response).body, 'slow');
  assert.deepEqual(waypoint.limitsReached, ['retry-budget']);
  await assertIdle();
  const one = await start(t, 1);
  const alone = ask(one.waypoint.port);
  await eventually(() => one.held.length > 0, 'the request');
  await sleep(150);
  assert.equal(one.held.length, 1);
  one.held[0]?.response.end();
  await alone;
  assert.deepEqual(one.waypoint.records[0]?.actions, []);
  await one.assertIdle();
});

test('a client that leaves ends both attempts, and so does the request’s timeout', async (t) => {
  const { waypoint, held, assertIdle } = await start(t);
  const client = await RawClient.open(waypoint.port);
  client.write('GET / HTTP/1.1\r\nhost: api\r\n\r\n');
  await eventually(() => held.length === 2, 'the hedge');
  client.socket.resetAndDestroy();
  await eventually(() => held.every(({ isGone }) => isGone()), 'both are canceled');
  await assertIdle();
  held.length = 0;
  apply(waypoint, { retry, timeouts: { requestMs: 1_500 } });
  assert.equal((await ask(waypoint.port)).status, 504);
  await eventually(() => held.length === 2 && held.every(({ isGone }) => isGone()), 'both are canceled');
  await assertIdle();
});

test('an endpoint that a policy forbids gets no hedge; a policy that comes later cuts only its attempt', async (t) => {
  const { waypoint, ports, held, assertIdle } = await start(t);
  const forbid = (at: string) => ({
    mesh: { policies: [policy('p', 'deny', { destinationPorts: [ports[Number(at)] ?? 0] })] },
  });
  const response = ask(waypoint.port);
  await eventually(() => held.length === 2, 'the hedge');
  const [slow, hedge] = held as [Held, Held];
  waypoint.apply(forbid(slow.at));
  await eventually(slow.isGone, 'the forbidden attempt is cut');
  assert.equal(hedge.isGone(), false);
  hedge.response.end('allowed');
  assert.equal((await response).body, 'allowed');
  await assertIdle();
  // Now that endpoint is forbidden from the start: each request that begins at the allowed one stays there.
  for (let i = 0; i < 6; i++) {
    held.length = 0;
    const asked = ask(waypoint.port);
    let isOver = false;
    void asked.finally(() => (isOver = true));
    await eventually(() => isOver || held.length > 0, 'it is refused, or at the endpoint');
    await sleep(110);
    for (const { response: one } of held) one.end();
    const { status } = await asked;
    assert.ok(held.every(({ at }) => at === hedge.at));
    assert.equal(status, held.length === 1 ? 200 : 403);
  }
  await assertIdle();
});

test('HTTP/2: the losing attempt is reset with CANCEL', async (t) => {
  const codes: number[] = [];
  const held: http2.ServerHttp2Stream[] = [];
  const serve = (stream: http2.ServerHttp2Stream): void => {
    held.push(stream);
    stream.on('aborted', () => codes.push(stream.rstCode));
  };
  const ports = [(await http2Upstream(t, serve)).port, (await http2Upstream(t, serve)).port];
  const waypoint = await startWaypoint(t, { backends: { api: ports }, protocol: 'http2' });
  apply(waypoint);
  const client = connect(t, waypoint.port);
  const response = ask2(client, { ':path': '/' });
  await eventually(() => held.length === 2, 'the hedge');
  held[1]?.respond({ ':status': 200 });
  held[1]?.end('hedge');
  assert.equal((await response).body, 'hedge');
  await eventually(() => codes.length === 1, 'the reset');
  assert.deepEqual(codes, [http2.constants.NGHTTP2_CANCEL]);
});
