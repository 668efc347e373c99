import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ChangeLog, changeLimits, type Cause } from './change-log.js';

const cause = (name: string, more: Partial<Cause> = {}): Cause => ({
  kind: 'AccessPolicy',
  namespace: 'shop',
  name,
  operation: 'updated',
  ...more,
});
const never = (): never => assert.fail('no limit is reached');

test('a change has the time at which each receiver has acknowledged all types that it was sent', () => {
  const log = new ChangeLog(never);
  log.record([cause('a', { by: 'kubectl' })], 3, 1_000);
  for (const node of ['n1', 'n2']) for (const type of ['workload', 'policy']) log.sent(node, type);
  log.acknowledged('n1', 'workload', 1, 1_010);
  assert.deepEqual(log.changes(0), [
    {
      ...cause('a', { by: 'kubectl' }),
      timeMs: 1_000,
      resources: 3,
      receivers: [{ name: 'n1' }, { name: 'n2' }],
    },
  ]);
  log.acknowledged('n1', 'policy', 1, 1_020);
  log.acknowledged('n2', 'policy', 1, 1_030, 'p: not decodable');
  log.acknowledged('n2', 'workload', 1, 1_040);
  assert.deepEqual(log.changes(0)[0]?.receivers, [
    { name: 'n1', acknowledgedMs: 1_020 },
    { name: 'n2', acknowledgedMs: 1_040, refused: 'p: not decodable' },
  ]);
});

test('an acknowledgment of an earlier delivery is none of a later one, and a later one is one of all earlier', () => {
  const log = new ChangeLog(never);
  log.record([cause('a')], 1, 1);
  log.sent('n1', 'policy');
  log.record([cause('b')], 1, 2);
  log.sent('n1', 'policy');
  log.acknowledged('n1', 'policy', 1, 3);
  const acknowledged = (): unknown[] => log.changes(0).map(({ receivers }) => receivers[0]?.acknowledgedMs);
  assert.deepEqual(acknowledged(), [3, undefined]);
  log.record([cause('c')], 1, 4);
  log.sent('n1', 'policy');
  log.acknowledged('n1', 'policy', 3, 5);
  assert.deepEqual(acknowledged(), [3, 5, 5]);
});

test('what is compiled in a later turn belongs to the change, and what nobody changed to none', () => {
  const log = new ChangeLog(never);
  log.record([cause('a')], 1, 1);
  log.sent('n1', 'route');
  log.acknowledged('n1', 'route', 1, 2);
  log.record('rest', 5, 3);
  log.sent('n1', 'route');
  log.acknowledged('n1', 'route', 1, 4);
  assert.deepEqual(log.changes(0)[0]?.receivers, [{ name: 'n1' }], 'the rest is not acknowledged yet');
  log.acknowledged('n1', 'route', 2, 5);
  log.record([], 7, 6);
  log.sent('n1', 'route');
  const [change] = log.changes(0);
  assert.deepEqual([change?.resources, change?.receivers], [6, [{ name: 'n1', acknowledgedMs: 5 }]]);
});

test('one namespace cannot push out the changes of another, nor pods those of policies', () => {
  let forgotten = 0;
  const log = new ChangeLog(() => void forgotten++, { ...changeLimits, changesMax: 20 });
  for (let i = 0; i < 5; i++) log.record([cause(`quiet-${i}`, { namespace: 'bank' })], 1, i);
  log.record([cause('policy')], 1, 10);
  for (let i = 0; i < 500; i++) log.record([cause(`pod-${i}`, { kind: 'Pod' })], 1, 100 + i);
  assert.equal(log.size, 20);
  assert.equal(forgotten, 486);
  assert.equal(log.changes(0, 'bank').length, 5);
  const shop = log.changes(0, 'shop').map(({ name }) => name);
  assert.equal(shop[0], 'policy');
  assert.equal(shop.at(-1), 'pod-499', 'the newest stay');
  log.record([cause('bank', { kind: 'Namespace', namespace: '' })], 1, 1_000);
  assert.equal(log.changes(0, 'bank').at(-1)?.kind, 'Namespace');
  assert.equal(log.changes(1_000).length, 1);
});

test('receivers are bounded, also those that never acknowledge: of the oldest changes only their number is kept', () => {
  const log = new ChangeLog(never, { changesMax: 100, receiversMax: 50 });
  for (let change = 1; change <= 20; change++) {
    log.record([cause(`c${change}`)], 1, change);
    for (let node = 0; node < 10; node++) log.sent(`n${node}`, 'policy');
    for (let node = 0; node < 9; node++) log.acknowledged(`n${node}`, 'policy', change, change);
  }
  const [first, ...others] = log.changes(0);
  assert.deepEqual([first?.receivers, first?.omitted], [[], { acknowledged: 9, waiting: 1 }]);
  assert.equal(
    others.reduce((sum, { receivers }) => sum + receivers.length, 0),
    50,
  );
  log.acknowledged('n9', 'policy', 20, 99);
  assert.deepEqual(log.changes(0).at(-1)?.receivers.at(-1), { name: 'n9', acknowledgedMs: 99 });
  log.record([cause('many')], 1, 100);
  for (let node = 0; node < 5_000; node++) log.sent(`m${node}`, 'policy');
  const many = log.changes(100)[0];
  assert.ok((many?.receivers.length ?? 0) <= 50);
  assert.equal((many?.receivers.length ?? 0) + (many?.omitted?.waiting ?? 0), 5_000);
});

test('a replica that has ended is not waited for', () => {
  const log = new ChangeLog(never);
  log.record([cause('a')], 1, 1);
  log.sent('waypoint:shop/wp/a', 'policy');
  log.sent('n1', 'policy');
  log.gone('waypoint:shop/wp/a');
  assert.deepEqual(log.changes(0)[0]?.receivers, [{ name: 'n1' }]);
});
