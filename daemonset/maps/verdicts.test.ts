import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeVerdictKey } from '../datapath/layout.js';
import { VerdictShare, type VerdictTable } from './verdicts.js';

const name = (key: Uint8Array): string => Buffer.from(key).toString('hex');
function table(): VerdictTable & { rows: Map<string, Uint8Array> } {
  const rows = new Map<string, Uint8Array>();
  return {
    rows,
    keys: () => [...rows.values()],
    update: (key) => void rows.set(name(key), key.slice()),
    remove: (key) => rows.delete(name(key)),
  };
}
const ofSource = (rows: Map<string, Uint8Array>, source: bigint): number =>
  [...rows.values()].filter((key) => decodeVerdictKey(key).source === source).length;

test('a pod that dials more ports than its share replaces its own oldest verdicts, and no other pod loses one', () => {
  const kernel = table();
  let reached = 0;
  const share = new VerdictShare(kernel, () => reached++, 10);
  for (let port = 1; port <= 5; port++) share.allow(1n, 9n, port, 1n);
  for (let port = 1; port <= 100; port++) share.allow(2n, 9n, port, 1n);
  assert.equal(ofSource(kernel.rows, 1n), 5);
  assert.equal(ofSource(kernel.rows, 2n), 10);
  assert.equal(reached, 90);
});

test('a verdict that is written again counts once and becomes the newest', () => {
  const kernel = table();
  const share = new VerdictShare(kernel, () => undefined, 2);
  share.allow(1n, 9n, 80, 1n);
  share.allow(1n, 9n, 81, 1n);
  share.allow(1n, 9n, 80, 2n);
  share.allow(1n, 9n, 82, 2n);
  assert.equal(share.size(1n), 2);
  assert.equal(kernel.rows.size, 2);
  // 80 is newer than 81.
  const again = new VerdictShare(kernel, () => undefined, 2);
  assert.equal(again.size(1n), 2);
});

test('nothing stays of a pod that has left, as a source or as a destination, also of a former life of the agent', () => {
  const kernel = table();
  const first = new VerdictShare(kernel, () => undefined);
  first.allow(1n, 2n, 80, 1n);
  first.allow(2n, 1n, 80, 1n);
  first.allow(3n, 2n, 80, 1n);
  first.allow(3n, 1n, 80, 1n);
  const second = new VerdictShare(kernel, () => undefined);
  second.forget(2n);
  assert.deepEqual(
    [...kernel.rows.values()].map((key) => decodeVerdictKey(key)),
    [{ source: 3n, destination: 1n, port: 80 }],
  );
  assert.equal(second.size(1n), 0);
});
