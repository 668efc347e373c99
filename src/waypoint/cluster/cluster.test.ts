import assert from 'node:assert/strict';
import { test } from 'node:test';
import { workload } from '../../../test/support/mesh.js';
import { parseIp } from '../../model/address.js';
import { defaultLimits } from '../limits.js';
import type { Assignment } from './assignment.js';
import { balancersOf } from './balancer/new-balancer.js';
import { breakerLimitsOf } from './breaker/limits.js';
import { Cluster, type Excluded } from './cluster.js';
import { standaloneHealth } from './cluster-health.js';
import type { Endpoint, EndpointConfig } from './endpoint.js';
import { defaultPolicy } from './policy.js';

const configOf = (name: string): EndpointConfig => ({
  workload: workload(name, '10.0.0.1', 'node-1'),
  target: { ip: parseIp('10.0.0.1'), port: 80 },
  protocol: 'unknown',
  via: undefined,
});

function clusterOf(...levels: string[]) {
  const cluster = new Cluster('outbound|80||api', {
    dial: () => Promise.reject(new Error('no connection is opened in this test')),
    limits: defaultLimits,
    pools: new Set(),
    isDraining: false,
    onOverflow: () => undefined,
    onForgotten: () => undefined,
    health: standaloneHealth(),
  });
  const assign = (...now: string[]): void =>
    cluster.update(now.map((names) => [...names].map(configOf)) satisfies Assignment);
  assign(...levels);
  const nameOf = (endpoint: Endpoint): string => endpoint.workload.name;
  const known = new Map(cluster.endpoints.map((one) => [nameOf(one), one]));
  const at = (name: string): Endpoint => {
    const found = known.get(name);
    assert.ok(found, name);
    return found;
  };
  return {
    cluster,
    assign,
    at,
    /** Ejects an endpoint for its `failures`-th failure in a row. */
    eject: (name: string, failures = 1): void => {
      const { health } = at(name);
      health.failures = failures - 1;
      health.ejectedUntilMs = 0;
      cluster.report(at(name), 'connect-failed', 0);
    },
    /** The names that are picked. */
    picked: (excluded?: Excluded): string => {
      const found = new Set<string>();
      for (let i = 0; i < 200; i++) {
        const one = cluster.pick({ excluded });
        found.add(typeof one === 'string' ? `(${one})` : nameOf(one));
      }
      return [...found].sort().join();
    },
    tried: (mayRepeat: boolean, ...names: string[]): Excluded => ({
      endpoints: new Set(names.map(at)),
      mayRepeat,
    }),
  };
}

test('the best endpoints are those that are not ejected and were not tried', () => {
  const { cluster, at, eject, picked, tried } = clusterOf('abc');
  eject('c');
  assert.equal(picked(), 'a,b');
  assert.equal(picked(tried(true, 'a')), 'b');
  assert.equal(picked(tried(true, 'a', 'b')), 'a,b', 'a tried endpoint ranks before an ejected one');
  assert.equal(picked(tried(false, 'a', 'b')), 'c');
  assert.equal(picked(tried(false, 'a', 'b', 'c')), '(excluded)');
  assert.ok(cluster.hasOther(tried(true, 'a')));
  assert.ok(!cluster.hasOther(tried(true, 'a', 'b')), 'the next one was tried');
  assert.ok(cluster.hasOther(tried(false, 'a', 'b')));
  cluster.report(at('c'), 'connected', 0);
  assert.equal(picked(), 'a,b,c', 'the ejection has ended');
  const only = clusterOf('a');
  assert.equal(only.picked(only.tried(true, 'a')), 'a', 'the only one');
  assert.equal(only.picked(only.tried(false, 'a')), '(excluded)');
  assert.equal(clusterOf().picked(), '(none)');
});

test('if all are ejected, those with the fewest failures are picked from: the last endpoint stays', () => {
  const equal = clusterOf('ab');
  equal.eject('a');
  equal.eject('b');
  assert.equal(equal.picked(), 'a,b');
  const worse = clusterOf('abc');
  worse.eject('a', 6);
  worse.eject('b');
  worse.eject('c', 6);
  assert.equal(worse.picked(), 'b');
  const one = clusterOf('a');
  one.eject('a', 6);
  assert.equal(one.picked(), 'a');
});

test('requests go to the nearest level that has endpoints, also if all of its endpoints are ejected', () => {
  const { cluster, assign, eject, picked } = clusterOf('ab', 'cd');
  assert.equal(picked(), 'a,b');
  eject('a');
  assert.equal(picked(), 'b');
  eject('b');
  assert.equal(picked(), 'a,b');
  const c = cluster.dump() as { endpoints: { workload: string; priority: number }[] };
  assert.deepEqual(
    c.endpoints.map(({ priority }) => priority),
    [0, 0, 1, 1],
  );
  assign('cd');
  assert.equal(picked(), 'c,d');
  assign('a', 'cd');
  assert.equal(picked(), 'a');
  assign();
  assert.equal(picked(), '(none)');
});

test('an update keeps the state of endpoints that stay; a removed one that comes back while it drains does too', () => {
  const { cluster, assign, at, picked } = clusterOf('ab');
  const [a, b] = [at('a'), at('b')];
  assert.ok(cluster.admit(a) && cluster.admit(b));
  assign('a');
  assert.deepEqual([a.isDraining, b.isDraining, cluster.active], [false, true, 2]);
  assert.equal(picked(), 'a');
  assign('ab');
  assert.deepEqual(cluster.endpoints, [a, b]);
  assert.deepEqual([b.isDraining, b.active], [false, 1]);
  assign('a');
  cluster.release(b);
  assert.ok(cluster.hasDraining);
  cluster.forgetDrained();
  assert.ok(!cluster.hasDraining);
  assign('ab');
  assert.notEqual(cluster.endpoints[1], b, 'nothing was left of it');
});

test('a cluster admits requests up to its limit, also over a change of its policy', () => {
  const { cluster, at } = clusterOf('ab');
  const [a, b] = [at('a'), at('b')];
  for (let i = 0; i < 3; i++) assert.ok(cluster.admit(a), 'there is no limit by default');
  cluster.configure({ ...defaultPolicy, breaker: breakerLimitsOf({ requestsMax: 4 }) });
  assert.ok(cluster.admit(b));
  assert.ok(!cluster.admit(b));
  assert.deepEqual([a.active, b.active], [3, 1]);
  cluster.release(a);
  assert.ok(cluster.admit(b));
});

test('retries are limited to a share of the requests under way, plus a minimum; by default they are not', () => {
  const { cluster, at } = clusterOf('a');
  const a = at('a');
  for (let i = 0; i < 50; i++) assert.ok(cluster.takeRetry());
  // Enough for the share over time, which retry-budget.test.ts is about.
  for (let i = 0; i < 1_000; i++) cluster.countRequest();
  cluster.configure({ ...defaultPolicy, retryBudget: { percent: 20, retriesMin: 3 } });
  assert.ok(!cluster.takeRetry(), 'those under way count');
  for (let i = 0; i < 50; i++) cluster.releaseRetry();
  const taken = (): number => {
    let count = 0;
    while (cluster.takeRetry()) count++;
    for (let i = 0; i < count; i++) cluster.releaseRetry();
    return count;
  };
  assert.equal(taken(), 3, 'the minimum');
  for (let i = 0; i < 19; i++) cluster.admit(a);
  assert.equal(taken(), 3);
  for (let i = 0; i < 85; i++) cluster.admit(a);
  assert.equal(taken(), 20, '20 percent of 104');
  for (let i = 0; i < 104; i++) cluster.release(a);
  assert.equal(taken(), 3);
});

test('outcomes are counted by endpoint', () => {
  const { cluster, at } = clusterOf('ab');
  const a = at('a');
  for (const outcome of [
    200,
    404,
    500,
    503,
    'reset',
    'timeout',
    'overflow',
    'connected',
    'connect-failed',
  ] as const)
    cluster.report(a, outcome, 1);
  assert.deepEqual(a.counts, {
    success: 2,
    error: 2,
    reset: 1,
    timeout: 1,
    overflow: 1,
    connected: 1,
    connectFailed: 1,
  });
  assert.equal(at('b').counts.success, 0);
});

test('another balancer is used from the next pick on', () => {
  const { cluster } = clusterOf('abc');
  cluster.configure({
    ...defaultPolicy,
    balancers: balancersOf({ kind: { $case: 'roundRobin', value: {} } }),
  });
  const picks = Array.from({ length: 6 }, () => cluster.pick());
  assert.equal(new Set(picks.slice(0, 3)).size, 3);
  assert.deepEqual(picks.slice(3), picks.slice(0, 3));
});
