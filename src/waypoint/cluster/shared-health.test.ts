import assert from 'node:assert/strict';
import { test } from 'node:test';
import { outlierPolicy, checkPolicy } from '../../../test/support/outliers.js';
import { key, workload } from '../../../test/support/mesh.js';
import { parseIp } from '../../model/address.js';
import { ClusterHealth, standaloneHealth, type HealthContext } from './cluster-health.js';
import { Endpoint } from './endpoint.js';
import { SharedHealth, type HealthChange } from './shared-health.js';

const at = (endpoint: string) => ({ service: key('api'), port: 80, endpoint });
const ejected = (leftMs: number): HealthChange['change'] => ({
  what: 'ejected',
  kind: 'consecutive_5xx',
  factor: 2,
  jitterMs: 3,
  agoMs: 10,
  leftMs,
});

test('what is known of an endpoint is given to a new worker, until it is over', () => {
  let nowMs = 1_000;
  const shared = new SharedHealth(() => nowMs);
  shared.apply({ ...at('a'), change: ejected(500) });
  shared.apply({ ...at('b'), change: { what: 'checked', failure: 'TCP: refused' } });
  shared.apply({ ...at(''), change: { what: 'used' } });
  nowMs += 100;
  const other = new SharedHealth(() => 5_000_000);
  for (const change of shared.full()) other.apply(change);
  assert.deepEqual(other.ejection(at('a')), { ...ejected(400), agoMs: 110 });
  assert.equal(other.failure(at('b')), 'TCP: refused');
  assert.ok(other.isUsed(at('')) && !other.isUsed({ ...at(''), port: 81 }));
  nowMs += 400;
  assert.equal(shared.ejection(at('a')), undefined, 'it is over');
  shared.apply({ ...at('b'), change: { what: 'checked', failure: undefined } });
  assert.equal(shared.failure(at('b')), undefined);
  other.apply({ ...at('a'), change: { what: 'returned' } });
  assert.equal(other.ejection(at('a')), undefined);
  assert.equal(other.size, 2);
});

test('the memory is bounded: ejections that are over go first, then the oldest', () => {
  let nowMs = 0;
  const shared = new SharedHealth(() => nowMs, 3);
  shared.apply({ ...at('a'), change: { what: 'checked', failure: 'x' } });
  shared.apply({ ...at('b'), change: ejected(10) });
  shared.apply({ ...at('c'), change: ejected(1_000) });
  nowMs = 11;
  shared.apply({ ...at('d'), change: ejected(1_000) });
  assert.deepEqual(
    shared.full().map(({ endpoint }) => endpoint),
    ['a', 'c', 'd'],
  );
  shared.apply({ ...at('e'), change: ejected(1_000) });
  assert.deepEqual(
    shared.full().map(({ endpoint }) => endpoint),
    ['c', 'd', 'e'],
  );
});

/** The clusters of two workers of one waypoint, with the same endpoints. */
function twoWorkers() {
  const contexts: HealthContext[] = [];
  const all: ClusterHealth[] = [];
  const endpoints: Map<string, Endpoint>[] = [];
  for (const other of [1, 0]) {
    const context = standaloneHealth({
      share: (change) => {
        contexts[other]?.shared.apply(change);
        all[other]?.apply(change);
      },
    });
    contexts.push(context);
    all.push(new ClusterHealth('outbound|80||api', context, () => undefined));
    endpoints.push(
      new Map(
        ['a', 'b', 'c'].map((name) => {
          const endpoint = new Endpoint({
            workload: workload(name, '10.0.0.1', 'node-1'),
            target: { ip: parseIp('10.0.0.1'), port: 80 },
            protocol: 'http1',
            via: undefined,
          });
          return [endpoint.key, endpoint];
        }),
      ),
    );
  }
  const [first, second] = all;
  assert.ok(first && second);
  const endpointOf = (worker: number, name: string): Endpoint => {
    const found = [...(endpoints[worker]?.values() ?? [])].find((one) => one.workload.name === name);
    assert.ok(found);
    return found;
  };
  const configure = (settings: Parameters<ClusterHealth['configure']>[0]): void => {
    for (const [i, one] of all.entries()) {
      one.update(endpoints[i] ?? new Map());
      one.configure(settings);
    }
  };
  return { first, second, endpointOf, configure, endpoints };
}

test('an ejection by one worker is one of the other worker too, and returns there too', (t) => {
  const { first, second, endpointOf, configure, endpoints } = twoWorkers();
  t.after(() => configure(undefined));
  configure(outlierPolicy({ ejectedPercentMax: 34 }));
  for (let i = 0; i < 5; i++) first.report(endpointOf(0, 'a'), 500, 1);
  assert.ok(endpointOf(0, 'a').health.isOutlier && endpointOf(1, 'a').health.isOutlier);
  assert.deepEqual([first.ejectedHere, second.ejectedHere], [1, 0], 'it is counted once');
  for (let i = 0; i < 5; i++) second.report(endpointOf(1, 'b'), 500, 1);
  assert.ok(!endpointOf(1, 'b').health.isOutlier, 'a third of the endpoints is ejected already');
  first.onCheckSucceeded(endpointOf(0, 'a'));
  assert.ok(!endpointOf(0, 'a').health.isOutlier && !endpointOf(1, 'a').health.isOutlier);
  for (let i = 0; i < 5; i++) second.report(endpointOf(1, 'b'), 500, 1);
  assert.ok(endpointOf(0, 'b').health.isOutlier);
  const without = new Map([...(endpoints[0] ?? [])].filter(([, one]) => one.workload.name !== 'b'));
  first.update(without);
  first.update(endpoints[0] ?? new Map());
  assert.ok(endpointOf(0, 'b').health.isOutlier, 'it was removed and has come back');
  configure(undefined);
  assert.ok(!endpointOf(0, 'b').health.isOutlier);
});

test('a failed health check counts in all workers, also in one that learns of the endpoint later', () => {
  const { first, second, endpointOf, configure, endpoints } = twoWorkers();
  configure(checkPolicy([{}]));
  first.setChecked(endpointOf(0, 'c'), 'TCP: refused');
  assert.equal(endpointOf(1, 'c').health.checkFailure, 'TCP: refused');
  second.update(new Map());
  second.update(endpoints[1] ?? new Map());
  assert.equal(endpointOf(1, 'c').health.checkFailure, 'TCP: refused');
  first.setChecked(endpointOf(0, 'c'), undefined);
  assert.equal(endpointOf(1, 'c').health.checkFailure, undefined);
  assert.ok(!first.isUsed);
  second.report(endpointOf(1, 'a'), 200, 1);
  assert.ok(first.isUsed, 'the worker that makes the checks learns that the Service is used');
});
