import assert from 'node:assert/strict';
import { test } from 'node:test';
import { admitsNamespace, selectorMatches, type AllowedRoutes } from './allowed-routes.js';

const hbone = (allowedRoutes?: AllowedRoutes) => [
  { protocol: 'HBONE', ...(allowedRoutes ? { allowedRoutes } : {}) },
];
const from = (value: string, selector?: object): AllowedRoutes => ({
  namespaces: { from: value, ...(selector ? { selector } : {}) },
});

test('a waypoint whose Gateway has no allowedRoutes serves only its own namespace', () => {
  for (const listeners of [
    undefined,
    [],
    hbone(),
    hbone({}),
    hbone({ namespaces: {} }),
    hbone(from('Same')),
  ]) {
    assert.equal(admitsNamespace('infra', listeners, 'infra', {}), true);
    assert.equal(admitsNamespace('infra', listeners, 'shop', {}), false);
  }
});

test('All admits every namespace; an unknown value admits none, not even its own', () => {
  assert.equal(admitsNamespace('infra', hbone(from('All')), 'shop', {}), true);
  for (const word of ['all', 'None', '', 'Everyone'])
    for (const namespace of ['infra', 'shop'])
      assert.equal(admitsNamespace('infra', hbone(from(word)), namespace, {}), false, `${word} ${namespace}`);
});

test('a Selector uses the labels of the Namespace, and its real name whatever the name label claims', () => {
  const tier = hbone(from('Selector', { matchLabels: { tier: 'web' } }));
  assert.equal(admitsNamespace('infra', tier, 'shop', { tier: 'web' }), true);
  assert.equal(admitsNamespace('infra', tier, 'shop', { tier: 'db' }), false);
  assert.equal(admitsNamespace('infra', tier, 'shop', {}), false);
  const named = hbone(from('Selector', { matchLabels: { 'kubernetes.io/metadata.name': 'shop' } }));
  assert.equal(admitsNamespace('infra', named, 'shop', {}), true);
  assert.equal(admitsNamespace('infra', named, 'evil', { 'kubernetes.io/metadata.name': 'shop' }), false);
  assert.equal(admitsNamespace('infra', hbone(from('Selector')), 'shop', {}), false, 'no selector');
});

test('only HBONE listeners count for a waypoint, and one of several is enough', () => {
  const all = from('All');
  assert.equal(
    admitsNamespace('infra', [{ protocol: 'HTTP', allowedRoutes: all }, ...hbone()], 'shop', {}),
    false,
  );
  assert.equal(admitsNamespace('infra', [{ protocol: 'HTTP', allowedRoutes: all }], 'shop', {}), false);
  assert.equal(admitsNamespace('infra', [...hbone(), ...hbone(all)], 'shop', {}), true);
});

test('selectors: expressions work as in Kubernetes, and unknown operators match nothing', () => {
  const labels = { a: '1' };
  const matches = (key: string, operator: string, ...values: string[]): boolean =>
    selectorMatches({ matchExpressions: [{ key, operator, values }] }, labels);
  assert.deepEqual(
    [matches('a', 'In', '1', '2'), matches('a', 'In', '2'), matches('b', 'In', '1')],
    [true, false, false],
  );
  assert.deepEqual(
    [matches('a', 'NotIn', '1'), matches('a', 'NotIn', '2'), matches('b', 'NotIn', '1')],
    [false, true, true],
  );
  assert.deepEqual([matches('a', 'Exists'), matches('b', 'Exists')], [true, false]);
  assert.deepEqual([matches('a', 'DoesNotExist'), matches('b', 'DoesNotExist')], [false, true]);
  assert.deepEqual([matches('a', 'Gt', '0'), matches('toString', 'Exists')], [false, false]);
  assert.deepEqual([selectorMatches({}, labels), selectorMatches(undefined, labels)], [true, false]);
});
