/** Processes that share the buckets of a limit. */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { test } from 'node:test';
import { createSharedMemory, mapSharedMemory } from '../../../native/memory.js';
import { childSecret } from '../../../test/support/shared-memory.js';
import { bucketLayout } from './bucket-layout.js';
import { monotonicMs } from './monotonic.js';
import { mainProcess, SharedTable } from './shared-table.js';

test(
  'two processes together allow what one limit allows, also after one of them died',
  { timeout: 60_000 },
  async (t) => {
    const layout = bucketLayout(2);
    const fd = createSharedMemory(SharedTable.bytesOf(layout));
    const main = new SharedTable(new Int32Array(mapSharedMemory(fd)), layout, mainProcess, childSecret);
    const start = (worker: number) => {
      const child = fork(
        new URL('../../../test/support/rate-limit-child.js', import.meta.url),
        [String(worker)],
        { stdio: ['ignore', 'inherit', 'inherit', 'ipc', fd] },
      );
      t.after(() => child.kill('SIGKILL'));
      return child;
    };
    const children = [start(0), start(1)];
    t.after(() => closeSync(fd));
    await Promise.all(children.map((child) => once(child, 'message')));
    const run = async (ms: number): Promise<number> => {
      const untilMs = monotonicMs() + ms;
      const reports = children.map((child) => once(child, 'message'));
      for (const child of children) child.send({ untilMs });
      const all = (await Promise.all(reports)).map(
        ([report]) => report as { allowed: number; asked: number },
      );
      for (const { asked } of all) assert.ok(asked > 100, 'both took part');
      return all.reduce((sum, { allowed }) => sum + allowed, 0);
    };
    const beganMs = monotonicMs();
    const first = await run(1_000);
    const most = (): number => 500 + (monotonicMs() - beganMs) + 5;
    // At least a third of what a second adds, however seldom a busy machine runs the processes.
    assert.ok(first >= 800 && first <= most(), `500 at once and 1000 in a second: ${first}`);

    const [dead] = children;
    assert.ok(dead);
    dead.kill('SIGKILL');
    await once(dead, 'exit');
    main.forgetWorker(0, () => undefined);
    main.reclaim();
    children[0] = start(0);
    await once(children[0], 'message');
    const second = await run(300);
    assert.ok(first + second <= most(), `the bucket is as it was: ${first + second}`);
  },
);
