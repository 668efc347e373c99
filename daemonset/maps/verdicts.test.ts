import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VerdictKey } from './rows.generated.js';
import { VerdictTable, type VerdictMap } from './verdicts.js';

const name = (key: Uint8Array): string => Buffer.from(key).toString('hex');
function table(): VerdictMap & { rows: Map<string, Uint8Array> } {
  const rows = new Map<string, Uint8Array>();
  return {
    rows,
    keys: () => [...rows.values()],
    lookup: () => undefined,
    update: (key) => void rows.set(name(key), key.slice()),
    remove: (key) => rows.delete(name(key)),
  };
}
const ofSource = (rows: Map<string, Uint8Array>, source: bigint): number =>
  [...rows.values()].filter((key) => new VerdictKey(key).source === source).length;

test('a pod that exceeds its share of verdicts replaces its own oldest ones, and no other pod loses one', () => {
  const kernel = table();
  let reached = 0;
  const share = new VerdictTable(
    () => kernel,
    () => reached++,
    10,
  );
  for (let port = 1; port <= 5; port++) share.allow({ source: 1n, destination: 9n, port, epoch: 1n });
  for (let port = 1; port <= 100; port++) share.allow({ source: 2n, destination: 9n, port, epoch: 1n });
  assert.equal(ofSource(kernel.rows, 1n), 5);
  assert.equal(ofSource(kernel.rows, 2n), 10);
  assert.equal(reached, 90);
});

test('a verdict that is written again is counted once and becomes the newest', () => {
  const kernel = table();
  const share = new VerdictTable(
    () => kernel,
    () => undefined,
    2,
  );
  share.allow({ source: 1n, destination: 9n, port: 80, epoch: 1n });
  share.allow({ source: 1n, destination: 9n, port: 81, epoch: 1n });
  share.allow({ source: 1n, destination: 9n, port: 80, epoch: 2n });
  share.allow({ source: 1n, destination: 9n, port: 82, epoch: 2n });
  assert.equal(share.size(1n), 2);
  assert.equal(kernel.rows.size, 2);
  // 80 is newer than 81.
  const again = new VerdictTable(
    () => kernel,
    () => undefined,
    2,
  );
  assert.equal(again.size(1n), 2);
});

test('no verdict of a pod that left stays, as source or as destination, also from a previous agent', () => {
  const kernel = table();
  const first = new VerdictTable(
    () => kernel,
    () => undefined,
  );
  first.allow({ source: 1n, destination: 2n, port: 80, epoch: 1n });
  first.allow({ source: 2n, destination: 1n, port: 80, epoch: 1n });
  first.allow({ source: 3n, destination: 2n, port: 80, epoch: 1n });
  first.allow({ source: 3n, destination: 1n, port: 80, epoch: 1n });
  const second = new VerdictTable(
    () => kernel,
    () => undefined,
  );
  second.forget(2n);
  assert.deepEqual(
    [...kernel.rows.values()].map((key) => {
      const { source, destination, port } = new VerdictKey(key);
      return { source, destination, port };
    }),
    [{ source: 3n, destination: 1n, port: 80 }],
  );
  assert.equal(second.size(1n), 0);
});
