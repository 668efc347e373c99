import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isInhabited, PodNamespaces, podUidOf } from './namespaces.js';

const uid = 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6';
const other = '0a1b2c3d-7dec-11d0-a765-00a0c91e6bf6';

test('the UID of a pod is found in the cgroups of its processes, as each runtime writes them', () => {
  for (const line of [
    `0::/kubepods/burstable/pod${uid}/7a6f`,
    `0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${uid.replaceAll('-', '_')}.slice/cri-containerd-7a6f.scope`,
    `12:memory:/kubepods/besteffort/pod${uid.toUpperCase()}/x\n0::/`,
  ])
    assert.equal(podUidOf(line), uid);
  for (const line of ['0::/', '0::/system.slice/sshd.service', `0::/kubepods/pod${uid.slice(0, 30)}/x`])
    assert.equal(podUidOf(line), undefined);
});

/** A /proc with these processes: PID to cgroup and the namespace that it is in. */
function procOf(processes: Readonly<Record<string, readonly [cgroup: string, link: string]>>): string {
  const proc = mkdtempSync(join(tmpdir(), 'weft-proc-'));
  for (const [pid, [cgroup, link]] of Object.entries({ self: ['0::/', 'net:[1]'] as const, ...processes })) {
    mkdirSync(join(proc, pid, 'ns'), { recursive: true });
    writeFileSync(join(proc, pid, 'cgroup'), cgroup);
    writeFileSync(join(proc, pid, 'ns', link), '');
    symlinkSync(link, join(proc, pid, 'ns', 'net'));
  }
  return proc;
}
const descriptors = (): number => readdirSync('/proc/self/fd').length;

test('a namespace is held open while its pod is wanted, whatever becomes of the process that led to it', (t) => {
  const proc = procOf({ 77: [`0::/kubepods/pod${uid}/a`, 'net:[7]'], 78: ['0::/', 'net:[1]'] });
  t.after(() => rmSync(proc, { recursive: true }));
  const before = descriptors();
  const namespaces = new PodNamespaces(proc);
  namespaces.refresh(new Set([uid, other]));
  const path = namespaces.pathOf(uid);
  assert.ok(path !== undefined && existsSync(path));
  assert.equal(namespaces.pathOf(other), undefined);
  rmSync(join(proc, '77'), { recursive: true });
  namespaces.refresh(new Set([uid]));
  assert.equal(namespaces.pathOf(uid), path);
  namespaces.refresh(new Set());
  assert.equal(namespaces.pathOf(uid), undefined);
  assert.equal(descriptors(), before);
});

test("a process of the pod that is still in the node's own namespace does not lead to it", (t) => {
  const proc = procOf({
    70: [`0::/kubepods/pod${uid}/a`, 'net:[1]'],
    71: [`0::/kubepods/pod${uid}/b`, 'net:[9]'],
  });
  t.after(() => rmSync(proc, { recursive: true }));
  const namespaces = new PodNamespaces(proc);
  rmSync(join(proc, '71'), { recursive: true });
  namespaces.refresh(new Set([uid]));
  assert.equal(namespaces.pathOf(uid), undefined);
});

test('a /proc that cannot be read, wholly or in part, is no knowledge that a pod is nowhere', (t) => {
  const troubleOf = (proc: string): string | undefined => {
    const namespaces = new PodNamespaces(proc);
    namespaces.refresh(new Set([uid]));
    const { trouble } = namespaces;
    assert.equal(namespaces.pathOf(uid), undefined);
    namespaces.refresh(new Set());
    return trouble;
  };
  const made: string[] = [];
  t.after(() => made.forEach((one) => rmSync(one, { recursive: true })));
  const proc = (processes: Parameters<typeof procOf>[0]): string => {
    made.push(procOf(processes));
    return made.at(-1) ?? '';
  };
  assert.equal(troubleOf(proc({ 70: ['0::/', 'net:[1]'] })), undefined, 'it is not there');
  assert.match(troubleOf(join(tmpdir(), 'weft-none')) ?? '', /ENOENT/);
  assert.match(troubleOf(proc({})) ?? '', /shows no process/);
  const ended = proc({ 70: ['0::/', 'net:[1]'], 71: ['0::/', 'net:[1]'] });
  rmSync(join(ended, '71'), { recursive: true });
  mkdirSync(join(ended, '71'));
  assert.equal(troubleOf(ended), undefined, 'a process that has ended meanwhile is none of its');
  const unreadable = proc({ 70: ['0::/', 'net:[1]'] });
  rmSync(join(unreadable, '70', 'cgroup'));
  mkdirSync(join(unreadable, '70', 'cgroup'));
  assert.match(troubleOf(unreadable) ?? '', /EISDIR/);
  const hidden = proc({ 70: [`0::/kubepods/pod${uid}/a`, 'net:[7]'] });
  rmSync(join(hidden, '70', 'ns', 'net'));
  symlinkSync('net', join(hidden, '70', 'ns', 'net'));
  assert.match(troubleOf(hidden) ?? '', /ELOOP/);
});

test('a namespace is deserted where all processes were seen and none is in it', (t) => {
  const proc = procOf({ 70: ['0::/', 'net:[1]'], 71: ['0::/', 'net:[7]'] });
  t.after(() => rmSync(proc, { recursive: true }));
  assert.equal(isInhabited(7, proc), true);
  assert.equal(isInhabited(8, proc), false);
  rmSync(join(proc, '71', 'ns', 'net'));
  writeFileSync(join(proc, '71', 'ns', 'net'), 'no link');
  assert.equal(isInhabited(8, proc), undefined);
  assert.equal(isInhabited(1, proc), true);
  assert.equal(isInhabited(8, join(proc, 'none')), undefined);
});
