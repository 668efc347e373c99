/** The plugin itself, while no agent responds. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { cniProgram } from '../datapath/loader.js';

function add(namespaces: string, socket: string): { readonly status: number | null; readonly code?: number } {
  const { status, stdout } = spawnSync(cniProgram, {
    input: JSON.stringify({
      cniVersion: '1.0.0',
      name: 'n',
      type: 'weft-cni',
      socket,
      namespaces,
      whenAgentIsAway: 'wait',
      prevResult: { cniVersion: '1.0.0', ips: [{ address: '10.0.0.1/24' }] },
    }),
    env: {
      CNI_COMMAND: 'ADD',
      CNI_CONTAINERID: 'x',
      CNI_IFNAME: 'eth0',
      CNI_NETNS: '/proc/self/ns/net',
      CNI_ARGS: 'K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=u',
    },
    encoding: 'utf8',
  });
  return { status, ...(JSON.parse(stdout) as { code?: number }) };
}

test('without an agent a pod starts if its namespace is known not to be in the mesh, and waits if that is unknown', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-plugin-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const file = join(dir, 'namespaces');
  const socket = join(dir, 'missing-socket');
  assert.equal(add(file, socket).status, 0, 'no namespace was ever enrolled');
  writeFileSync(file, 'bank\n');
  assert.equal(add(file, socket).status, 0);
  writeFileSync(file, 'bank\nshop\n');
  assert.equal(add(file, socket).code, 11);
  symlinkSync('loop', join(dir, 'loop'));
  for (const unreadable of [dir, join(dir, 'loop'), join(file, 'below')])
    assert.deepEqual([add(unreadable, socket).status, add(unreadable, socket).code], [1, 11], unreadable);
});
