import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Change } from '../../model/change.js';
import { changeLines, receiversText } from './rows.js';

const change = (more: Partial<Change> = {}): Change => ({
  kind: 'AccessPolicy',
  namespace: 'shop',
  name: 'only-web',
  operation: 'updated',
  timeMs: 1_000,
  resources: 1,
  receivers: [],
  ...more,
});

test('the table says who acknowledged, who is waited for and who refused', () => {
  const receivers = [
    { name: 'n1', acknowledgedMs: 1_040 },
    { name: 'n2', acknowledgedMs: 1_020, refused: 'x' },
    ...['n3', 'n4', 'n5', 'n6'].map((name) => ({ name })),
  ];
  assert.equal(
    receiversText(change({ receivers, omitted: { acknowledged: 4, waiting: 1 } })),
    '6 of 11 in 40 ms; waiting: n3, n4, n5, 1 more; refused by: n2',
  );
  assert.equal(receiversText(change()), 'no node');
  const [head, first, second] = changeLines([
    change({ by: 'kubectl-\u001b[31m' }),
    change({ kind: 'Namespace', namespace: '', name: 'shop', file: 'a.yaml', operation: 'created' }),
  ]);
  assert.match(head ?? '', /^TIME +CHANGE +KIND +OBJECT +BY +ACKNOWLEDGED$/);
  assert.match(
    first ?? '',
    /^1970-01-01T00:00:01\.000Z +updated +AccessPolicy +shop\/only-web +kubectl-\?\[31m +no node$/,
  );
  assert.match(second ?? '', / created +Namespace +shop +a\.yaml /);
});
