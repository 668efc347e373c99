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

test("the lease is not renewed before all flows that a previous agent allowed are checked against today's policies", () => {
  const { lease, failing, taken } = leaseOf();
  lease.renew();
  assert.deepEqual(taken(), []);
  failing.add('sweep');
  lease.begin();
  lease.renew();
  assert.deepEqual(
    [taken(), lease.isSwept],
    [['sweep', 'kernel flows could not be checked against the current policies'], false],
  );
  failing.clear();
  lease.begin();
  lease.begin();
  lease.renew();
  assert.deepEqual([taken(), lease.isSwept], [['sweep', 'renew'], true]);
});

test('flows that could not be cut are tried again before the lease is renewed; a missed change cuts the flows it denies', () => {
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

test('a failed renewal of the lease is counted; without the kernel path no lease is needed', () => {
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
