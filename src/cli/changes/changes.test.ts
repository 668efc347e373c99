import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Change } from '../../model/change.js';
import { mergeAnswers } from './merge.js';
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

test('a change that two replicas report is one, with the receivers of both', () => {
  const a = change({ version: '5', receivers: [{ name: 'n1', acknowledgedMs: 1_010 }, { name: 'n3' }] });
  const b = change({
    version: '5',
    timeMs: 1_004,
    resources: 2,
    receivers: [{ name: 'n2' }, { name: 'n3', acknowledgedMs: 1_030 }],
    omitted: { acknowledged: 2, waiting: 0 },
  });
  const gone = change({ operation: 'deleted', timeMs: 5_000 });
  const again = change({ operation: 'deleted', timeMs: 60_000 });
  const merged = mergeAnswers(
    [
      { changes: [a, gone, again], sinceMs: 10, missing: [] },
      { changes: [b, { ...gone, timeMs: 5_100 }], sinceMs: 20, missing: [] },
    ],
    ['weft-control-x'],
  );
  assert.deepEqual(merged, {
    changes: [
      {
        ...a,
        resources: 2,
        receivers: [
          { name: 'n1', acknowledgedMs: 1_010 },
          { name: 'n3', acknowledgedMs: 1_030 },
          { name: 'n2' },
        ],
        omitted: { acknowledged: 2, waiting: 0 },
      },
      gone,
      again,
    ],
    sinceMs: 20,
    missing: ['weft-control-x'],
  });
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
