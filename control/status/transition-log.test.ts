import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AccessPolicyObject, Condition, GatewayObject, PodObject } from '../objects/objects.js';
import { TransitionLog } from './transition-log.js';
import type { Write } from '../kubernetes/apply-queue.js';

type Event = {
  readonly type: string;
  readonly reason: string;
  readonly message: string;
  readonly count: number;
  readonly firstTimestamp: string;
  readonly lastTimestamp: string;
  readonly metadata: { readonly namespace: string };
  readonly involvedObject: { readonly kind: string; readonly name: string };
};
function setUp() {
  const writes: Write[] = [];
  const limits: string[] = [];
  const forgotten: string[] = [];
  const clock = { ms: Date.parse('2026-01-01T00:00:00Z') };
  const log = new TransitionLog({
    write: (write) => void writes.push(write),
    forget: (path) => void forgotten.push(path),
    onLimit: (limit) => void limits.push(limit),
    nowMs: () => clock.ms,
  });
  const events = (): Event[] => writes.map(({ body }) => body as Event);
  return { log, writes, events, limits, clock };
}
const condition = (type: string, status: string, reason: string, message = reason): Condition => ({
  type,
  status,
  reason,
  message,
});
const policy = (name: string, ...conditions: Condition[]): AccessPolicyObject => ({
  kind: 'AccessPolicy',
  metadata: { name, namespace: 'shop', uid: `uid-${name}` },
  spec: { action: 'DENY', rules: [] },
  status: { conditions },
});
const status = (...conditions: Condition[]): object => ({ conditions });

test('an event is written with the reason when a policy is no longer in force, and another when it is again', () => {
  const { log, events } = setUp();
  const good = condition('Accepted', 'True', 'Accepted', 'in force');
  const lost = condition('Accepted', 'False', 'AddressConflict', 'a Pod has it');
  log.record(policy('p', good), status(lost));
  // The watch has not delivered the write yet: the same status is recorded again.
  log.record(policy('p', good), status(lost));
  log.record(policy('p', lost), status(good));
  assert.deepEqual(
    events().map(({ type, reason, message }) => [type, reason, message]),
    [
      ['Warning', 'AddressConflict', 'a Pod has it'],
      ['Normal', 'Accepted', 'in force'],
    ],
  );
  assert.deepEqual(events()[0]?.involvedObject.name, 'p');
  assert.equal(events()[0]?.metadata.namespace, 'shop');
});

test('no event for a condition that is true from the start, for a changed message, or for a reason with an event of its own', () => {
  const { log, events } = setUp();
  const good = condition('Accepted', 'True', 'Accepted');
  log.record(policy('a'), status(good));
  const closed = condition('Accepted', 'False', 'NoWaypoint', 'one');
  log.record(policy('b', closed), status({ ...closed, message: 'two' }));
  log.record(policy('c', good), status(condition('Accepted', 'False', 'Invalid')));
  assert.deepEqual(events(), []);
});

test('a repeated event updates the count of the first one', () => {
  const { log, writes, events, clock } = setUp();
  const good = condition('Accepted', 'True', 'Accepted');
  const bad = condition('Accepted', 'False', 'HostConflict');
  for (let i = 0; i < 3; i++) {
    log.record(policy('p', good), status(bad));
    clock.ms += 60_000;
    log.record(policy('p', bad), status(good));
    clock.ms += 60_000;
  }
  const conflicts = events().filter(({ reason }) => reason === 'HostConflict');
  assert.deepEqual(
    conflicts.map(({ count }) => count),
    [1, 2, 3],
  );
  assert.equal(conflicts[2]?.firstTimestamp, '2026-01-01T00:00:00Z');
  assert.equal(conflicts[2]?.lastTimestamp, '2026-01-01T00:04:00Z');
  assert.equal(new Set(writes.map(({ path }) => path)).size, 2);
});

test('no event while a pod or Gateway starts; one when it is lost, and one when it is back', () => {
  const { log, events } = setUp();
  const pod = (...conditions: Condition[]): PodObject => ({
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'shop', uid: 'u' },
    spec: { nodeName: 'n1' },
    status: { conditions },
  });
  const captured = condition('weft.dev/captured', 'True', 'Captured', 'by the agent of node n1');
  const waits = condition('weft.dev/captured', 'False', 'Waiting', 'no certificate');
  const out = condition('weft.dev/captured', 'False', 'NotInMesh', 'no longer enrolled on node n1');
  log.record(pod(), status(waits), 'n1');
  log.record(pod(waits), status(captured), 'n1');
  log.record(pod(captured), status(waits), 'n1');
  log.record(pod(waits), status(captured), 'n1');
  log.record(pod(captured), status(out), 'n1');
  assert.deepEqual(
    events().map(({ type, reason, message }) => `${type} ${reason} ${message}`),
    [
      'Normal Captured by the agent of node n1',
      'Warning NotCaptured Waiting: no certificate',
      'Normal Captured by the agent of node n1',
      'Normal NotCaptured NotInMesh: no longer enrolled on node n1',
    ],
  );
  const gateway = (...conditions: Condition[]): GatewayObject => ({
    kind: 'Gateway',
    metadata: { name: 'w', namespace: 'shop', uid: 'g' },
    spec: { gatewayClassName: 'weft-waypoint' },
    status: { conditions },
  });
  const pending = condition('Programmed', 'Unknown', 'Pending');
  const down = condition('Programmed', 'False', 'NoResources', 'no replica is available');
  const up = condition('Programmed', 'True', 'Programmed');
  const before = events().length;
  log.record(gateway(pending), status(down));
  assert.equal(events().length, before);
  log.record(gateway(up), status(down));
  assert.equal(events().at(-1)?.reason, 'NotProgrammed');
});

test('events are rate limited per object and per namespace, and the limit is reported', () => {
  const { log, events, limits } = setUp();
  const good = condition('Accepted', 'True', 'Accepted');
  const bad = condition('Accepted', 'False', 'HostConflict');
  for (let i = 0; i < 10; i++) {
    log.record(policy('p', good), status(bad));
    log.record(policy('p', bad), status(good));
  }
  assert.equal(events().length, 10);
  assert.deepEqual([...new Set(limits)], ['events']);
  for (let i = 0; i < 500; i++) log.record(policy(`p${i}`, good), status(bad));
  assert.equal(events().length, 100);
  const other = policy('q', good);
  log.record({ ...other, metadata: { ...other.metadata, namespace: 'bank' } }, status(bad));
  assert.equal(events().length, 101, 'another namespace has its own limit');
});
