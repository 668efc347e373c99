import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attemptWith } from '../attempt.js';
import { Lease, type LeaseParts } from './lease.js';

function leaseOf(more: Partial<LeaseParts> = {}) {
  const done: string[] = [];
  const failing = new Set<string>();
  const step = (name: string): void => {
    done.push(name);
    if (failing.has(name)) throw new Error(name);
  };
  const moved = { refresh: false, renew: false, isUnfinished: false };
  const lease = new Lease({
    verdicts: {
      refresh: () => (step('refresh'), moved.refresh),
      renewLease: () => (step('renew'), moved.renew),
    },
    flows: {
      sweep: () => (step('sweep'), 0),
      get isUnfinished() {
        return moved.isUnfinished;
      },
    },
    isUnused: false,
    attempt: attemptWith({ error: (_fields, text) => void done.push(text.split(',')[0] ?? '') }),
    onCut: () => undefined,
    onNotRenewed: () => done.push('not renewed'),
    ...more,
  });
  const taken = (): string[] => done.splice(0);
  return { lease, failing, moved, taken };
}

test('no lease is renewed before all that a former life allowed was held against the policies of today', () => {
  const { lease, failing, taken } = leaseOf();
  lease.renew();
  assert.deepEqual(taken(), []);
  failing.add('sweep');
  lease.begin();
  lease.renew();
  assert.deepEqual(
    [taken(), lease.isSwept],
    [['sweep', 'connections in the kernel could not be held against the policies'], false],
  );
  failing.clear();
  lease.begin();
  lease.begin();
  lease.renew();
  assert.deepEqual([taken(), lease.isSwept], [['sweep', 'renew'], true]);
});

test('what could not be cut is tried again before the lease is renewed; a change that was missed ends what it forbids', () => {
  const { lease, moved, taken } = leaseOf();
  lease.begin();
  taken();
  moved.isUnfinished = true;
  lease.renew();
  assert.deepEqual(taken(), ['sweep', 'renew']);
  moved.isUnfinished = false;
  moved.renew = moved.refresh = true;
  lease.renew();
  lease.refresh();
  assert.deepEqual(taken(), ['renew', 'sweep', 'refresh', 'sweep']);
});

test('a lease that cannot be renewed is counted; a kernel that carries nothing needs none', () => {
  const { lease, failing, taken } = leaseOf();
  lease.begin();
  taken();
  failing.add('renew');
  lease.renew();
  assert.equal(taken().at(-1), 'not renewed');
  const unused = leaseOf({ isUnused: true });
  unused.lease.begin();
  unused.taken();
  unused.lease.renew();
  assert.deepEqual(unused.taken(), []);
});
