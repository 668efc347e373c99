import assert from 'node:assert/strict';
import { test } from 'node:test';
import { edge, party } from '../../../test/support/edges.js';
import { edgeFilter } from './filter.js';

const all = [
  edge({
    source: party('shop', 'web'),
    destination: party('bank', 'vault-v1'),
    service: 'vault.bank.svc.cluster.local',
  }),
  edge({ source: party('bank', 'web'), destination: party('shop', 'api'), service: '' }),
];
const shown = (from?: string, to?: string): number[] =>
  all.flatMap((one, i) =>
    edgeFilter({ ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) })(one)
      ? [i]
      : [],
  );

test('a client is named by workload, namespace or identity; a destination also by its Service', () => {
  assert.deepEqual(shown(), [0, 1]);
  assert.deepEqual([shown('web'), shown('shop/web'), shown('shop/'), shown('api')], [[0, 1], [0], [0], []]);
  assert.deepEqual(shown('spiffe://cluster.local/ns/bank/sa/web'), [1]);
  for (const to of [
    'vault-v1',
    'bank/vault-v1',
    'bank/',
    'vault',
    'bank/vault',
    'vault.bank.svc.cluster.local',
  ])
    assert.deepEqual(shown(undefined, to), [0], to);
  assert.deepEqual(shown('shop/', 'shop/'), []);
});
