import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import { registerBalancingMetrics } from './balancing-metrics.js';

test('each cluster of a Service port has its endpoints; those with a locality policy have their picks by level', async () => {
  const registry = new Registry();
  const balancing = { total: 3, healthy: 2, panic: 4, nearest: 5, further: 6, hasLocality: false };
  registerBalancingMetrics(registry, () => [
    { name: 'outbound|80||a', balancing },
    { name: 'outbound|80||b', balancing: { ...balancing, hasLocality: true } },
  ]);
  const text = (await registry.metrics()).split('\n').filter((line) => !line.startsWith('#') && line !== '');
  const of = (cluster: string): string => `{envoy_cluster_name="outbound|80||${cluster}"}`;
  assert.deepEqual(text, [
    `envoy_cluster_membership_total${of('a')} 3`,
    `envoy_cluster_membership_total${of('b')} 3`,
    `envoy_cluster_membership_healthy${of('a')} 2`,
    `envoy_cluster_membership_healthy${of('b')} 2`,
    `envoy_cluster_lb_healthy_panic${of('a')} 4`,
    `envoy_cluster_lb_healthy_panic${of('b')} 4`,
    `envoy_cluster_lb_zone_routing_all_directly${of('b')} 5`,
    `envoy_cluster_lb_zone_routing_cross_zone${of('b')} 6`,
  ]);
});
