/** External authorization through a waypoint, by both protocols, with decision services of every kind. */
import assert from 'node:assert/strict';
import type http from 'node:http';
import { test, type TestContext } from 'node:test';
import {
  askFilter,
  askHttp,
  checkResponse,
  deniedWith,
  grpcDecisionService,
  header,
  okWith,
  policyName,
  respondGrpc,
  type GrpcDecisionService,
} from '../../../test/support/decision-services.js';
import { filter, noMore } from '../../../test/support/filters.js';
import { id, identity, key, policy } from '../../../test/support/mesh.js';
import {
  ask,
  backend,
  echoHandler,
  eventually,
  httpUpstream,
  rawResponder,
  rawUpstream,
  RawClient,
  route,
  startWaypoint,
  type ClientRequest,
  type ClientResponse,
  type EchoedRequest,
  type TestWaypoint,
  type WaypointOptions,
} from '../../../test/support/waypoint.js';
import type { RouteFilter } from '../../model/route.js';
import { grpcBody } from '../http/grpc.js';

interface Scene {
  readonly waypoint: TestWaypoint;
  /** The requests that reached an endpoint. */
  readonly arrived: EchoedRequest[];
  set(...filters: RouteFilter[]): void;
  ask(request?: ClientRequest): Promise<ClientResponse>;
}

async function scene(
  t: TestContext,
  authz: readonly number[],
  filters: RouteFilter[],
  more: Partial<WaypointOptions> = {},
): Promise<Scene> {
  const arrived: EchoedRequest[] = [];
  const echo = echoHandler('api');
  const upstream = await httpUpstream(t, (request, response) => {
    const end = response.end.bind(response);
    response.end = ((text: string) => {
      arrived.push(JSON.parse(text) as EchoedRequest);
      return end(text);
    }) as typeof response.end;
    echo(request, response);
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port], authz },
    identity: id('web'),
    self: id('waypoint'),
    ...more,
  });
  const set = (...next: RouteFilter[]): void =>
    void waypoint.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], filters: next }] });
  set(...filters);
  return { waypoint, arrived, set, ask: (request) => ask(waypoint.port, request) };
}
const grpcScene = async (
  t: TestContext,
  answer?: Parameters<typeof grpcDecisionService>[1],
  fields: Parameters<typeof askFilter>[0] = {},
): Promise<Scene & { readonly service: GrpcDecisionService }> => {
  const service = await grpcDecisionService(t, answer);
  return { ...(await scene(t, [service.port], [askFilter(fields)])), service };
};
/** A decision service by plain HTTP. */
const httpScene = async (
  t: TestContext,
  handler: http.RequestListener,
  fields: Parameters<typeof askHttp>[0] = {},
  prefix = '/check',
): Promise<Scene> => scene(t, [(await httpUpstream(t, handler)).port], [askHttp(fields, prefix)]);

test('the service is told who calls what, and a request that it allows reaches the endpoint', async (t) => {
  const {
    ask: send,
    service,
    arrived,
    waypoint,
  } = await grpcScene(t, undefined, {
    protocol: { $case: 'grpc', value: { context: { tenant: 'shop' } } },
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
  assert.deepEqual([record?.flag, record?.code], ['UAEX', 'WEFT_EXTERNAL_AUTHORIZATION_DENIED']);
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
    headers: { 'x-user': 'eve', 'x-list': 'a', 'x-absent': 'yes', 'x-over': '1', authorization: 'secret' },
  });
  assert.deepEqual(headers['set-cookie'], ['a=1', 'b=2']);
  const [at] = arrived;
  assert.equal(at?.url, '/a?x=2&user%20name=ann%26b');
  const of = (name: string) => at?.headers[name];
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
  } = await grpcScene(t, () => () => undefined, { timeoutMs: 50 });
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

test('dry run: nothing waits or changes, and what would be denied is counted', async (t) => {
  const {
    ask: send,
    arrived,
    waypoint,
    service,
  } = await grpcScene(t, () => checkResponse({ status: { code: 7 } }), {
    dryRun: true,
    upstreamHeaders: ['x-user'],
  });
  const { status } = await send({ headers: { 'x-user': 'eve' } });
  assert.equal(status, 200);
  assert.equal(arrived[0]?.headers['x-user'], 'eve');
  await eventually(() => waypoint.actions.length === 1, 'the action');
  assert.deepEqual(waypoint.actions, [`external-authorization would ${policyName}`]);
  service.answer = () => () => undefined;
  assert.equal((await send()).status, 200);
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
  const headers = { 'X-User': 'root', 'x-claim-a': 'b', 'x-other': 'c' };
  service.answer = () =>
    checkResponse(okWith({ headers: [header('x-claim-b', 'd'), header('x-else', 'e')] }));
  for (const path of ['/a', '/b']) assert.equal((await send({ path, headers })).status, 200);
  assert.equal(
    service.asked[0]?.request?.http?.headers['x-user'],
    'root',
    'the service sees what the client sent',
  );
  const seen = arrived.map(({ headers: of }) =>
    ['x-user', 'x-claim-a', 'x-claim-b', 'x-else', 'x-other'].map((name) => of[name]),
  );
  assert.deepEqual(seen, [
    [undefined, undefined, 'd', undefined, 'c'],
    [undefined, undefined, undefined, undefined, 'c'],
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

test('decisions are kept for the time of the policy, apart by what the service was sent and by the client', async (t) => {
  const {
    ask: send,
    service,
    arrived,
  } = await grpcScene(
    t,
    ({ request }) =>
      request?.http?.headers['x-user'] === 'eve'
        ? checkResponse(deniedWith({ status: { code: 404 } }))
        : checkResponse(okWith({ headers: [header('x-seen', request?.http?.headers['x-user'] ?? '')] })),
    { cacheMs: 60_000, requestHeaders: ['x-user'] },
  );
  for (let i = 0; i < 3; i++) {
    assert.equal((await send({ headers: { 'x-user': 'ann', 'x-other': String(i) } })).status, 200);
    assert.equal((await send({ headers: { 'x-user': 'eve' } })).status, 404);
  }
  assert.equal(service.asked.length, 2);
  assert.deepEqual(
    arrived.map(({ headers }) => headers['x-seen']),
    ['ann', 'ann', 'ann'],
  );
  await send({ headers: { 'x-user': 'ann' }, path: '/?b' });
  await send({ headers: { 'x-user': 'ann', host: 'other' } });
  await send({ headers: { 'x-user': 'ann' }, method: 'PUT' });
  assert.equal(service.asked.length, 5);
});

test('failures are not kept', async (t) => {
  const { ask: send, service } = await grpcScene(t, () => checkResponse({}), {
    cacheMs: 60_000,
    requestHeaders: ['x'],
  });
  assert.equal((await send()).status, 503);
  service.answer = () => checkResponse(okWith({}));
  assert.equal((await send()).status, 200);
});

test('the service gets the body, which the endpoint gets as well, once', async (t) => {
  const { ask: send, service, arrived } = await grpcScene(t, undefined, { bodyBytesMax: 1_000 });
  assert.equal((await send({ method: 'POST', body: 'text' })).status, 200);
  const binary = Buffer.from([0xff, 0xfe, 0]);
  assert.equal((await send({ method: 'POST', body: binary })).status, 200);
  assert.equal((await send()).status, 200);
  assert.deepEqual(
    service.asked.map(({ request }) => [
      request?.http?.body,
      Buffer.from(request?.http?.rawBody ?? []).toString('hex'),
      request?.http?.headers['x-envoy-auth-partial-body'],
    ]),
    [
      ['text', '', 'false'],
      ['', 'fffe00', 'false'],
      ['', '', undefined],
    ],
  );
  assert.deepEqual(
    arrived.map(({ body }) => body),
    ['text', binary.toString('latin1'), ''],
  );
});

test('a longer body gets 413, or the service gets the part of it and the endpoint all', async (t) => {
  const {
    ask: send,
    service,
    arrived,
    set,
    waypoint,
  } = await grpcScene(t, undefined, { bodyBytesMax: 1_000 });
  const body = 'x'.repeat(300_000);
  assert.equal((await send({ method: 'POST', body })).status, 413);
  assert.equal(service.asked.length, 0);
  assert.equal(waypoint.records.at(-1)?.code, 'WEFT_EXTERNAL_AUTHORIZATION_BODY');
  set(askFilter({ bodyBytesMax: 1_000, bodyPartial: true }));
  assert.equal((await send({ method: 'POST', body })).status, 200);
  const http = service.asked[0]?.request?.http;
  assert.deepEqual([http?.body.length, http?.headers['x-envoy-auth-partial-body']], [1_000, 'true']);
  assert.equal(arrived[0]?.body.length, body.length);
});

test('a client that awaits 100 before its body gets it once', async (t) => {
  const { waypoint, arrived } = await grpcScene(t, undefined, { bodyBytesMax: 1_000 });
  const client = await RawClient.open(waypoint.port);
  client.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n');
  await client.until((text) => text.includes('HTTP/1.1 100'));
  client.write('text');
  const text = await client.until((all) => all.includes('HTTP/1.1 200'));
  assert.equal(text.split('HTTP/1.1 100').length, 2);
  assert.equal(arrived[0]?.body, 'text');
  assert.equal(arrived[0].headers['expect'], undefined);
});

test('plain HTTP: 200 allows; the service gets method, host, path behind the prefix, authorization and listed headers', async (t) => {
  const calls: {
    readonly url: string;
    readonly method: string;
    readonly headers: http.IncomingHttpHeaders;
  }[] = [];
  const { ask: send, arrived } = await httpScene(
    t,
    ({ url = '', method = '', headers }, response) => {
      calls.push({ url, method, headers });
      response.writeHead(200, { 'x-user': 'ann', 'x-else': 'no' }).end();
    },
    { requestHeaders: ['x-a', 'host', 'content-length', 'transfer-encoding'], upstreamHeaders: ['x-user'] },
  );
  const { status } = await send({
    method: 'PUT',
    path: '/orders?x',
    headers: { authorization: 'Bearer t', 'x-a': '1', 'x-b': '2', 'x-user': 'eve', 'x-else': 'own' },
    body: 'text',
  });
  assert.equal(status, 200);
  const [call] = calls;
  assert.deepEqual([call?.url, call?.method, call?.headers.host], ['/check/orders?x', 'PUT', 'api.shop']);
  assert.deepEqual(
    ['authorization', 'x-a', 'x-b', 'x-user'].map((name) => call?.headers[name]),
    ['Bearer t', '1', undefined, undefined],
  );
  assert.deepEqual([arrived[0]?.headers['x-user'], arrived[0]?.headers['x-else']], ['ann', 'own']);
  assert.equal(arrived[0]?.body, 'text');
});

test('plain HTTP: any other status is the response, with its headers and body; 5xx is no decision', async (t) => {
  let status = 302;
  const {
    ask: send,
    arrived,
    set,
  } = await httpScene(t, (_request, response) =>
    response
      .writeHead(status, { location: 'https://login', 'set-cookie': ['a=1', 'b=2'], 'x-private': '1' })
      .end('go'),
  );
  const redirected = await send();
  assert.deepEqual(
    [redirected.status, redirected.headers.location, redirected.headers['set-cookie'], redirected.body],
    [302, 'https://login', ['a=1', 'b=2'], 'go'],
  );
  status = 201;
  assert.equal((await send()).status, 403);
  status = 500;
  assert.equal((await send()).status, 503);
  set(askHttp({ clientHeaders: ['location'] }, '/check'));
  status = 401;
  const listed = await send();
  assert.deepEqual(
    [listed.status, listed.headers['x-private'], listed.headers.location],
    [401, undefined, 'https://login'],
  );
  assert.equal(arrived.length, 0);
});

test('plain HTTP: all headers of the response are copied if the list says so, besides those that describe the response', async (t) => {
  const { ask: send, arrived } = await httpScene(
    t,
    (_request, response) =>
      response
        .writeHead(200, {
          'x-user': 'ann',
          'content-type': 'text/html',
          'x-envoy-auth-headers-to-remove': 'x-b, x-c',
        })
        .end('<p>'),
    { upstreamHeaders: ['*'] },
  );
  await send({ method: 'POST', body: '{}', headers: { 'content-type': 'application/json', 'x-b': '1' } });
  const { headers, body } = arrived[0] ?? {};
  assert.deepEqual(
    [headers?.['x-user'], headers?.['content-type'], headers?.['x-b'], body],
    ['ann', 'application/json', undefined, '{}'],
  );
});

for (const [what, bytes] of [
  ['splits its response', 'HTTP/1.1 200 OK\r\nx-user: a\rb\r\ncontent-length: 0\r\n\r\n'],
  ['is not HTTP', 'SSH-2.0-OpenSSH_9.0\r\n\r\n'],
  ['sends two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 5\r\n\r\n'],
  ['floods headers', `HTTP/1.1 200 OK\r\n${'x-user: 1\r\n'.repeat(300)}content-length: 0\r\n\r\n`],
  [
    'has more headers than a decision',
    `HTTP/1.1 200 OK\r\n${'x-user: 1\r\n'.repeat(70)}content-length: 0\r\n\r\n`,
  ],
  ['has a body that is too large', `HTTP/1.1 403 No\r\ncontent-length: 70000\r\n\r\n${'x'.repeat(70_000)}`],
] as const)
  test(`plain HTTP: no decision if the service ${what}`, async (t) => {
    const port = await rawResponder(t, bytes);
    const { ask: send, arrived } = await scene(t, [port], [askHttp({ upstreamHeaders: ['x-user'] })]);
    assert.equal((await send()).status, 503);
    assert.equal(arrived.length, 0);
  });

test('plain HTTP: no decision if the service closes the connection in the middle of its response', async (t) => {
  const port = await rawUpstream(t, (socket) => {
    socket.once('data', () => socket.end('HTTP/1.1 403 No\r\ncontent-length: 5\r\n\r\nab'));
  });
  const { ask: send } = await scene(t, [port], [askHttp()]);
  assert.equal((await send()).status, 503);
});

test('a service without an endpoint, and one that does not exist, refuse', async (t) => {
  const { ask: send, set } = await scene(t, [], [askFilter()]);
  assert.equal((await send()).status, 503);
  set(askFilter({ service: { service: 'shop/none.shop.svc.cluster.local', port: 80, invalid: '' } }));
  assert.equal((await send()).status, 503);
  set(askFilter({ service: { service: '', port: 0, invalid: 'there is no Service' } }));
  assert.equal((await send()).status, 500);
});

test('a rule of a route asks for its own requests', async (t) => {
  const service = await grpcDecisionService(t, () => checkResponse({ status: { code: 7 } }));
  const { ask: send } = await scene(t, [service.port], [], {
    routes: [
      route('r', [
        {
          matches: [{ path: { kind: 'prefix', value: '/in' }, headers: [], query: [] }],
          filters: [askFilter()],
        },
        { matches: [{ path: { kind: 'prefix', value: '/' }, headers: [], query: [] }] },
      ]),
    ],
  });
  assert.deepEqual([(await send({ path: '/in' })).status, (await send()).status], [403, 200]);
});

test('a route of the Service may go without, if the policy lets it; one of the client may not', async (t) => {
  const service = await grpcDecisionService(t, () => checkResponse({ status: { code: 7 } }));
  const open = [
    {
      matches: [{ path: { kind: 'prefix', value: '/health' } as const, headers: [], query: [] }],
      withoutExternalAuthorization: true as const,
    },
    { matches: [{ path: { kind: 'prefix', value: '/' } as const, headers: [], query: [] }] },
  ];
  const {
    ask: send,
    set,
    waypoint,
  } = await scene(t, [service.port], [askFilter({ routesMayDisable: true })], {
    routes: [route('r', open)],
  });
  assert.deepEqual([(await send({ path: '/health' })).status, (await send()).status], [200, 403]);
  set(askFilter());
  assert.equal((await send({ path: '/health' })).status, 403);
  set(askFilter({ routesMayDisable: true }));
  waypoint.apply({ routes: [route('r', open, { namespace: 'web' })], removedRoutes: [] });
  waypoint.apply({ removedRoutes: ['HTTPRoute/shop/r'] });
  assert.equal((await send({ path: '/health' })).status, 403);
});

test('a request that is mirrored after its body was read is mirrored whole', async (t) => {
  const mirrored: string[] = [];
  const service = await grpcDecisionService(t);
  const copy = await httpUpstream(t, (request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (bytes: Buffer) => parts.push(bytes));
    request.on('end', () => {
      mirrored.push(Buffer.concat(parts).toString());
      response.end();
    });
  });
  const upstream = await httpUpstream(t, echoHandler('api'));
  const mirror = filter('mirror', {
    backend: { service: key('copy'), port: 80, invalid: '' },
    numerator: 1,
    denominator: 1,
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port], authz: [service.port], copy: [copy.port] },
    routes: [route('r', [{ filters: [mirror] }])],
  });
  waypoint.apply({
    servicePolicies: [
      { service: key('api'), port: 80, origins: [], filters: [askFilter({ bodyBytesMax: 1_000 })] },
    ],
  });
  await ask(waypoint.port, { method: 'POST', body: 'text' });
  await eventually(() => mirrored.length === 1, 'the copy');
  assert.deepEqual(mirrored, ['text']);
});

test('a route of another Service does not evade the decision, nor does a mirror or the address of a pod', async (t) => {
  const service = await grpcDecisionService(t, () => checkResponse({ status: { code: 7 } }));
  const copied: string[] = [];
  const other = await httpUpstream(t, (request, response) => {
    copied.push(request.url ?? '');
    response.end();
  });
  const upstream = await httpUpstream(t, echoHandler('api'));
  const mirror = filter('mirror', {
    backend: { service: key('guarded'), port: 80, invalid: '' },
    numerator: 1,
    denominator: 1,
  });
  const at = (value: string) => [{ path: { kind: 'prefix' as const, value }, headers: [], query: [] }];
  const options = { api: [upstream.port], authz: [service.port], guarded: [other.port] };
  const guard = (filters: RouteFilter[]) => ({
    servicePolicies: [{ service: key('guarded'), port: 80, origins: [], filters }],
  });
  const waypoint = await startWaypoint(t, {
    backends: options,
    routes: [
      route('r', [
        { matches: at('/to'), backends: [backend('guarded')], withoutExternalAuthorization: true },
        { matches: at('/mirror'), filters: [mirror] },
      ]),
    ],
  });
  waypoint.apply(guard([askFilter({ routesMayDisable: true })]));
  assert.equal((await ask(waypoint.port, { path: '/to' })).status, 403);
  assert.equal((await ask(waypoint.port, { path: '/mirror' })).status, 200);
  assert.deepEqual([copied, waypoint.mirrored], [[], ['denied']]);
  waypoint.apply(guard([askFilter({ dryRun: true })]));
  assert.equal((await ask(waypoint.port, { path: '/to' })).status, 200);

  const pod = await startWaypoint(t, { backends: options, podPort: upstream.port });
  const ofApi = (filters: RouteFilter[]) =>
    pod.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], filters }] });
  assert.equal((await ask(pod.port)).status, 200);
  ofApi([askFilter()]);
  assert.equal((await ask(pod.port)).status, 403);
});

test('a connection that is not HTTP is refused at a port that demands decisions', async (t) => {
  const service = await grpcDecisionService(t);
  const port = await rawUpstream(t, (socket) => void socket.write('hello'));
  const waypoint = await startWaypoint(t, { backends: { api: [port], authz: [service.port] } });
  const greeted = await RawClient.open(waypoint.port);
  greeted.write(Buffer.from([0x16, 3, 1, 0, 5]));
  await greeted.until((text) => text === 'hello');
  waypoint.apply({
    servicePolicies: [{ service: key('api'), port: 80, origins: [], filters: [askFilter()] }],
  });
  const refused = await RawClient.open(waypoint.port);
  refused.write(Buffer.from([0x16, 3, 1, 0, 5]));
  await refused.untilClosed();
  assert.equal(refused.text, '');
  assert.match(waypoint.relayed.at(-1) ?? '', /demands a decision/);
});

test("the decision service's own policies have to allow the waypoint", async (t) => {
  const service = await grpcDecisionService(t);
  const allowing = (namespace: string): WaypointOptions['policies'] => [
    policy(
      'p',
      'allow',
      { namespaces: [{ kind: 'exact', value: namespace }] },
      {
        scope: 'workload',
        services: [key('authz')],
      },
    ),
  ];
  for (const [namespace, status] of [
    ['shop', 200],
    ['web', 503],
  ] as const) {
    const { ask: send } = await scene(t, [service.port], [askFilter()], {
      policies: allowing(namespace) ?? [],
      identity: identity('web', 'client'),
    });
    assert.equal((await send()).status, status, namespace);
  }
  assert.equal(service.asked.length, 1);
});
