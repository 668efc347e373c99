import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterNameOf, subsetKey, subsetOf } from './subset.js';
import type { ServiceKey } from './workload.js';

const service = 'shop/api.shop.svc.cluster.local' as ServiceKey;

test('the key of a subset says which Service it is of', () => {
  for (const name of ['v1', 'v1.2_a-B', 'a.subset.b']) {
    const key = subsetKey(service, name);
    assert.deepEqual(subsetOf(key), { service, name });
    assert.equal(clusterNameOf(key, 80), `outbound|80|${name}|api.shop.svc.cluster.local`);
  }
  assert.equal(subsetOf(service), undefined);
  assert.equal(clusterNameOf(service, 80), 'outbound|80||api.shop.svc.cluster.local');
});

test('Services named subset, or in a namespace of this name, are no subsets', () => {
  for (const key of ['shop/subset.shop.svc.cluster.local', 'subset/api.subset.svc.cluster.local'])
    assert.equal(subsetOf(key as ServiceKey), undefined, key);
  for (const of of [
    'subset/api.subset.svc.cluster.local',
    'subset/subset.subset.svc.cluster.local',
    'shop/subset.shop.svc.cluster.local',
    'shop/svc.shop.svc.cluster.local',
    'svc/subset.svc.svc.cluster.local',
  ])
    assert.deepEqual(subsetOf(subsetKey(of as ServiceKey, 'v1')), { service: of, name: 'v1' });
});
