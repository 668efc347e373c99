import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { Change } from '../../src/model/change.js';
import { issueToken } from '../../test/support/tokens.js';
import { startControl, twoReplicas, type Closers } from '../../test/threats/support/control.js';
import { manifests } from '../../test/threats/support/two-nodes.js';
import { controlCaller } from '../authentication/service-callers.js';
import { mergeAnswers } from './merge.js';
import { ReplicatedChanges } from './replicas.js';

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

const closers: Closers = [];
after(() => closers.reverse().forEach((close) => close()));

test('another replica is asked for the receivers that it serves, and one that does not answer is named', async () => {
  const a = change({ version: '5', receivers: [{ name: 'n1', acknowledgedMs: 1_010 }] });
  const b = change({ version: '5', receivers: [{ name: 'n2' }] });
  const asked: object[] = [];
  const other = await startControl(closers, manifests, {
    ownChanges: (query) => {
      asked.push(query);
      return { changes: [b], sinceMs: 9, missing: [] };
    },
  });
  const token = await issueToken(other.state, controlCaller, 60);
  const source = new ReplicatedChanges(
    () => ({ changes: [a], sinceMs: 5, missing: [] }),
    twoReplicas('b', other, token),
  );
  assert.deepEqual(await source.query({ sinceMs: 3, namespace: 'shop' }), {
    changes: [{ ...a, receivers: [...a.receivers, ...b.receivers] }],
    sinceMs: 9,
    missing: ['gone'],
  });
  assert.deepEqual(asked, [{ sinceMs: 3, namespace: 'shop' }]);
});

test('forbidden: a node reads changes from a replica', async () => {
  const other = await startControl(closers, manifests, {
    ownChanges: () => ({ changes: [change()], sinceMs: 9, missing: [] }),
  });
  const token = await issueToken(other.state, 'n1', 60);
  const source = new ReplicatedChanges(() => ({ changes: [], sinceMs: 5, missing: [] }), {
    replicas: () => [{ name: 'b', ip: '127.0.0.1' }],
    controlPlane: () => ({
      target: other.target,
      rootPem: () => other.ca.roots,
      token: () => token,
      serverName: 'weft',
    }),
  });
  assert.deepEqual(await source.query({ sinceMs: 0 }), { changes: [], sinceMs: 5, missing: ['b'] });
});

test('a token that cannot be read is an answer that is missing', async () => {
  const source = new ReplicatedChanges(() => ({ changes: [], sinceMs: 5, missing: [] }), {
    replicas: () => [{ name: 'b', ip: '127.0.0.1' }],
    controlPlane: () => {
      throw new Error('no token');
    },
  });
  assert.deepEqual((await source.query({ sinceMs: 0 })).missing, ['b']);
});
