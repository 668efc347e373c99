import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GoneWorkloads } from './gone-workloads.js';

const labels = (source: string, destination: string): Record<string, string> => {
  const side = (name: string, of: string): Record<string, string> => {
    const [namespace = '', workload = ''] = of.split('/');
    return { [`${name}_workload_namespace`]: namespace, [`${name}_workload`]: workload };
  };
  return { ...side('source', source), ...side('destination', destination) };
};

test('a workload that was there and has no pod any more is gone; one that was never seen is not', () => {
  const workloads = new GoneWorkloads();
  const web = { namespace: 'shop', workloadName: 'web' };
  const api = { namespace: 'shop', workloadName: 'api' };
  workloads.isGone([web, api]);
  const isGone = workloads.isGone([web]);
  assert.equal(isGone(labels('shop/web', 'shop/api')), true);
  assert.equal(isGone(labels('shop/api', 'shop/web')), true);
  assert.equal(isGone(labels('shop/web', 'bank/vault')), false);
});

test('forbidden: a workload called unknown/unknown goes, and takes the series of unknown sides of others with it', () => {
  const workloads = new GoneWorkloads();
  workloads.isGone([{ namespace: 'unknown', workloadName: 'unknown' }]);
  const isGone = workloads.isGone([]);
  assert.equal(isGone(labels('unknown/unknown', 'shop/api')), false);
});
