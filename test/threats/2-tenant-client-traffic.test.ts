/** Row 2 of docs/security.md: a client's headers choose nothing about the traffic policies of a Service. */
import assert from 'node:assert/strict';
import type http from 'node:http';
import { test, type TestContext } from 'node:test';
import { parseSpiffeId } from '../../src/model/identity.js';
import type { RouteFilter } from '../../src/model/route.js';
import type { ServiceSettings } from '../../src/model/service-policy.js';
import { noMore } from '../support/filters.js';
import { key } from '../support/mesh.js';
import { ask, httpUpstream, startWaypoint, type TestWaypoint } from '../support/waypoint.js';

const client = parseSpiffeId('spiffe://cluster.local/ns/evil/sa/client');
/** Headers by which clients of some proxies choose timeouts, retries, limits and faults. */
const attempts: Readonly<Record<string, string>> = {
  'x-envoy-upstream-rq-timeout-ms': '60000',
  'x-envoy-expected-rq-timeout-ms': '60000',
  'x-envoy-upstream-rq-per-try-timeout-ms': '1',
  'x-envoy-upstream-stream-duration-ms': '60000',
  'x-envoy-max-retries': '9',
  'x-envoy-retry-on': '5xx,retriable-4xx,retriable-status-codes,reset',
  'x-envoy-retry-grpc-on': 'cancelled,unavailable,internal',
  'x-envoy-retriable-status-codes': '200,429,500,503',
  'x-envoy-retriable-header-names': 'x-upstream',
  'x-envoy-hedge-on-per-try-timeout': 'true',
  'x-envoy-attempt-count': '0',
  'x-envoy-internal': 'true',
  'x-envoy-ratelimited': 'false',
  'x-envoy-upstream-alt-stat-name': 'bank',
  'x-envoy-decorator-operation': 'x',
  'x-envoy-fault-abort-request': '503',
  'x-envoy-fault-abort-grpc-request': '14',
  'x-envoy-fault-abort-request-percentage': '100',
  'x-envoy-fault-delay-request': '5000',
  'x-envoy-fault-delay-request-percentage': '100',
  'x-envoy-fault-throughput-response': '1',
  'x-envoy-fault-throughput-response-percentage': '100',
  'x-ratelimit-limit': '1000000',
  'x-ratelimit-remaining': '1000000',
  'x-ratelimit-reset': '0',
  'ratelimit-policy': '"default";q=1000000;w=1',
  ratelimit: '"default";r=1000000;t=1',
  'retry-after': '0',
  'x-forwarded-client-cert': 'URI=spiffe://cluster.local/ns/bank/sa/teller',
  'x-forwarded-for': '10.0.0.9',
  'x-real-ip': '10.0.0.9',
  forwarded: 'for=10.0.0.9',
};

const match = {
  pathKind: 'prefix',
  path: '/',
  method: '',
  headers: [],
  query: [],
  unreadable: false,
  ...noMore,
};
const limitBy = (kind: string): RouteFilter => ({
  $case: 'localRateLimit',
  value: {
    name: `TrafficPolicy bank/limits by-${kind}`,
    matches: [match],
    keys: [{ kind, name: '' }],
    requests: 3,
    perMs: 3_600_000,
    burst: 3,
    dryRun: false,
  },
});
const fault = (ppm: number): RouteFilter => ({
  $case: 'fault',
  value: {
    name: 'TrafficPolicy bank/faults none',
    matches: [],
    delayMs: 5_000,
    delayPpm: ppm,
    abort: { $case: 'httpStatus', value: 418 },
    abortPpm: ppm,
    untilMs: 0,
    activeMax: 10,
    dryRun: false,
  },
});

async function waypointWith(
  t: TestContext,
  settings: ServiceSettings,
  handler: http.RequestListener = (_request, response) => response.end('ok'),
): Promise<{ readonly waypoint: TestWaypoint; readonly received: () => number }> {
  let received = 0;
  const upstream = await httpUpstream(t, (request, response) => {
    received++;
    handler(request, response);
  });
  const waypoint = await startWaypoint(t, { backends: { api: [upstream.port] }, identity: client });
  waypoint.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], ...settings }] });
  return { waypoint, received: () => received };
}
/** Statuses of requests, each with one of the headers, after one with all of them. */
async function statusesOf({ port }: TestWaypoint): Promise<number[]> {
  const statuses = [(await ask(port, { headers: attempts })).status];
  for (const [name, value] of Object.entries(attempts))
    statuses.push((await ask(port, { headers: { [name]: value } })).status);
  return statuses;
}
const count = (statuses: readonly number[], status: number): number =>
  statuses.filter((one) => one === status).length;

test('a client has one bucket by its identity, namespace and address, whatever its headers say', async (t) => {
  for (const kind of ['client-identity', 'client-namespace', 'client-address']) {
    const { waypoint, received } = await waypointWith(t, { filters: [limitBy(kind)] });
    const statuses = await statusesOf(waypoint);
    assert.equal(count(statuses, 200), 3, kind);
    assert.equal(count(statuses, 429), statuses.length - 3, kind);
    assert.equal(received(), 3, kind);
  }
});

test('a client triggers no fault by headers, with and without a policy about faults', async (t) => {
  for (const settings of [{}, { filters: [fault(0)] }]) {
    const { waypoint, received } = await waypointWith(t, settings);
    const began = performance.now();
    const statuses = await statusesOf(waypoint);
    assert.equal(count(statuses, 200), statuses.length);
    assert.equal(received(), statuses.length);
    assert.ok(performance.now() - began < 5_000, 'no request was delayed');
    assert.deepEqual(waypoint.actions, []);
  }
});

test('a client does not order retries, nor a fault out of a policy by a header that the policy does not name', async (t) => {
  const failing = await waypointWith(t, {}, (_request, response) => {
    response.statusCode = 503;
    response.end();
  });
  const statuses = await statusesOf(failing.waypoint);
  assert.equal(failing.received(), statuses.length, 'each request was sent once');
  const faulty = await waypointWith(t, {
    filters: [{ ...fault(1_000_000), value: abortOnly } as RouteFilter],
  });
  const aborted = await statusesOf(faulty.waypoint);
  assert.equal(count(aborted, 418), aborted.length, 'no header passes a fault by');
});
const abortOnly = { ...(fault(1_000_000).value as object), delayPpm: 0 };

test("a client does not lengthen a Service's timeout by headers", async (t) => {
  const { waypoint } = await waypointWith(
    t,
    { timeouts: { requestMs: 150 } as never },
    (_request, response) => {
      setTimeout(() => response.end('late'), 60_000).unref();
    },
  );
  const began = performance.now();
  const { status } = await ask(waypoint.port, { headers: attempts });
  assert.equal(status, 504);
  assert.ok(performance.now() - began < 30_000);
});
