import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { WorkloadUid } from '../../src/model/workload.js';
import { Connections, type LiveConnection } from './connections.js';

function open(connections: Connections, cuts: string[] = [], name = 'p'): LiveConnection {
  const pod = name as WorkloadUid;
  const made = connections.track(pod, (id) => ({
    id,
    pod,
    startedMs: 0,
    describe: () => ({}),
    recheck: () => undefined,
    cut: (why) => {
      cuts.push(`${id} ${why}`);
      connections.end(id);
    },
  }));
  assert.ok(typeof made !== 'string', String(made));
  return made;
}

test('a change authorizes the connections that it affects again, and no others', () => {
  const connections = new Connections(10);
  const rechecked: string[] = [];
  const cuts: string[] = [];
  for (const name of ['a', 'b', undefined]) {
    connections.track('p' as WorkloadUid, (id) => ({
      id,
      pod: 'p' as WorkloadUid,
      startedMs: 0,
      describe: () => ({}),
      decidedBy: () => name as WorkloadUid | undefined,
      recheck: () => {
        rechecked.push(name ?? 'other node');
        return 'forbidden';
      },
      cut: () => cuts.push(name ?? 'other node'),
    }));
  }
  assert.equal(
    connections.recheck(() => false),
    0,
  );
  assert.deepEqual(rechecked, []);
  assert.equal(
    connections.recheck((uid) => uid === 'b'),
    1,
  );
  assert.deepEqual([rechecked, cuts], [['b'], ['b']]);
});

test('settle() resolves when the connections open at the call have ended, whatever opened meanwhile', async () => {
  const connections = new Connections(10);
  const [a, b] = [open(connections), open(connections)];
  let settled = false;
  void connections.settle(60_000).then(() => (settled = true));
  const later = open(connections);
  connections.end(b.id);
  await turn();
  assert.equal(settled, false);
  connections.end(a.id);
  await turn();
  assert.equal(settled, true);
  connections.end(later.id);
  await connections.settle(60_000);
});

test('settle() resolves at the limit too, and closes nothing', async () => {
  const connections = new Connections(10);
  const cuts: string[] = [];
  open(connections, cuts);
  await connections.settle(10);
  assert.deepEqual(cuts, []);
  assert.equal(await connections.drain(10), 1);
  assert.deepEqual(cuts, ['1 drain-timeout']);
});

test('one pod cannot exceed its share of the connections; ended connections free it', () => {
  const connections = new Connections(4, 2);
  const refused = (name: string): string => {
    try {
      open(connections, [], name);
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  };
  const first = open(connections, [], 'greedy');
  open(connections, [], 'greedy');
  assert.equal(refused('greedy'), 'connections-of-pod');
  assert.equal(refused('other'), '');
  connections.end(first.id);
  connections.end(first.id);
  assert.equal(refused('greedy'), '');
  assert.equal(refused('greedy'), 'connections-of-pod');
  assert.equal(refused('other'), '');
  assert.equal(refused('third'), 'connections');
});
