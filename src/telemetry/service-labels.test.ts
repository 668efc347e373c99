import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterOf, serviceLabels } from './service-labels.js';

test('Kiali’s labels of a Service: name and namespace of its host, the host itself outside of the cluster, and none for a workload', () => {
  const of = (host: string | undefined) => Object.values(serviceLabels(host, 'shop'));
  assert.deepEqual(of('api.bank.svc.cluster.local'), ['api.bank.svc.cluster.local', 'api', 'bank']);
  assert.deepEqual(of('example.com'), ['example.com', 'example.com', 'shop']);
  assert.deepEqual(of('svc'), ['svc', 'svc', 'shop']);
  assert.deepEqual(of(undefined), ['unknown', 'unknown', 'shop']);
  // Kiali skips a known namespace in an unknown cluster.
  assert.deepEqual([clusterOf('shop'), clusterOf('unknown')], ['Kubernetes', 'unknown']);
});
