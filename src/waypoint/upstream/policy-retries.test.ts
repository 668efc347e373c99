/** Retries by a TrafficPolicy, with endpoints that fail in each way. */
import assert from 'node:assert/strict';
import type http from 'node:http';
import { test, type TestContext } from 'node:test';
import {
  ask,
  deadPort,
  echoHandler,
  eventually,
  httpUpstream,
  http2Upstream,
  RawClient,
  rawUpstream,
  route,
  startWaypoint,
  type TestWaypoint,
} from '../../../test/support/waypoint.js';
import { ask2, connect } from '../../../test/support/http2-client.js';
import { key } from '../../../test/support/mesh.js';
import { settingsOfApi } from '../../../test/support/retry-policies.js';

const all = { conditionKind: ['5xx', 'reset', 'connect-failure', 'refused-stream'] };
const apply = (waypoint: TestWaypoint, settings: Parameters<typeof settingsOfApi>[1]): void =>
  void waypoint.apply({ servicePolicies: [settingsOfApi('r', settings)] });
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Nothing of requests and retries stays counted. */
function assertIdle(waypoint: TestWaypoint): void {
  const cluster = waypoint.clusters.ofService(key('api'), 80);
  const { active, retries } = cluster?.dump() as { active: number; retries: number };
  assert.deepEqual([active, retries, waypoint.context.exchanges.size], [0, 0, 0]);
}

/** Fails each request in one way, and counts them. */
async function failing(t: TestContext, how: string): Promise<{ readonly port: number; seen: number }> {
  const counted = { port: 0, seen: 0 };
  if (how === 'dead') return { port: await deadPort(), seen: 0 };
  counted.port = await rawUpstream(t, (socket) => {
    let text = '';
    socket.on('data', (bytes: Buffer) => {
      text += bytes.toString('latin1');
      if (!text.includes('\r\n\r\n')) return;
      // A request with a body ends with its word.
      if (/content-length: [1-9]/.test(text) && !text.endsWith('word')) return;
      text = '';
      counted.seen++;
      if (how === 'hang') return;
      if (how === 'reset') return void socket.resetAndDestroy();
      if (how === 'malformed') return void socket.end('HTTP/1.1 nonsense\r\n\r\n');
      if (how === 'body') {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf');
        return void setTimeout(() => socket.resetAndDestroy(), 5);
      }
      socket.write(`HTTP/1.1 ${how} Status\r\nContent-Length: 0\r\n\r\n`);
    });
  });
  return counted;
}

test('each failure with each method: what may have been executed is sent again only if the method allows it', async (t) => {
  for (const how of ['hang', 'reset', 'malformed', '500', '503', 'body', 'dead'] as const) {
    const upstream = await failing(t, how);
    const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
    for (const unsafeMethods of [[], ['POST']]) {
      // Long enough for a busy machine to connect and to send.
      const perTryTimeoutMs = how === 'hang' ? 300 : 10_000;
      apply(waypoint, { retry: { ...all, attempts: 2, perTryTimeoutMs, unsafeMethods } });
      for (const method of ['GET', 'PUT', 'POST', 'PATCH']) {
        upstream.seen = 0;
        const body = method === 'GET' ? {} : { body: 'word' };
        const { status } = await ask(waypoint.port, { method, ...body }).catch(() => ({ status: 0 }));
        const mayRepeat = method === 'GET' || method === 'PUT' || unsafeMethods.includes(method);
        const text = `${how} ${method} ${unsafeMethods.join()}`;
        // A response that has begun cannot be taken back.
        const attempts = how === 'body' ? 1 : mayRepeat || how === 'dead' ? 3 : 1;
        await eventually(() => waypoint.context.exchanges.size === 0, 'the request has ended');
        assert.equal(waypoint.records.at(-1)?.attempts, attempts, text);
        if (how !== 'dead') assert.equal(upstream.seen, attempts, text);
        assert.equal(status, { hang: 504, malformed: 502, '500': 500, body: 0 }[how as string] ?? 503, text);
        assertIdle(waypoint);
      }
    }
  }
});

test('a retry is counted, logged with its policy, and numbered for the endpoint; a success says so', async (t) => {
  const counts: (string | undefined)[] = [];
  const upstream = await httpUpstream(t, (request, response) => {
    counts.push(request.headers['x-envoy-attempt-count'] as string);
    response.writeHead(counts.length % 3 === 0 ? 200 : 503).end();
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  apply(waypoint, { retry: all });
  assert.equal((await ask(waypoint.port, { headers: { 'x-envoy-attempt-count': '0' } })).status, 200);
  assert.deepEqual(counts, ['1', '2', '3']);
  const did = { feature: 'retry', mode: 'did', policy: 'TrafficPolicy shop/r' };
  assert.deepEqual(waypoint.records[0]?.actions, [did, did]);
  assert.deepEqual(waypoint.upstreamEvents, [
    'retry',
    'backoffExponential',
    'retry',
    'backoffExponential',
    'retrySuccess',
  ]);
  // Without a policy the field is the client's.
  waypoint.apply({ removedServicePolicies: [`${key('api')}:80`] });
  counts.length = 2;
  await ask(waypoint.port, { headers: { 'x-envoy-attempt-count': '7' } });
  assert.equal(counts[2], '7');
});

test('dry run changes nothing, and counts what would have been done', async (t) => {
  let seen = 0;
  const upstream = await httpUpstream(t, (request, response) => {
    seen++;
    if (request.url !== '/slow') return void response.writeHead(503).end();
    setTimeout(() => response.end(), 120);
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  apply(waypoint, { retry: { ...all, perTryTimeoutMs: 50, dryRun: true } });
  assert.equal((await ask(waypoint.port)).status, 503);
  assert.equal((await ask(waypoint.port, { path: '/slow' })).status, 200);
  assert.equal(seen, 2);
  assert.deepEqual(waypoint.actions, [
    'retry would TrafficPolicy shop/r',
    'timeout would TrafficPolicy shop/r',
  ]);
  assert.deepEqual(waypoint.upstreamEvents, []);
  assert.deepEqual([waypoint.records[0]?.flag, waypoint.records[0]?.attempts], [undefined, 1]);
});

test('a retry storm: endpoints see at most 1.2 times the requests, and the minimum', async (t) => {
  let seen = 0;
  // First attempts are slow, and retries are fast: without a bound over time they would be most of the requests.
  const upstream = await httpUpstream(t, (request, response) => {
    seen++;
    const ms = request.headers['x-envoy-attempt-count'] === '1' ? 40 : 0;
    setTimeout(() => response.writeHead(503).end(), ms);
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port, upstream.port] } });
  apply(waypoint, { retry: { ...all, attempts: 5 }, retryBudgetPercent: 20, retryBudgetMin: 3 });
  const startMs = performance.now();
  let sent = 0;
  const client = async (): Promise<void> => {
    for (let i = 0; i < 12; i++) {
      sent++;
      assert.equal((await ask(waypoint.port)).status, 503);
    }
  };
  await Promise.all(Array.from({ length: 40 }, client));
  const seconds = (performance.now() - startMs) / 1000;
  assert.ok(seen <= 1.2 * sent + 3 * (1 + seconds), `${seen} of ${sent} in ${seconds} s`);
  assert.ok(seen > 1.1 * sent, `${seen} of ${sent}`);
  assert.ok(waypoint.limitsReached.includes('retry-budget'));
  assert.ok(waypoint.upstreamEvents.includes('retryOverflow'));
  assertIdle(waypoint);
});

test('a body larger than the replay buffer is not sent again; one that fits is sent whole', async (t) => {
  const bodies: number[] = [];
  const upstream = await httpUpstream(t, (request, response) => {
    let bytes = 0;
    request.on('data', (part: Buffer) => (bytes += part.length));
    request.on('end', () => {
      bodies.push(bytes);
      response.writeHead(503).end();
    });
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  apply(waypoint, { retry: { ...all, attempts: 1 }, retryBudgetPercent: 50, retryBudgetMin: 1 });
  assert.equal((await ask(waypoint.port, { method: 'PUT', body: 'x'.repeat(60 << 10) })).status, 503);
  assert.equal((await ask(waypoint.port, { method: 'PUT', body: 'x'.repeat(400 << 10) })).status, 503);
  assert.deepEqual(bodies, [60 << 10, 60 << 10, 400 << 10]);
  assert.deepEqual(waypoint.limitsReached, ['retry-buffer']);
  assertIdle(waypoint);
});

test('a client that leaves during the backoff ends the request; nothing is sent any more', async (t) => {
  let seen = 0;
  const slow = await httpUpstream(t, (_request, response) => {
    seen++;
    response.writeHead(503, { 'retry-after': '1' }).end();
  });
  const other = await startWaypoint(t, { backends: { api: [slow.port] } });
  apply(other, { retry: { ...all, retryAfterMsMax: 5_000 }, retryBudgetPercent: 100, retryBudgetMin: 9 });
  const client = await RawClient.open(other.port);
  client.write('GET / HTTP/1.1\r\nhost: api\r\n\r\n');
  await eventually(() => seen === 1, 'the first attempt');
  await eventually(() => other.upstreamEvents.includes('backoffRatelimited'), 'it waits');
  const cluster = other.clusters.ofService(key('api'), 80);
  assert.equal((cluster?.dump() as { retries: number }).retries, 1, 'a retry that waits counts');
  client.socket.resetAndDestroy();
  await eventually(() => other.records.length === 1, 'the request has ended');
  assert.equal(other.records[0]?.flag, 'DC');
  assertIdle(other);
  await sleep(1_200);
  assert.equal(seen, 1);
});

test('Retry-After is waited for within its limit; a year is not, and neither is a time beyond the request’s timeout', async (t) => {
  let asked = '1';
  const times: number[] = [];
  const upstream = await httpUpstream(t, (_request, response) => {
    times.push(performance.now());
    response.writeHead(times.length === 1 ? 429 : 200, { 'retry-after': asked }).end();
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const retry = { codes: [429], retryAfterMsMax: 20_000 };
  apply(waypoint, { retry });
  assert.equal((await ask(waypoint.port)).status, 200);
  assert.ok((times[1] ?? 0) - (times[0] ?? 0) >= 990);
  for (asked of ['31536000', 'Fri, 26 Nov 2027 03:00:00 GMT']) {
    times.length = 0;
    assert.equal((await ask(waypoint.port)).status, 200);
    assert.ok((times[1] ?? 0) - (times[0] ?? 0) < 15_000, 'not even as long as the limit');
  }
  asked = '15';
  times.length = 0;
  apply(waypoint, { retry, timeouts: { requestMs: 10_000 } });
  assert.equal((await ask(waypoint.port)).status, 429, 'the client need not wait for its timeout');
});

test('a response without a body is retried on the same connection; one with a body is canceled', async (t) => {
  const upstream = await httpUpstream(t, (request, response) => {
    const isFirst = request.headers['x-envoy-attempt-count'] === '1';
    response.statusCode = isFirst ? 503 : 200;
    response.end(request.url === '/body' ? 'x'.repeat(100_000) : undefined);
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  apply(waypoint, { retry: all });
  for (let i = 0; i < 3; i++) assert.equal((await ask(waypoint.port)).status, 200);
  const { counts } = waypoint.clusters.ofService(key('api'), 80)?.endpoints[0] ?? {};
  assert.equal(counts?.connected, 1);
  assert.equal((await ask(waypoint.port, { path: '/body' })).body.length, 100_000);
  assertIdle(waypoint);
});

test('a status of gRPC in the head of a response is retried where the policy names POST; in trailers it comes too late', async (t) => {
  let seen = 0;
  const upstream = await http2Upstream(t, (stream, headers) => {
    seen++;
    const type = { 'content-type': 'application/grpc' };
    if (seen % 2 === 0) return void stream.respond({ ...type, 'grpc-status': '0' }, { endStream: true });
    if (headers[':path'] !== '/trailers')
      return void stream.respond({ ...type, 'grpc-status': '14' }, { endStream: true });
    stream.respond(type, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '14' }));
    stream.end('message');
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] }, protocol: 'http2' });
  const client = connect(t, waypoint.port);
  const call = async (path: string): Promise<unknown> => {
    seen = 0;
    const { headers, trailers } = await ask2(client, {
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
    });
    return [headers['grpc-status'] ?? trailers?.['grpc-status'], seen];
  };
  apply(waypoint, { retry: { grpcCodes: [14] } });
  assert.deepEqual(await call('/a'), ['14', 1]);
  apply(waypoint, { retry: { grpcCodes: [14], unsafeMethods: ['POST'] } });
  assert.deepEqual(await call('/a'), ['0', 2]);
  assert.deepEqual(await call('/trailers'), ['14', 1]);
  apply(waypoint, { retry: { grpcCodes: [4], unsafeMethods: ['POST'] } });
  assert.deepEqual(await call('/a'), ['14', 1]);
});

test('requests that were sent before are reported, and nothing else', async (t) => {
  let seen = 0;
  const upstream = await httpUpstream(t, (_request, response) => {
    seen++;
    response.writeHead(503).end();
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  apply(waypoint, { retry: { ...all, attempts: 1 } });
  const before = async (headers: http.OutgoingHttpHeaders): Promise<unknown> => {
    waypoint.upstreamEvents.length = seen = 0;
    await ask(waypoint.port, { headers });
    const { attempts, attemptsBefore } = waypoint.records.at(-1) ?? {};
    const stacked = waypoint.upstreamEvents.filter((event) => event === 'stackedRetry').length;
    assert.deepEqual([attempts, seen], [2, 2]);
    return [attemptsBefore, stacked];
  };
  assert.deepEqual(await before({}), [0, 0]);
  assert.deepEqual(await before({ 'x-envoy-attempt-count': '1' }), [0, 0]);
  assert.deepEqual(await before({ 'x-envoy-attempt-count': '3' }), [2, 1]);
  assert.deepEqual(await before({ 'grpc-previous-rpc-attempts': '1' }), [1, 1]);
  for (const forged of ['-1', '1e9', '99999999999', 'x', '2, 3'])
    assert.deepEqual(await before({ 'x-envoy-attempt-count': forged }), [0, 0], forged);
  assert.deepEqual(await before({ 'x-envoy-max-retries': '9', 'x-envoy-retry-on': '5xx' }), [0, 0]);
  waypoint.apply({ removedServicePolicies: [`${key('api')}:80`] });
  await ask(waypoint.port, { headers: { 'x-envoy-attempt-count': '3' } });
  assert.equal(waypoint.records.at(-1)?.attemptsBefore, 0, 'a port without retries has nothing to report');
});

test('a rule’s retry goes before the policy, whose unsafe methods stay', async (t) => {
  let seen = 0;
  const upstream = await httpUpstream(t, (request, response) => {
    seen++;
    if (request.url === '/reset') return void request.socket.resetAndDestroy();
    request.resume();
    request.on('end', () => response.writeHead(Number(request.url?.slice(1))).end());
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    routes: [route('r', [{ retry: { codes: [503], attempts: 3, backoffMs: 1 } }])],
  });
  apply(waypoint, { retry: { ...all, attempts: 1, unsafeMethods: ['POST'] } });
  const run = async (path: string, method: string): Promise<number> => {
    seen = 0;
    await ask(waypoint.port, { path, method });
    return seen;
  };
  assert.equal(await run('/503', 'GET'), 4);
  assert.equal(await run('/500', 'GET'), 1, 'only the rule’s statuses');
  assert.equal(await run('/reset', 'POST'), 4);
  assert.equal(await run('/reset', 'PATCH'), 1);
  assert.deepEqual(waypoint.actions, [], 'the rule has done it');
});

test('the settings of a client are in place of the port’s', async (t) => {
  let seen = 0;
  const upstream = await httpUpstream(t, (_request, response) => {
    seen++;
    response.writeHead(503).end();
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const { retry } = settingsOfApi('r', { retry: all });
  const from = (namespace: string) => [{ namespace, serviceAccount: '' }];
  apply(waypoint, {
    clients: [{ from: from('elsewhere'), filters: [], retry, timeouts: undefined, origins: [], closed: '' }],
  });
  await ask(waypoint.port);
  assert.equal(seen, 1, 'this client has no identity');
});

test('echo: without failures a policy changes nothing but the number of the attempt', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('a'));
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] } });
  const plain = JSON.parse((await ask(waypoint.port)).body) as { headers: Record<string, string> };
  apply(waypoint, { retry: { ...all, perTryTimeoutMs: 1_000 }, retryBudgetPercent: 20 });
  const made = JSON.parse((await ask(waypoint.port)).body) as { headers: Record<string, string> };
  const { 'x-envoy-attempt-count': count, ...rest } = made.headers;
  assert.equal(count, '1');
  assert.deepEqual(Object.keys(rest).sort(), Object.keys(plain.headers).sort());
  assert.deepEqual(waypoint.upstreamEvents, []);
});
