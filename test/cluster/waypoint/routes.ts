/** Routes: by header, by weight, with a timeout, of another namespace, for gRPC. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../../../src/base/wait.js';
import { applyText, kubectl } from '../../support/cluster.js';
import { ask, askAll, askUntil, type ClientResponse } from './client.js';
import { route, conditionOf, store, to } from './objects.js';

test('a route selects a backend by header, and splits other requests 90 to 10', async () => {
  await applyText(
    route(
      'api',
      `
    - { matches: [{ headers: [{ name: x-version, value: v2 }] }], ${to('api-v2')} }
    - backendRefs: [{ name: api-v1, port: 80, weight: 90 }, { name: api-v2, port: 80, weight: 10 }]`,
    ),
  );
  await conditionOf(['httproute', 'api'], 'Accepted', 'Accepted');
  const headers = { 'x-version': 'v2' };
  const isV2 = ({ pod }: ClientResponse): boolean => pod?.startsWith('api-v2-') === true;
  const steered = await until('all requests with the header go to v2', 20_000, async () => {
    const all = await askAll('store/client', { url: 'http://api/', headers, count: 10 });
    return all.every(isV2) && all;
  });
  assert.equal(steered.length, 10);
  const all = await askAll('store/client', { url: 'http://api/', count: 400 });
  assert.ok(all.every(({ status }) => status === 200));
  const second = all.filter(isV2).length;
  // Four standard deviations either way.
  assert.ok(second > 16 && second < 64, `${second} of 400`);
});

test('requests to a missing backend get 500, and a condition with the current generation of the route reports it', async () => {
  await applyText(route('api', `[{ ${to('gone')} }]`));
  const { status, message } = await conditionOf(['httproute', 'api'], 'ResolvedRefs', 'BackendNotFound');
  assert.equal(status, 'False');
  assert.match(message, /gone/);
  await askUntil('requests get 500', (answer) => answer.status === 500, 'store/client', 'http://api/');
  await applyText(route('api', `[{ ${to('api-v1')} }]`));
  const again = await conditionOf(['httproute', 'api'], 'ResolvedRefs', 'ResolvedRefs');
  assert.equal(again.status, 'True');
  await askUntil(
    'requests are served again',
    (answer) => answer.status === 200,
    'store/client',
    'http://api/',
  );
});

test('a request that exceeds the timeout of its route gets 504', async () => {
  await applyText(route('api', `[{ timeouts: { request: 500ms }, ${to('api-v1')} }]`));
  const slow = 'http://api/slow/3000';
  await askUntil('the request gets 504', (answer) => answer.status === 504, 'store/client', slow);
  assert.equal((await ask('store/client', 'http://api/slow/10')).status, 200);
  await store('delete', 'httproute', 'api');
});

test('a route of another namespace applies to clients of that namespace only', async () => {
  const tagged = `[{ filters: [{ type: ResponseHeaderModifier, responseHeaderModifier: { set: [{ name: x-route, value: consumer }] } }], ${to('api-v2')} }]`;
  await applyText(route('mine', tagged, '', 'HTTPRoute', 'other'));
  const own = await askUntil(
    "the consumer's route is in force",
    ({ headers }) => headers?.['x-route'] === 'consumer',
    'other/client',
    'http://api.store/',
  );
  assert.match(own.pod ?? '', /^api-v2-/);
  for (const answer of await askAll('store/client', { url: 'http://api/', count: 10 })) {
    assert.equal(answer.status, 200);
    assert.equal(answer.headers?.['x-route'], undefined);
  }
  await kubectl('-n', 'other', 'delete', 'httproute', 'mine');
});

test('a GRPCRoute selects backends by method', async () => {
  await applyText(
    route(
      'grpc',
      `
    - { matches: [{ method: { service: shop.Stock, method: Count } }], backendRefs: [{ name: api-v2, port: 9090 }] }
    - { backendRefs: [{ name: api-v1, port: 9090 }] }`,
      '',
      'GRPCRoute',
    ),
  );
  await conditionOf(['grpcroute', 'grpc'], 'Accepted', 'Accepted');
  const call = (method: string): Parameters<typeof ask> => [
    'store/client',
    `http://api:9090/shop.Stock/${method}`,
    { grpc: true },
  ];
  const goesTo = (version: string) => (answer: ClientResponse) =>
    answer.status === 0 && answer.pod?.startsWith(`api-${version}-`) === true;
  await askUntil('calls of the named method go to v2', goesTo('v2'), ...call('Count'));
  for (let i = 0; i < 5; i++) {
    const [other, named] = [await ask(...call('Other')), await ask(...call('Count'))];
    assert.ok(goesTo('v1')(other), JSON.stringify(other));
    assert.ok(goesTo('v2')(named), JSON.stringify(named));
  }
  await store('delete', 'grpcroute', 'grpc');
});
