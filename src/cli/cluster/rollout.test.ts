import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FailureClock, failuresNow, settleMs } from './rollout.js';

const stuck = (name: string, labels: Readonly<Record<string, string>>) => ({
  metadata: { name, labels },
  spec: {},
  status: {
    phase: 'Pending',
    containerStatuses: [
      { name: 'weft', state: { waiting: { reason: 'ImagePullBackOff', message: 'not found' } } },
    ],
  },
});
const hook = (phase: string) => ({
  metadata: { name: 'weft-crds-1', labels: { 'job-name': 'weft-crds' } },
  spec: {},
  status: { phase },
});
const before = stuck('weft-control-1', { app: 'weft-control' });
const of = (...pods: readonly (typeof before | ReturnType<typeof hook>)[]) =>
  failuresNow({ pods, events: [], namespace: 'weft-system' });

test('failures of the previous revision do not end an installation while its hook job runs', () => {
  const clock = new FailureClock();
  // The hook job pulls the new image for longer than settleMs.
  for (let nowMs = 0; nowMs <= 3 * settleMs; nowMs += settleMs / 4)
    assert.deepEqual(clock.settled(of(before, hook('Pending')), nowMs), []);
  assert.deepEqual(clock.settled(of(before, hook('Succeeded')), 4 * settleMs), []);
  assert.deepEqual(
    clock.settled(of(before, hook('Succeeded')), 5 * settleMs).map(({ code }) => code),
    ['WEFT_IMAGE_PULL'],
  );
});

test('a hook job that cannot start is a failure', () => {
  const failures = [...of(before, stuck('weft-crds-1', { 'job-name': 'weft-crds' })).keys()];
  assert.deepEqual(failures, ['pod weft-crds-1']);
});
