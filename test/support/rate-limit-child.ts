/** A worker process that takes tokens from buckets in the shared memory on fd 4, as fast as it can, until it is told to report. */
import { bucketLayout } from '../../src/waypoint/shared/bucket-layout.js';
import { monotonicMs } from '../../src/waypoint/shared/monotonic.js';
import { SharedTable } from '../../src/waypoint/shared/shared-table.js';
import { RateLimits } from '../../src/waypoint/rate-limit/rate-limits.js';
import { rateOf } from '../../src/waypoint/rate-limit/gcra.js';
import { mapSharedMemory } from '../../native/memory.js';
import { childSecret } from './shared-memory.js';
import { key } from './mesh.js';

const worker = Number(process.argv[2]);
const table = new SharedTable(new Int32Array(mapSharedMemory(4)), bucketLayout(2), worker, childSecret);
const limits = new RateLimits(
  table,
  2,
  () => monotonicMs() * 1e6,
  () => undefined,
);
const limit = limits.of({ service: key('api'), port: 80 }, 'p', 'k');
const client = { name: 'web', group: 'shop' };
const rate = rateOf(1_000, 1_000, 500);

process.send?.('ready');
process.on('message', (message: { readonly untilMs: number }) => {
  let [allowed, asked] = [0, 0];
  while (monotonicMs() < message.untilMs) {
    asked++;
    if (limit.take('a', client, rate) === 0) allowed++;
  }
  process.send?.({ allowed, asked });
});
