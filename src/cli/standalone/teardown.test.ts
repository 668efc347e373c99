import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { until } from '../../base/wait.js';
import type { Ledger } from './ledger.js';
import { tearDown } from './teardown.js';
import { up } from './up.js';

const asRoot = process.getuid?.() === 0 ? {} : { skip: 'needs root' };

test(
  'removing a testbed ends programs that its ledger does not list yet, and no program of a testbed in another mount namespace',
  asRoot,
  async () => {
    const state = mkdtempSync(join(tmpdir(), 'weft-t-'));
    const ledger: Ledger = {
      owner: undefined,
      from: state,
      nodes: [],
      netns: [],
      instances: [],
      waypoints: [],
      processes: {},
    };
    // The name that every build writes: a testbed can be older than the program that removes it.
    writeFileSync(join(state, 'bed.json'), JSON.stringify(ledger));
    const start = (command: string, ...args: string[]): ChildProcess =>
      spawn(command, args, { env: { ...process.env, WEFT_BED: state }, stdio: ['ignore', 'pipe', 'ignore'] });
    const own = start('sleep', '60');
    const other = start('unshare', '--mount', 'sh', '-c', 'echo begun; exec sleep 60');
    try {
      let said = '';
      other.stdout?.on('data', (bytes: Buffer) => (said += bytes.toString()));
      await until('the other has begun', 30_000, () => said !== '');
      assert.equal(await tearDown(state), true);
      await until('its own program has ended', 30_000, () => own.signalCode !== null);
      assert.equal(other.signalCode, null);
      assert.equal(other.exitCode, null);
    } finally {
      own.kill('SIGKILL');
      other.kill('SIGKILL');
      rmSync(state, { recursive: true, force: true });
    }
  },
);

test('up with manifests that cannot be read leaves a testbed that exists as it is', async () => {
  const state = mkdtempSync(join(tmpdir(), 'weft-t-'));
  const path = join(state, 'bed.json');
  try {
    writeFileSync(path, '{}');
    await assert.rejects(up({ from: join(state, 'missing'), state }), { code: 'WEFT_BED' });
    assert.equal(readFileSync(path, 'utf8'), '{}');
  } finally {
    rmSync(state, { recursive: true });
  }
});
