/** A process that changes rows of shared memory as fast as it can, for src/waypoint/shared/shared-table.test.ts. Argument: its index. */
import { once } from 'node:events';
import { mapSharedMemory } from '../../native/memory.js';
import { SharedTable } from '../../src/waypoint/shared/shared-table.js';
import { childLayout, childSecret, hammerTimes } from './shared-memory.js';

const worker = Number(process.argv[2]);
const table = new SharedTable(new Int32Array(mapSharedMemory(4)), childLayout, worker, childSecret);
let row = table.hold('hammered');
// The other process may be paused while it has the lock of the bucket.
while (!row) row = table.hold('hammered');
process.send?.('ready');
await once(process, 'message');
for (let i = 0; i < hammerTimes; i++) {
  Atomics.add(row.words, row.at, 1);
  let known = Atomics.load(row.words, row.at + 1);
  for (;;) {
    const found = Atomics.compareExchange(row.words, row.at + 1, known, known + 1);
    if (found === known) break;
    known = found;
  }
}
// Rows come and go while the main process reclaims them.
for (let i = 0; i < 5_000; i++) {
  const one = table.hold(`row ${i % 50}`);
  // The lock of a bucket was not free in time: this machine is busy.
  if (!one) continue;
  Atomics.add(one.words, one.at + worker, 1);
  if (Atomics.sub(one.words, one.at + worker, 1) !== 1) process.exit(4);
  table.release(one);
}
// It holds its row at its end.
process.disconnect();
