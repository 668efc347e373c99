import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { conntrackSettleMs, settleLeftMs } from './conntrack.js';

test('a pod settles for as long as connection tracking keeps entries, and not at all on nodes without connection tracking', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'weft-netfilter-'));
  t.after(() => rmSync(root, { recursive: true }));
  assert.equal(conntrackSettleMs(join(root, 'none')), 0);
  writeFileSync(join(root, 'nf_conntrack_count'), '0\n');
  assert.equal(conntrackSettleMs(root), 0);
  writeFileSync(join(root, 'nf_conntrack_count'), '17\n');
  assert.equal(conntrackSettleMs(root), 125_000);
  writeFileSync(join(root, 'nf_conntrack_tcp_timeout_time_wait'), '30\n');
  assert.equal(conntrackSettleMs(root), 35_000);
  // An unreadable value does not count as zero: connections would be refused at the far end.
  rmSync(join(root, 'nf_conntrack_count'));
  mkdirSync(join(root, 'nf_conntrack_count'));
  assert.equal(conntrackSettleMs(root), 35_000);
});

test('the settling time counts from the enrollment, by whichever agent', () => {
  assert.equal(settleLeftMs(125_000, 1_000_000, 1_000_000), 125_000);
  assert.equal(settleLeftMs(125_000, 1_000_000, 1_030_000), 95_000);
  assert.equal(settleLeftMs(125_000, 1_000_000, 2_000_000), 0);
  // A clock that was set back or an unreadable pin does not shorten it.
  assert.equal(settleLeftMs(125_000, 1_000_000, 900_000), 125_000);
  assert.equal(settleLeftMs(125_000, undefined, 1_000_000), 125_000);
});
