import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { conntrackSettleMs, settleLeftMs } from './conntrack.js';

test('a pod settles for as long as connection tracking remembers, and not at all where nothing is tracked', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'weft-netfilter-'));
  t.after(() => rmSync(root, { recursive: true }));
  assert.equal(conntrackSettleMs(join(root, 'none')), 0);
  writeFileSync(join(root, 'nf_conntrack_count'), '0\n');
  assert.equal(conntrackSettleMs(root), 0);
  writeFileSync(join(root, 'nf_conntrack_count'), '17\n');
  assert.equal(conntrackSettleMs(root), 125_000);
  writeFileSync(join(root, 'nf_conntrack_tcp_timeout_time_wait'), '30\n');
  assert.equal(conntrackSettleMs(root), 35_000);
  // What cannot be read is not zero: connections would be refused at the far end.
  rmSync(join(root, 'nf_conntrack_count'));
  mkdirSync(join(root, 'nf_conntrack_count'));
  assert.equal(conntrackSettleMs(root), 35_000);
});

test('what is left to settle is counted from when the pod was enrolled, by whichever agent', () => {
  assert.equal(settleLeftMs(125_000, 1_000_000, 1_000_000), 125_000);
  assert.equal(settleLeftMs(125_000, 1_000_000, 1_030_000), 95_000);
  assert.equal(settleLeftMs(125_000, 1_000_000, 2_000_000), 0);
  // A clock that was set back, and a pin that cannot be read, make it no shorter.
  assert.equal(settleLeftMs(125_000, 1_000_000, 900_000), 125_000);
  assert.equal(settleLeftMs(125_000, undefined, 1_000_000), 125_000);
});
