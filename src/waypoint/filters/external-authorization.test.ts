/** External authorization by gRPC, with decision services of every kind. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask2, connect } from '../../../test/support/http2-client.js';
import { noMore } from '../../../test/support/filters.js';
import {
  askFilter,
  checkResponse,
  deniedWith,
  grpcDecisionService,
  header,
  okWith,
  respondGrpc,
  policyName,
} from '../../../test/support/decision-services.js';
import { scene, grpcScene } from '../../../test/support/decision-scenes.js';
import { id } from '../../../test/support/mesh.js';
import { eventually, RawClient } from '../../../test/support/waypoint.js';
import { grpcBody } from '../http/grpc.js';

test('the service learns who calls what, and a request that it allows reaches the endpoint', async (t) => {
  const {
    ask: send,
    service,
    arrived,
    waypoint,
  } = await grpcScene(t, undefined, {
    protocol: { $case: 'grpc', value: { context: [{ name: 'tenant', value: 'shop' }] } },
  });
  const { status } = await send({
    method: 'POST',
    path: '/orders?x=1',
    headers: { 'x-a': '1' },
    body: 'text',
  });
  assert.equal(status, 200);
  const [asked] = service.asked;
  assert.equal(asked?.source?.principal, id('web'));
  assert.equal(asked?.source?.address?.socketAddress?.address, '127.0.0.1');
  assert.equal(asked?.destination?.service, 'api.shop.svc.cluster.local');
  assert.equal(asked?.destination?.address?.socketAddress?.portValue, 80);
  assert.deepEqual(asked?.contextExtensions, { tenant: 'shop' });
  const http = asked?.request?.http;
  assert.deepEqual(
    [http?.method, http?.path, http?.host, http?.scheme, http?.protocol, http?.size, http?.body],
    ['POST', '/orders?x=1', 'api.shop', 'http', 'HTTP/1.1', 4, ''],
  );
  assert.equal(http?.headers['x-a'], '1');
  assert.equal(http?.headers[':method'], 'POST');
  assert.equal(http?.headers['x-forwarded-client-cert'], `URI=${id('web')}`);
  assert.equal(arrived[0]?.body, 'text');
  assert.equal(waypoint.records.at(-1)?.flag, undefined);
});

test('a denial is the response, with status, headers and body, and no endpoint sees the request', async (t) => {
  const {
    ask: send,
    arrived,
    waypoint,
    service,
  } = await grpcScene(t, () =>
    checkResponse(
      deniedWith({ status: { code: 401 }, headers: [header('WWW-Authenticate', 'Bearer')], body: 'no' }),
    ),
  );
  const { status, headers, body } = await send();
  assert.deepEqual([status, headers['www-authenticate'], body], [401, 'Bearer', 'no']);
  assert.equal(arrived.length, 0);
  const record = waypoint.records.at(-1);
  assert.deepEqual(
    [record?.flag, record?.code, record?.policy],
    ['UAEX', 'WEFT_EXTERNAL_AUTHORIZATION_DENIED', policyName],
  );
  assert.deepEqual(waypoint.actions, [`external-authorization did ${policyName}`]);
  const head = await send({ method: 'HEAD' });
  assert.deepEqual([head.status, head.body], [401, '']);
  service.answer = () => checkResponse({ status: { code: 7 } });
  assert.equal((await send()).status, 403);
});

test('a denial never looks like success', async (t) => {
  const { ask: send, service, arrived } = await grpcScene(t);
  for (const code of [200, 204, 101, 0, 99, 600, -1]) {
    service.answer = () => checkResponse(deniedWith({ status: { code } }));
    assert.equal((await send()).status, 403, String(code));
  }
  service.answer = () => checkResponse(deniedWith({ status: { code: 404 } }, 0));
  assert.equal((await send()).status, 404, 'a status of 0 beside a denial');
  assert.equal(arrived.length, 0);
});

test('a denial has no body where there is none: 304, and for gRPC clients, which get the status of gRPC', async (t) => {
  const { ask: send, service, waypoint } = await grpcScene(t);
  const of = (code: number) => () =>
    checkResponse(
      deniedWith({
        status: { code },
        headers: [header('content-type', 'text/html'), header('x-a', 'b')],
        body: '<p>',
      }),
    );
  service.answer = of(304);
  const { status, body } = await send();
  assert.deepEqual([status, body], [304, '']);
  service.answer = of(401);
  const client = connect(t, waypoint.port);
  const { headers, body: sent } = await ask2(client, {
    ':method': 'POST',
    ':path': '/shop.Api/Get',
    'content-type': 'application/grpc',
  });
  assert.deepEqual(
    [headers[':status'], headers['content-type'], headers['grpc-status'], headers['x-a'], sent],
    [200, 'application/grpc', '16', 'b', ''],
  );
});

test('headers and parameters that the service sets reach the endpoint, and those that it removes do not', async (t) => {
  const { ask: send, arrived } = await grpcScene(t, () =>
    checkResponse(
      okWith({
        headers: [
          header('X-User', 'ann'),
          header('x-list', 'b', { append: true }),
          header('x-absent', 'no', { appendAction: 1 }),
          header('x-present', 'no', { appendAction: 3 }),
          header('x-over', '2', { appendAction: 2 }),
          header('x-utf', 'é'),
        ],
        headersToRemove: ['authorization', 'Host', ':path'],
        responseHeadersToAdd: [header('set-cookie', 'a=1'), header('set-cookie', 'b=2')],
        queryParametersToSet: [{ key: 'user name', value: 'ann&b' }],
        queryParametersToRemove: ['token'],
      }),
    ),
  );
  const { headers } = await send({
    path: '/a?token=1&x=2&user%20name=eve',
    headers: {
      'x-user': 'eve',
      'x-list': 'a',
      'x-absent': 'yes',
      'x-over': '1',
      x_user: 'eve',
      authorization: 'secret',
    },
  });
  assert.deepEqual(headers['set-cookie'], ['a=1', 'b=2']);
  const [at] = arrived;
  assert.equal(at?.url, '/a?x=2&user%20name=ann%26b');
  const of = (name: string) => at?.headers[name];
  assert.equal(of('x_user'), undefined, 'some endpoints read it as x-user');
  assert.deepEqual(['x-user', 'x-list', 'x-absent', 'x-present', 'x-over', 'authorization', 'host'].map(of), [
    'ann',
    'a, b',
    'yes',
    undefined,
    '2',
    undefined,
    'api.shop',
  ]);
  assert.equal(Buffer.from(of('x-utf') ?? '', 'latin1').toString('utf8'), 'é');
});

test('the service cannot set what frames a message, names the host, or says who the client is', async (t) => {
  const names = [
    'Transfer-Encoding',
    'Content-Length',
    'Connection',
    'Upgrade',
    'TE',
    'Host',
    ':path',
    ':authority',
  ];
  const {
    ask: send,
    arrived,
    service,
  } = await grpcScene(t, () =>
    checkResponse(
      okWith({
        headers: [
          ...names.map((name) => header(name, '7')),
          header('x-forwarded-client-cert', 'URI=spiffe://evil'),
          header('x-forwarded-for', '9.9.9.9'),
        ],
        responseHeadersToAdd: names.map((name) => header(name, '7')),
      }),
    ),
  );
  const { status, body } = await send({ method: 'POST', body: 'text' });
  assert.equal(status, 200);
  assert.ok(body.includes('"name":"api"'));
  const { headers, body: sent, url } = arrived[0] ?? {};
  assert.deepEqual([sent, url, headers?.['host']], ['text', '/', 'api.shop']);
  assert.equal(headers?.['x-forwarded-client-cert'], `URI=${id('web')}`);
  assert.match(headers?.['x-forwarded-for'] ?? '', /127\.0\.0\.1$/);
  service.answer = () =>
    checkResponse(deniedWith({ headers: names.map((name) => header(name, '7')), body: 'no' }));
  const denied = await send();
  assert.deepEqual([denied.status, denied.body, denied.headers['content-length']], [403, 'no', '2']);
});

for (const [what, answer] of [
  ['a line end in a header of an allowed request', okWith({ headers: [header('x-a', 'b\r\nx-admin: 1')] })],
  ['a line end in a header of a denial', deniedWith({ headers: [header('x-a', 'b\r\n\r\nHTTP/1.1 200')] })],
  ['a line end in a header of the response', okWith({ responseHeadersToAdd: [header('x-a', 'b\nc')] })],
  ['a NUL in a header', okWith({ headers: [header('x-a', 'b\0')] })],
  ['a name that is none', okWith({ headers: [header('x a', 'b')] })],
  ['an empty name', okWith({ headers: [header('', 'b')] })],
  ['a line end in a name to remove', okWith({ headersToRemove: ['a\r\nb'] })],
  ['65 headers', okWith({ headers: Array.from({ length: 65 }, (_, i) => header(`x-${i}`, '1')) })],
  ['33 KiB of headers', okWith({ headers: [header('x-a', 'b'.repeat(33 << 10))] })],
  ['33 parameters', okWith({ queryParametersToRemove: Array.from({ length: 33 }, (_, i) => `p${i}`) })],
  ['an error of its own', { status: { code: 0 }, httpResponse: { $case: 'errorResponse', value: {} } }],
  ['an empty message', {}],
] as const)
  test(`no decision: the service answers with ${what}; the request is refused, or passes unchanged if the policy fails open`, async (t) => {
    const { ask: send, arrived, set, waypoint } = await grpcScene(t, () => checkResponse(answer));
    assert.equal((await send()).status, 503);
    assert.equal(arrived.length, 0);
    const record = waypoint.records.at(-1);
    assert.deepEqual([record?.flag, record?.code], ['UAEX', 'WEFT_EXTERNAL_AUTHORIZATION_SERVICE']);
    set(askFilter({ failOpen: true }));
    assert.equal((await send()).status, 200);
    assert.equal(arrived[0]?.headers['x-a'], undefined);
    set(askFilter({ statusOnError: 500 }));
    assert.equal((await send()).status, 500);
  });

test('no decision: garbage, another gRPC status, an end in the middle, 200 by HTTP, a body that is too large', async (t) => {
  const { ask: send, service, arrived } = await grpcScene(t);
  const allowing = grpcBody(checkResponse(okWith({})));
  const answers: readonly ReturnType<typeof service.answer>[] = [
    (stream) => respondGrpc(stream, Buffer.from('<html>hello</html>')),
    (stream) => respondGrpc(stream, grpcBody(Buffer.from([0xff, 0xff, 0xff, 0x01]))),
    (stream) => respondGrpc(stream, allowing, '14'),
    (stream) => respondGrpc(stream, Buffer.concat([allowing, allowing])),
    (stream) => respondGrpc(stream, Buffer.from([1, ...allowing.subarray(1)])),
    (stream) => respondGrpc(stream, grpcBody(Buffer.alloc(70_000))),
    (stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      stream.end(allowing);
    },
    (stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      stream.write(allowing, () => stream.session?.destroy());
    },
    (stream) => stream.close(),
  ];
  for (const [i, answer] of answers.entries()) {
    service.answer = () => answer;
    assert.equal((await send()).status, 503, String(i));
  }
  assert.equal(arrived.length, 0);
});

test('a service that hangs: the timeout refuses the request, or lets it pass, and the log says so once', async (t) => {
  const {
    ask: send,
    set,
    arrived,
    waypoint,
    service,
  } = await grpcScene(t, () => () => undefined, { timeoutMs: 300 });
  assert.equal((await send()).status, 503);
  assert.equal((await send()).status, 503);
  assert.match(waypoint.records.at(-1)?.why ?? '', /no response within/);
  set(askFilter({ timeoutMs: 50, failOpen: true }));
  assert.equal((await send()).status, 200);
  assert.equal(arrived.length, 1);
  assert.equal(waypoint.services.length, 1);
  service.answer = () => checkResponse(okWith({}));
  set(askFilter());
  assert.equal((await send()).status, 200);
  assert.match(waypoint.services[1] ?? '', /decides$/);
});

test('a client that leaves cancels the call', async (t) => {
  let isClosed = false;
  const { service, waypoint } = await grpcScene(
    t,
    () => (stream) => void stream.on('close', () => (isClosed = true)),
  );
  const client = await RawClient.open(waypoint.port);
  client.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  await eventually(() => service.asked.length === 1, 'a call');
  client.socket.resetAndDestroy();
  await eventually(() => isClosed, 'its end');
  await eventually(() => waypoint.context.externalAuthorization?.waiting === 0, 'nobody waits');
});

test('requests that wait for decisions are bounded for each client, and more are refused even if the policy fails open', async (t) => {
  const service = await grpcDecisionService(t, () => () => undefined);
  const { ask: send, waypoint } = await scene(
    t,
    [service.port],
    [askFilter({ failOpen: true, timeoutMs: 2_000 })],
    {
      waitingDecisionsMax: 8,
    },
  );
  const waiting = Array.from({ length: 4 }, () => send());
  await eventually(() => service.asked.length === 4, 'a share of half');
  assert.equal((await send()).status, 503);
  assert.ok(waypoint.limitsReached.includes('external-authorization-waiting'));
  assert.deepEqual(
    (await Promise.all(waiting)).map(({ status }) => status),
    [200, 200, 200, 200],
  );
});

test('only requests that match are asked for, whatever way their path is spelled', async (t) => {
  const matches = [
    { pathKind: 'prefix', path: '/admin', method: '', headers: [], query: [], unreadable: false, ...noMore },
  ];
  const { ask: send, service } = await grpcScene(t, () => checkResponse({ status: { code: 7 } }), {
    matches,
  });
  assert.equal((await send({ path: '/shop' })).status, 200);
  for (const path of ['/admin', '/admin/x', '/x/../admin', '/admin;a=b', '//admin'])
    assert.equal((await send({ path })).status, 403, path);
  assert.equal(service.asked.length, 5);
});

test('headers that only a decision may set are taken from clients, also where nothing is asked', async (t) => {
  const matches = [
    { pathKind: 'prefix', path: '/a', method: '', headers: [], query: [], unreadable: false, ...noMore },
  ];
  const upstreamHeaders = ['x-user', 'x-claim-*'];
  const { ask: send, arrived, service, set } = await grpcScene(t, undefined, { matches, upstreamHeaders });
  const headers = { 'X-User': 'root', x_user: 'root', 'x-claim-a': 'b', 'x-other': 'c' };
  service.answer = () =>
    checkResponse(okWith({ headers: [header('x-claim-b', 'd'), header('x-else', 'e')] }));
  for (const path of ['/a', '/b']) assert.equal((await send({ path, headers })).status, 200);
  assert.equal(
    service.asked[0]?.request?.http?.headers['x-user'],
    'root',
    'the service sees what the client sent',
  );
  const seen = arrived.map(({ headers: of }) =>
    ['x-user', 'x-claim-a', 'x-claim-b', 'x-else', 'x-other', 'x_user'].map((name) => of[name]),
  );
  assert.deepEqual(seen, [
    [undefined, undefined, 'd', undefined, 'c', undefined],
    [undefined, undefined, undefined, undefined, 'c', undefined],
  ]);
  set(askFilter({ upstreamHeaders, failOpen: true, timeoutMs: 50 }));
  service.answer = () => () => undefined;
  assert.equal((await send({ headers })).status, 200);
  assert.equal(arrived[2]?.headers['x-user'], undefined, 'and where the policy fails open');
});

test('the service gets the listed headers alone', async (t) => {
  const { ask: send, service } = await grpcScene(t, undefined, {
    requestHeaders: ['X-A', 'x-b-*', '__proto__'],
  });
  await send({ headers: { 'x-a': ['1', '2'], 'x-b-c': '3', 'x-d': '4', ['__proto__']: '5' } });
  assert.deepEqual(Object.entries(service.asked[0]?.request?.http?.headers ?? {}).sort(), [
    ['x-a', '1,2'],
    ['x-b-c', '3'],
  ]);
});

test('a service without an endpoint, and one that does not exist, refuse', async (t) => {
  const { ask: send, set } = await scene(t, [], [askFilter()]);
  assert.equal((await send()).status, 503);
  set(askFilter({ service: { service: 'shop/none.shop.svc.cluster.local', port: 80, invalid: '' } }));
  assert.equal((await send()).status, 503);
  set(askFilter({ service: { service: '', port: 0, invalid: 'there is no Service' } }));
  assert.equal((await send()).status, 500);
});
