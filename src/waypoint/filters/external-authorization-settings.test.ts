/** External authorization with bodies, kept decisions, and in dry run. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  askFilter,
  checkResponse,
  deniedWith,
  header,
  okWith,
  policyName,
  respondGrpc,
} from '../../../test/support/decision-services.js';
import { grpcScene } from '../../../test/support/decision-scenes.js';
import { grpcBody } from '../http/grpc.js';
import { eventually, RawClient } from '../../../test/support/waypoint.js';

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

test('the record of a request in dry run waits for the decision, and names the policy as audited', async (t) => {
  const { ask: send, waypoint, service } = await grpcScene(t, undefined, { dryRun: true, timeoutMs: 60_000 });
  let decide: (() => void) | undefined;
  service.answer = () => (stream) => {
    decide = () => respondGrpc(stream, grpcBody(checkResponse({ status: { code: 7 } })));
  };
  assert.equal((await send()).status, 200);
  await eventually(() => decide !== undefined, 'the service is asked');
  assert.equal(waypoint.records.length, 0);
  decide?.();
  await eventually(() => waypoint.records.length === 1, 'the record');
  const [record] = waypoint.records;
  assert.deepEqual([record?.audited, record?.status, record?.code], [[policyName], 200, undefined]);
  assert.match(record?.actions[0]?.reason ?? '', /denies the request/);
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

test('each of several policies gets as much of the body as it asks for', async (t) => {
  const { ask: send, service, arrived, set } = await grpcScene(t);
  const body = 'x'.repeat(5_000);
  set(
    askFilter({ bodyBytesMax: 10, bodyPartial: true }),
    askFilter({ bodyBytesMax: 10_000 }),
    askFilter({ bodyBytesMax: 100, bodyPartial: true }),
  );
  assert.equal((await send({ method: 'POST', body })).status, 200);
  assert.deepEqual(
    service.asked.map(({ request }) => request?.http?.body.length),
    [10, 5_000, 100],
  );
  assert.equal(arrived[0]?.body, body);
});

test('bodies are bounded for each client, and their share is free again after the response', async (t) => {
  const {
    ask: send,
    waypoint,
    set,
  } = await grpcScene(t, undefined, { bodyBytesMax: 1_000_000, failOpen: true });
  const shares = waypoint.context.externalAuthorization?.bodyShares;
  assert.ok(shares);
  const body = 'x'.repeat(200_000);
  shares.max = 64;
  assert.equal((await send({ method: 'POST', body })).status, 503);
  assert.ok(waypoint.limitsReached.includes('external-authorization-bodies'));
  shares.max = 1_000;
  assert.equal((await send({ method: 'POST', body })).status, 200);
  set(askFilter({ bodyBytesMax: 1_000 }));
  assert.equal((await send({ method: 'POST', body })).status, 413);
  await eventually(() => shares.size === 0, 'no share is taken');
});
