import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { RateLimitResponse_Code as Code, type RateLimitDescriptor } from '../discovery/gen/ratelimit.js';
import { createRoot } from '../tls/issue.js';
import { OwnService } from '../waypoint/rate-limit/global/own-service.js';
import { svidOf } from '../../test/support/hbone.js';
import { domain, identity } from '../../test/support/mesh.js';
import { clientOf, limiterIdentity, startRateLimiter } from '../../test/support/rate-limiter.js';
import { startRedis } from '../../test/support/redis.js';
import { eventually } from '../../test/support/waypoint.js';
import type { Counters } from './counters.js';
import { problemOf } from './server.js';

const shop = identity('shop', 'waypoint');
const other = identity('other', 'waypoint');
const hour = 3;
const descriptor = (value: string, hits = 1, limit = 10, unit = hour): RateLimitDescriptor => ({
  entries: [{ key: 'key', value }],
  limit: { requestsPerUnit: limit, unit },
  hitsAddend: hits,
});
/** Grants everything. */
const generous: Pick<Counters, 'count'> = {
  count: (_owner, { hits }) =>
    Promise.resolve({ kind: 'counted', granted: hits, left: 5, resetMs: 1_500, isRest: false }),
};

test('a waypoint is granted what is left, and another waypoint has counts of its own', async (t) => {
  const redis = await startRedis(t);
  const { counters, connection } = redis.counters(t);
  await eventually(() => connection.isUp, 'connected');
  const { port } = await startRateLimiter(t, counters);
  const [first, second] = [clientOf(t, port, shop), clientOf(t, port, other)];
  const granted = await first.call('d', [descriptor('a', 7), descriptor('a', 7), descriptor('b', 2)], 5_000);
  assert.equal(granted.overallCode, Code.OK);
  assert.deepEqual(
    granted.statuses.map(({ code, quota, limitRemaining }) => [code, quota?.requests, limitRemaining]),
    [
      [Code.OK, 7, 3],
      [Code.OK, 3, 0],
      [Code.OK, 2, 8],
    ],
  );
  const over = await first.call('d', [descriptor('a'), descriptor('c')], 5_000);
  assert.equal(over.overallCode, Code.OVER_LIMIT);
  assert.deepEqual(
    over.statuses.map(({ code }) => code),
    [Code.OVER_LIMIT, Code.OK],
  );
  assert.ok((over.statuses[0]?.durationUntilReset?.seconds ?? 0) <= 3_600);
  const elsewhere = await second.call('d', [descriptor('a', 7)], 5_000);
  assert.equal(elsewhere.statuses[0]?.quota?.requests, 7);
  const domainOfItsOwn = await first.call('e', [descriptor('a', 7)], 5_000);
  assert.equal(domainOfItsOwn.statuses[0]?.quota?.requests, 7);
});

test('only waypoints of the mesh are served', async (t) => {
  const { port, refused } = await startRateLimiter(t, generous);
  const asWeb = clientOf(t, port, identity('shop', 'web'));
  await assert.rejects(asWeb.call('d', [descriptor('a')], 5_000), /PERMISSION_DENIED/);
  assert.deepEqual(refused, ['not-a-waypoint']);
  const stranger = svidOf(shop, 3600, createRoot(domain, 86_400));
  const trusting = { ...stranger, rootsPem: svidOf(shop).rootsPem };
  const client = new OwnService({
    target: `127.0.0.1:${port}`,
    identity: limiterIdentity,
    svid: () => trusting,
  });
  t.after(() => client.close());
  await assert.rejects(client.call('d', [descriptor('a')], 2_000));
  assert.deepEqual(refused, ['not-a-waypoint'], 'a certificate of another root does not reach the service');
  const ofAnotherDomain = 'spiffe://other.domain/ns/shop/sa/waypoint' as typeof shop;
  await assert.rejects(
    clientOf(t, port, ofAnotherDomain).call('d', [descriptor('a')], 5_000),
    /UNAUTHENTICATED/,
  );
});

test('a waypoint accepts only the rate limit service as a server', async (t) => {
  const { port, server } = await startRateLimiter(t, generous);
  server.present(svidOf(identity('shop', 'web')));
  await assert.rejects(clientOf(t, port, shop).call('d', [descriptor('a')], 2_000), /UNAVAILABLE/);
  // A renewed certificate applies to the next connection.
  server.present(svidOf(limiterIdentity));
  await clientOf(t, port, shop).call('d', [descriptor('a')], 5_000);
});

test('a Gateway that is removed ends the service for its waypoint, on open connections as well', async (t) => {
  const waypoints = new Set(['shop']);
  const { port } = await startRateLimiter(t, generous, {
    isWaypoint: ({ namespace }) => waypoints.has(namespace),
  });
  const client = clientOf(t, port, shop);
  await client.call('d', [descriptor('a')], 5_000);
  waypoints.delete('shop');
  await assert.rejects(client.call('d', [descriptor('a')], 5_000), /PERMISSION_DENIED/);
});

test('a caller has a share of the calls under way', async (t) => {
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  const hanging: Pick<Counters, 'count'> = {
    count: (owner, request) => released.then(() => generous.count(owner, request)),
  };
  const { port, refused } = await startRateLimiter(t, hanging, { callsMax: 64 });
  const [first, second] = [clientOf(t, port, shop), clientOf(t, port, other)];
  const flood = Array.from({ length: 32 + 10 }, () =>
    first.call('d', [descriptor('a')], 5_000).catch((error: Error) => error.message),
  );
  await eventually(() => refused.length >= 10, 'the flood is refused');
  const late = await second.call('d', [descriptor('a')], 300).catch((error: Error) => error.message);
  assert.match(String(late), /DEADLINE_EXCEEDED/, 'another caller is not refused');
  release();
  assert.equal(
    (await Promise.all(flood)).filter((text) => /RESOURCE_EXHAUSTED/.test(String(text))).length,
    10,
  );
});

test('requests that cannot be counted', async (t) => {
  const { port } = await startRateLimiter(t, generous);
  const client = clientOf(t, port, shop);
  await assert.rejects(client.call('d', [], 5_000), /INVALID_ARGUMENT/);
  const request = (one: Partial<RateLimitDescriptor>, of = 'd') =>
    problemOf({ domain: of, hitsAddend: 0, descriptors: [{ ...descriptor('a'), ...one }] });
  assert.equal(request({}), undefined);
  assert.match(request({ limit: undefined }) ?? '', /no limit/);
  assert.match(request({ limit: { requestsPerUnit: 1, unit: -1 } }) ?? '', /unit/);
  assert.match(request({ hitsAddend: 0 }) ?? '', /hits/);
  assert.match(request({ hitsAddend: 2 ** 40 }) ?? '', /hits/);
  assert.match(request({ entries: [] }) ?? '', /entries/);
  assert.match(request({ entries: [{ key: 'a', value: 'x'.repeat(5_000) }] }) ?? '', /characters/);
  assert.match(request({}, 'x'.repeat(5_000)) ?? '', /domain/);
});

test('bytes that are no TLS do not end the service', async (t) => {
  const { port } = await startRateLimiter(t, generous);
  const socket = net.connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write('GET / HTTP/1.1\r\n\r\n');
  await new Promise((resolve) => socket.once('close', resolve));
  await clientOf(t, port, shop).call('d', [descriptor('a')], 5_000);
});
