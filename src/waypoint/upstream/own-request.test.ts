import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import {
  deadPort,
  echoHandler,
  http2Upstream,
  httpUpstream,
  rawResponder,
  rawUpstream,
  startWaypoint,
  type EchoedRequest,
  type WaypointOptions,
} from '../../../test/support/waypoint.js';
import { key } from '../../../test/support/mesh.js';
import { headerOf } from '../http/headers.js';
import { OwnRequestError, sendOwn, type OwnRequest, type OwnResponse } from './own-request.js';

/** Sends own requests to the endpoint at a port. */
async function senderTo(t: TestContext, port: number, more: Partial<WaypointOptions> = {}) {
  const waypoint = await startWaypoint(t, { backends: { api: [port] }, ...more });
  const cluster = waypoint.clusters.ofService(key('api'), 80);
  const endpoint = cluster?.endpoints[0];
  assert.ok(cluster && endpoint);
  return {
    waypoint,
    cluster,
    endpoint,
    send: (request: Partial<OwnRequest> = {}): Promise<OwnResponse> =>
      sendOwn(waypoint.context, cluster, endpoint, {
        method: 'GET',
        path: '/',
        authority: 'api.shop',
        headers: [],
        timeoutMs: 5_000,
        bodyBytesMax: 10_000,
        ...request,
      }),
  };
}

const failureOf = async (response: Promise<OwnResponse>): Promise<string> => {
  const error = await response.then(
    ({ status }) => assert.fail(`it responded ${status}`),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof OwnRequestError, String(error));
  return error.kind;
};

test('an own request goes to an endpoint over HTTP/1.1 with its body, and names no client', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('a'));
  const { send, cluster, endpoint } = await senderTo(t, upstream.port);
  const response = await send({
    method: 'POST',
    path: '/x?y',
    headers: ['x-a', '1'],
    body: Buffer.from('text'),
  });
  assert.equal(response.status, 200);
  assert.equal(headerOf(response.headers, 'x-upstream'), 'a');
  const { method, url, headers, body } = JSON.parse(response.body.toString()) as EchoedRequest;
  assert.deepEqual([method, url, body], ['POST', '/x?y', 'text']);
  assert.deepEqual(headers, { host: 'api.shop', 'x-a': '1', 'content-length': '4' });
  await send();
  assert.deepEqual([cluster.active, endpoint.counts.success, endpoint.counts.connected], [0, 2, 1]);
});

test('an own gRPC request goes over HTTP/2, and its response has trailers', async (t) => {
  const upstream = await http2Upstream(t, (stream, headers) => {
    const parts: Buffer[] = [];
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('end', () => {
      stream.respond({ 'x-path': headers[':path'], 'x-te': headers.te }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '5' }));
      stream.end(Buffer.concat(parts));
    });
  });
  const { send } = await senderTo(t, upstream.port);
  const body = Buffer.alloc(2_000, 'x');
  const grpc = { method: 'POST', headers: ['content-type', 'application/grpc'], body };
  for (let i = 0; i < 2; i++) {
    const { status, headers, trailers, body: received } = await send({ ...grpc, path: '/a.B/C' });
    assert.equal(status, 200);
    assert.deepEqual([headerOf(headers, 'x-path'), headerOf(headers, 'x-te')], ['/a.B/C', 'trailers']);
    assert.equal(headerOf(trailers ?? [], 'grpc-status'), '5');
    assert.ok(received.equals(body));
  }
});

test('an own request fails by its kind, and is not under way afterwards', async (t) => {
  const large = await httpUpstream(t, (_request, response) => void response.end(Buffer.alloc(20_000)));
  const hanging = await rawUpstream(t, () => undefined);
  const endless = await rawResponder(t, 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n');
  const resetting = await rawUpstream(t, (socket) => socket.once('data', () => socket.resetAndDestroy()));
  for (const [port, request, kind] of [
    [large.port, {}, 'too-large'],
    [hanging, { timeoutMs: 300 }, 'timeout'],
    [endless, { timeoutMs: 300 }, 'timeout'],
    [resetting, {}, 'reset'],
    [await deadPort(), {}, 'connect'],
    [hanging, { signal: AbortSignal.timeout(30) }, 'aborted'],
    [hanging, { signal: AbortSignal.abort() }, 'aborted'],
  ] as const) {
    const { send, cluster } = await senderTo(t, port);
    assert.equal(await failureOf(send(request)), kind);
    assert.equal(cluster.active, 0);
  }
  const never = await senderTo(t, hanging, { dial: () => () => new Promise(() => undefined) });
  assert.equal(await failureOf(never.send({ timeoutMs: 50 })), 'timeout');
  assert.equal(never.endpoint.counts.timeout, 0, 'the endpoint was not asked');
  assert.equal(never.cluster.waiting, 0);
});

test('an own request counts toward the limit of its cluster', async (t) => {
  const hanging = await rawUpstream(t, () => undefined);
  const { send, waypoint } = await senderTo(t, hanging);
  waypoint.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], requestsMax: 1 }] });
  waypoint.clusters.ofService(key('api'), 80);
  const first = failureOf(send({ timeoutMs: 100 }));
  assert.equal(await failureOf(send()), 'overflow');
  assert.deepEqual(waypoint.limitsReached, ['cluster-requests']);
  assert.equal(await first, 'timeout');
});
