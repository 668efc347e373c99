import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesOf, processMemory, readMapInfo, readStatus } from './memory.js';

test("counts a program's pages once on each node, and what is a process's own for each", () => {
  const sidecar = (node: string, files: number): { node: string; own: number; files: number } => ({
    node,
    own: 20,
    files,
  });
  assert.equal(bytesOf([sidecar('a', 50), sidecar('a', 40), sidecar('b', 50)]), 60 + 50 + 50);
  assert.equal(bytesOf([]), 0);
});

test('reads what the kernel says of a process', () => {
  const status =
    'Name:\tenvoy\nVmRSS:\t   60 kB\nRssAnon:\t   20 kB\nRssFile:\t   39 kB\nRssShmem:\t   1 kB\n';
  assert.deepEqual(readStatus('a', status), { node: 'a', own: 21 * 1024, files: 39 * 1024 });
  const own = processMemory('a', process.pid);
  assert.ok(own.own > 1e6 && own.files > 1e6);
});

test('takes eBPF maps and nothing else for maps', () => {
  const map =
    'pos:\t0\nflags:\t02000002\nmap_type:\t1\nkey_size:\t8\nmemlock:\t4096\nmap_id:\t17\nfrozen:\t0\n';
  assert.deepEqual(readMapInfo(map), ['17', 4096]);
  assert.equal(readMapInfo('pos:\t0\nprog_type:\t9\nmemlock:\t4096\nprog_id:\t17\n'), undefined);
  assert.equal(readMapInfo('pos:\t0\nflags:\t02\n'), undefined);
});
