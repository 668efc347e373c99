import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { until } from '../base/wait.js';
import { endProcess, isAlive, markOf } from './run.js';

/** Its first thread ends at once; another one holds its descriptors. */
const program = `
import ctypes, threading, time
threading.Thread(target=lambda: time.sleep(60)).start()
ctypes.CDLL(None).pthread_exit(None)
`;

test('a process has ended with its last thread, not with its first', async () => {
  const child = spawn('python3', ['-c', program], { stdio: 'ignore' });
  const pid = child.pid ?? 0;
  const mark = markOf(pid);
  assert.ok(mark);
  await until('the first thread is a zombie', 30_000, () =>
    /\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8')),
  );
  assert.equal(isAlive(mark), true);
  await endProcess(mark, 10_000);
  assert.equal(isAlive(mark), false);
});
