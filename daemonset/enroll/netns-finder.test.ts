import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { isInhabited, NetnsFinder, podUidOf } from './netns-finder.js';

const uid = 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6';
const other = '0a1b2c3d-7dec-11d0-a765-00a0c91e6bf6';

test('finds the UID of a pod in the cgroups of its processes, as each runtime writes them', () => {
  for (const line of [
    `0::/kubepods/burstable/pod${uid}/7a6f`,
    `0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${uid.replaceAll('-', '_')}.slice/cri-containerd-7a6f.scope`,
    `12:memory:/kubepods/besteffort/pod${uid.toUpperCase()}/x\n0::/`,
  ])
    assert.equal(podUidOf(line), uid);
  for (const line of ['0::/', '0::/system.slice/sshd.service', `0::/kubepods/pod${uid.slice(0, 30)}/x`])
    assert.equal(podUidOf(line), undefined);
});

type Process = readonly [cgroup: string, link: string, startedAt?: number, user?: string];

function addProcess(
  proc: string,
  pid: string,
  [cgroup, link, startedAt = Number(pid), user = 'user:[1]']: Process,
): void {
  mkdirSync(join(proc, pid, 'ns'), { recursive: true });
  writeFileSync(join(proc, pid, 'cgroup'), cgroup);
  // A process chooses its own name.
  writeFileSync(join(proc, pid, 'stat'), `${pid} (a) S 1 (b) S ${'0 '.repeat(18)}${startedAt} 0 0`);
  writeFileSync(join(proc, pid, 'ns', link), '');
  symlinkSync(link, join(proc, pid, 'ns', 'net'));
  symlinkSync(user, join(proc, pid, 'ns', 'user'));
}

/** A fake /proc with these processes: PID to cgroup, network namespace, start time (the PID if absent), user namespace. */
function procOf(processes: Readonly<Record<string, Process>>): string {
  const proc = mkdtempSync(join(tmpdir(), 'weft-proc-'));
  for (const [pid, process] of Object.entries({ self: ['0::/', 'net:[1]'] as const, ...processes }))
    addProcess(proc, pid, process);
  return proc;
}
/** The file behind the descriptor of the held network namespace. */
const heldOf = (namespaces: NetnsFinder): string | undefined => {
  const path = namespaces.pathOf(uid);
  return path && basename(readlinkSync(path)).replace(' (deleted)', '');
};
const descriptors = (): number => readdirSync('/proc/self/fd').length;

test('a network namespace is held open while its pod is wanted, even if the process that led to it ends', (t) => {
  const proc = procOf({ 77: [`0::/kubepods/pod${uid}/a`, 'net:[7]'], 78: ['0::/', 'net:[1]'] });
  t.after(() => rmSync(proc, { recursive: true }));
  const before = descriptors();
  let nowMs = 0;
  const namespaces = new NetnsFinder(proc, () => nowMs);
  namespaces.refresh(new Set([uid, other]));
  const path = namespaces.pathOf(uid);
  assert.ok(path !== undefined && existsSync(path));
  assert.equal(namespaces.pathOf(other), undefined);
  rmSync(join(proc, '77'), { recursive: true });
  namespaces.refresh(new Set([uid]));
  assert.equal(namespaces.pathOf(uid), path);
  const link = readlinkSync(path);
  namespaces.refresh(new Set());
  assert.equal(namespaces.pathOf(uid), undefined);
  // Connections captured before the release are dialed by the path for a while. It must not lead elsewhere meanwhile.
  nowMs = 59_000;
  namespaces.refresh(new Set());
  assert.equal(readlinkSync(path), link);
  nowMs = 60_000;
  namespaces.refresh(new Set());
  assert.equal(descriptors(), before);
});

test("a process of the pod in the node's own network namespace is ignored", (t) => {
  const proc = procOf({
    70: [`0::/kubepods/pod${uid}/a`, 'net:[1]'],
    71: [`0::/kubepods/pod${uid}/b`, 'net:[9]'],
  });
  t.after(() => rmSync(proc, { recursive: true }));
  const namespaces = new NetnsFinder(proc);
  rmSync(join(proc, '71'), { recursive: true });
  namespaces.refresh(new Set([uid]));
  assert.equal(namespaces.pathOf(uid), undefined);
});

const of = `0::/kubepods/pod${uid}/a`;

test('a network namespace that the pod created is not used as the pod\u2019s, whatever PID comes first', (t) => {
  const proc = procOf({
    // After a wrap of the PIDs: a network namespace within a user namespace, and one that a more privileged process created.
    50: [of, 'net:[8]', 900, 'user:[9]'],
    60: [of, 'net:[9]', 800],
    70: [of, 'net:[7]', 100],
    80: [of, 'net:[8]', 50, 'user:[9]'],
  });
  t.after(() => rmSync(proc, { recursive: true }));
  const namespaces = new NetnsFinder(proc);
  namespaces.refresh(new Set([uid]));
  assert.equal(heldOf(namespaces), 'net:[7]');
  // While a container restarts, the pod only has processes in its own network namespaces.
  rmSync(join(proc, '70'), { recursive: true });
  rmSync(join(proc, '60'), { recursive: true });
  namespaces.refresh(new Set([uid]));
  assert.equal(heldOf(namespaces), 'net:[7]');
  namespaces.refresh(new Set());
});

test('a pod with a new sandbox at the same address is found in its new network namespace', (t) => {
  const proc = procOf({ 70: [of, 'net:[7]'], 71: [of, 'net:[7]'] });
  t.after(() => rmSync(proc, { recursive: true }));
  const before = descriptors();
  let nowMs = 0;
  const namespaces = new NetnsFinder(proc, () => nowMs);
  const look = (): string | undefined => {
    namespaces.refresh(new Set([uid]));
    return heldOf(namespaces);
  };
  assert.equal(look(), 'net:[7]');
  rmSync(join(proc, '70'), { recursive: true });
  assert.equal(look(), 'net:[7]');
  addProcess(proc, '90', [of, 'net:[9]']);
  assert.equal(look(), 'net:[7]', 'a process of the former sandbox is still there');
  rmSync(join(proc, '71'), { recursive: true });
  mkdirSync(join(proc, '91', 'cgroup'), { recursive: true });
  assert.equal(look(), 'net:[7]', 'the scan was incomplete');
  rmSync(join(proc, '91'), { recursive: true });
  assert.equal(look(), 'net:[9]');
  // The CNI plugin passes a sandbox before it has a process.
  writeFileSync(join(proc, 'net:[11]'), '');
  symlinkSync('net:[11]', join(proc, 'early'));
  namespaces.hold(uid, join(proc, 'early'));
  assert.equal(look(), 'net:[11]');
  namespaces.refresh(new Set());
  nowMs = 60_000;
  namespaces.refresh(new Set());
  assert.equal(descriptors(), before);
});

test('an unreadable /proc, whole or in part, does not mean that a pod is gone', (t) => {
  const problemOf = (proc: string): string | undefined => {
    const namespaces = new NetnsFinder(proc);
    namespaces.refresh(new Set([uid]));
    const { problem } = namespaces;
    assert.equal(namespaces.pathOf(uid), undefined);
    namespaces.refresh(new Set());
    return problem;
  };
  const made: string[] = [];
  t.after(() => made.forEach((one) => rmSync(one, { recursive: true })));
  const proc = (processes: Parameters<typeof procOf>[0]): string => {
    made.push(procOf(processes));
    return made.at(-1) ?? '';
  };
  assert.equal(problemOf(proc({ 70: ['0::/', 'net:[1]'] })), undefined, 'it is not there');
  assert.match(problemOf(join(tmpdir(), 'weft-none')) ?? '', /ENOENT/);
  assert.match(problemOf(proc({})) ?? '', /shows no process/);
  const ended = proc({ 70: ['0::/', 'net:[1]'], 71: ['0::/', 'net:[1]'] });
  rmSync(join(ended, '71'), { recursive: true });
  mkdirSync(join(ended, '71'));
  assert.equal(problemOf(ended), undefined, 'a process that has ended meanwhile is not in the namespace');
  const unreadable = proc({ 70: ['0::/', 'net:[1]'] });
  rmSync(join(unreadable, '70', 'cgroup'));
  mkdirSync(join(unreadable, '70', 'cgroup'));
  assert.match(problemOf(unreadable) ?? '', /EISDIR/);
  const hidden = proc({ 70: [`0::/kubepods/pod${uid}/a`, 'net:[7]'] });
  rmSync(join(hidden, '70', 'ns', 'net'));
  symlinkSync('net', join(hidden, '70', 'ns', 'net'));
  assert.match(problemOf(hidden) ?? '', /ELOOP/);
});

test('a network namespace is deserted if all processes were seen and none is in it', (t) => {
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
