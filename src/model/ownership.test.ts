import assert from 'node:assert/strict';
import { test } from 'node:test';
import { claimRankOf, claimRanks, compareClaims, countsFor, type Claim } from './ownership.js';
import type { WorkloadUid } from './workload.js';

const claim = (rank: keyof typeof claimRanks, createdMs: number, name: string): Claim => ({
  rank: claimRanks[rank],
  createdMs,
  namespace: 'a',
  name,
});

test('an address belongs to the strongest claim, then the oldest, then by namespace and name: a total order', () => {
  const inOrder = [
    claim('node', 9, 'z'),
    claim('pod', 8, 'z'),
    claim('service', 0, 'z'),
    claim('workload', 1, 'z'),
    claim('workload', 2, 'a'),
    claim('workload', 2, 'b'),
    claim('reference', 0, 'a'),
  ];
  for (const [i, one] of inOrder.entries())
    for (const [j, other] of inOrder.entries())
      assert.equal(Math.sign(compareClaims(one, other)), Math.sign(i - j), `${i} ${j}`);
});

test('a workload that is neither a pod nor a Workload takes no address from others', () => {
  const ranks: Readonly<Record<string, keyof typeof claimRanks>> = {
    'Kubernetes//Pod/shop/web': 'pod',
    'other//Pod/shop/web': 'pod',
    'Kubernetes/weft.dev/Workload/shop/legacy': 'workload',
    'Kubernetes/networking.istio.io/WorkloadEntry/shop/vm': 'workload',
    'Kubernetes/discovery.k8s.io/EndpointSlice/shop/db/192.0.2.1': 'reference',
    'Kubernetes/weft.dev/ExternalService/shop/pay/192.0.2.1': 'reference',
    'Kubernetes/networking.istio.io/ServiceEntry/shop/pay/192.0.2.1': 'reference',
    // Of names that a tenant chooses: what stands behind the kind says nothing.
    'Kubernetes/weft.dev/ExternalService/shop//Pod/bank/vault': 'reference',
    'Kubernetes/discovery.k8s.io/EndpointSlice/shop/Workload/1': 'reference',
    'Kubernetes/other.dev/Workload/shop/x': 'reference',
    Pod: 'reference',
    '': 'reference',
  };
  for (const [uid, rank] of Object.entries(ranks))
    assert.equal(claimRankOf(uid as WorkloadUid), claimRanks[rank], uid);
});

test('a reference and a Workload that is not exported are valid only for clients in their own namespace', () => {
  const of = (uid: string, scope?: 'namespace') => ({
    uid: uid as WorkloadUid,
    namespace: 'shop',
    ...(scope ? { scope } : {}),
  });
  const counts = (one: ReturnType<typeof of>): unknown[] =>
    ['shop', 'bank', undefined].map((client) => countsFor(one, client));
  assert.deepEqual(counts(of('c//Pod/shop/a')), [true, true, true]);
  assert.deepEqual(counts(of('c/weft.dev/Workload/shop/a')), [true, true, true]);
  assert.deepEqual(counts(of('c/weft.dev/Workload/shop/a', 'namespace')), [true, false, false]);
  assert.deepEqual(counts(of('c/discovery.k8s.io/EndpointSlice/shop/a/1')), [true, false, false]);
});
