import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodePod } from '../../src/model/node-pod.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import { pod, uid } from '../../test/support/mesh.js';
import type { LocalPod } from '../worker-ipc.js';
import type { Observation } from '../pod/netns.js';
import { ownerKey } from '../datapath/owners.js';
import { Enroller, type EnrollerParts } from './enroller.js';

/** Fakes of the enroller's parts. `failing`: names of the steps that fail. */
class Node {
  readonly done: string[] = [];
  readonly failing = new Set<string>();
  readonly attached = new Map<bigint, string | undefined>();
  readonly captured = new Set<bigint>();
  readonly admitted = new Set<WorkloadUid>();
  readonly owned = new Set<WorkloadUid>();
  synced: readonly WorkloadUid[] = [];
  seen: Record<string, Observation> = {};
  readonly wanted = new Map<WorkloadUid, NodePod>();
  readonly enroller: Enroller;
  nowMs = 1_000_000;
  attachedAtMs: number | undefined;

  constructor() {
    const step = (name: string): void => {
      this.done.push(name);
      if (this.failing.has(name)) throw new Error(`${name} failed`);
    };
    const parts: EnrollerParts = {
      hooks: {
        attached: () => (step('list'), [...this.attached.keys()]),
        attachedAtMs: () => this.attachedAtMs,
        inodeOf: () => undefined,
        namespaceOf: (cookie) => (this.attached.has(cookie) ? 'alive' : 'unknown'),
        detach: (cookie, before = () => undefined, after = () => undefined) => {
          step('open hook');
          before();
          try {
            step('end hook');
          } catch (error) {
            after();
            throw error;
          }
          return this.attached.delete(cookie);
        },
        owners: {
          of: (cookie: bigint) => this.attached.get(cookie),
          record: () => step('record'),
          forget: () => undefined,
        } as unknown as EnrollerParts['hooks']['owners'],
      },
      attach: async (cookie) => {
        await Promise.resolve();
        step(`attach ${cookie}`);
        this.attached.set(cookie, undefined);
      },
      maps: {
        write: (_pod, cookie, capture) => {
          step(`write ${cookie} ${capture}`);
          if (capture) this.captured.add(cookie);
          else this.captured.delete(cookie);
        },
        lift: (cookie) => {
          const was = this.captured.delete(cookie);
          return () => void (was && this.captured.add(cookie));
        },
        remove: (cookie) => step(`remove ${cookie}`),
      },
      relay: {
        sync: (pods) => (this.synced = [...pods.keys()]),
        assign: async ({ pod: { uid: owned } }) => {
          await Promise.resolve();
          step('own');
          this.owned.add(owned);
        },
        unassign: async (one) => {
          await Promise.resolve();
          step('disown');
          this.owned.delete(one);
        },
      },
      verdicts: {
        admit: (local: LocalPod) => {
          step('admit');
          this.admitted.add(local.pod.uid);
        },
        dismiss: (local: LocalPod) => void this.admitted.delete(local.pod.uid),
        forget: () => undefined,
      },
      preexisting: { admit: () => step('preexisting'), dismiss: () => undefined },
      kernelCookies: () => new Set(),
      beginPass: () => ({ wanted: this.wanted, uncaptured: new Map() }),
      endPass: () => undefined,
      report: () => undefined,
      onReleased: () => undefined,
      namespaces: {
        refresh: () => undefined,
        pathOf: () => undefined,
        hold: () => undefined,
        forget: () => undefined,
        problem: undefined,
      },
      rules: { netnsDirs: ['/run/netns', '/tmp'], workloadNamespaces: [] },
      neverPods: new Set([99n]),
      nowMs: () => this.nowMs,
      settleMs: () => 125_000,
      observe: (path) => this.seen[path] ?? { kind: 'absent', why: 'it is not there' },
      log: { info: () => undefined, warn: () => undefined, error: () => undefined },
    };
    this.enroller = new Enroller(parts);
  }

  want(name: string, cookie: bigint, more: Partial<NodePod> = {}): void {
    const one = pod(name, `10.0.0.${cookie}`, { netns: `/tmp/${name}`, ...more });
    this.wanted.set(one.uid, one);
    this.seen[one.netns] = { kind: 'present', cookie };
  }

  async pass(): Promise<void> {
    await this.enroller.pass({ wanted: this.wanted, uncaptured: new Map() });
  }
}

async function withA(): Promise<Node> {
  const node = new Node();
  node.want('a', 1n);
  await node.pass();
  assert.deepEqual([...node.enroller.enrolled.keys()], [uid('a')]);
  assert.ok(node.captured.has(1n) && node.attached.has(1n) && node.admitted.has(uid('a')));
  return node;
}

test('a release that fails at any step leaves the pod captured with its hook, and is retried', async () => {
  for (const failing of ['open hook', 'end hook']) {
    const node = await withA();
    node.failing.add(failing);
    node.wanted.clear();
    await node.pass();
    assert.ok(node.captured.has(1n) && node.attached.has(1n) && node.owned.has(uid('a')), failing);
    node.failing.clear();
    await node.pass();
    assert.equal(node.captured.size + node.attached.size + node.owned.size, 0, failing);
    assert.equal(node.enroller.enrolled.size, 0);
  }
});

test('a pod that is wanted again after a failed release is fully enrolled again', async () => {
  const node = await withA();
  node.failing.add('open hook');
  const before = [...node.wanted];
  node.wanted.clear();
  await node.pass();
  node.failing.clear();
  for (const [one, it] of before) node.wanted.set(one, it);
  await node.pass();
  assert.ok(node.captured.has(1n) && node.attached.has(1n) && node.admitted.has(uid('a')));
  assert.deepEqual([...node.enroller.enrolled.keys()], [uid('a')]);
});

test('a worker that does not respond blocks neither the release of a pod nor the removal of its map rows', async () => {
  const node = await withA();
  node.failing.add('disown').add('remove 1');
  node.wanted.clear();
  await node.pass();
  assert.equal(node.attached.size + node.captured.size, 0);
  node.failing.clear();
  await node.pass();
  assert.equal(node.done.filter((one) => one === 'remove 1').length, 2);
  await node.pass();
  assert.equal(node.done.filter((one) => one === 'remove 1').length, 2);
});

test('a failure for one pod does not affect others; a pod whose enrollment failed leaves nothing behind', async () => {
  for (const failing of [
    'own',
    'record',
    'write 1 false',
    'attach 1',
    'write 1 true',
    'preexisting',
    'admit',
  ]) {
    const node = new Node();
    node.want('a', 1n);
    node.failing.add(failing);
    await node.pass();
    assert.equal(node.enroller.enrolled.has(uid('a')), false, failing);
    assert.match(node.enroller.waiting.get(uid('a')) ?? '', /failed/, failing);
    node.failing.clear();
    node.want('b', 2n);
    node.failing.add('attach 1');
    await node.pass();
    if (!['own', 'record', 'write 1 false', 'attach 1'].includes(failing)) node.failing.clear();
    assert.ok(node.enroller.enrolled.has(uid('b')), failing);
    node.failing.clear();
    node.wanted.delete(uid('a'));
    await node.pass();
    assert.deepEqual([...node.owned], [uid('b')], failing);
    assert.deepEqual([...node.attached.keys()], [2n], failing);
  }
});

test('if the hooks cannot be listed, nothing is changed and every pod reports the reason', async () => {
  const node = await withA();
  node.failing.add('list');
  node.wanted.clear();
  node.want('b', 2n);
  const { length } = node.done;
  await assert.rejects(node.pass());
  assert.deepEqual(node.done.slice(length), ['list']);
  assert.match(node.enroller.waiting.get(uid('b')) ?? '', /could not be listed/);
  assert.ok(node.captured.has(1n));
});

test('settings that could not be written leave no verdict in force, and are retried', async () => {
  const node = await withA();
  node.want('a', 1n, { excludeOutboundPorts: [53] });
  node.failing.add('write 1 true');
  await node.pass();
  assert.equal(node.admitted.has(uid('a')), false);
  assert.ok(node.captured.has(1n) && node.attached.has(1n));
  node.failing.clear();
  await node.pass();
  assert.ok(node.admitted.has(uid('a')));
  assert.deepEqual(node.enroller.enrolled.get(uid('a'))?.pod.excludeOutboundPorts, [53]);
});

test("the node's own network namespace is never a pod, whatever discovery says", async () => {
  const node = new Node();
  node.want('a', 99n);
  await node.pass();
  assert.equal(node.enroller.enrolled.size + node.attached.size, 0);
  assert.match(node.enroller.waiting.get(uid('a')) ?? '', /node's own/);
});

test('a wanted pod that is not found after a restart keeps its hook, and policy still applies to its kernel flows', async () => {
  const node = new Node();
  node.want('a', 1n);
  node.seen = {};
  const [a] = node.wanted.values();
  assert.ok(a);
  node.attached.set(1n, ownerKey(a));
  node.captured.add(1n);
  await node.pass();
  assert.ok(node.attached.has(1n) && node.captured.has(1n));
  assert.equal(node.enroller.podOf(1n)?.pod, a);
  assert.equal(node.enroller.enrolled.size, 0);
  node.want('a', 1n);
  await node.pass();
  assert.equal(node.enroller.podOf(1n)?.netns.path, '/tmp/a');
  node.wanted.clear();
  await node.pass();
  assert.equal(node.enroller.podOf(1n), undefined);
});

test('a Kubernetes pod is found only by its processes, whatever path its annotation names', async () => {
  const node = new Node();
  node.want('thief', 5n, { podUid: 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6' });
  await node.pass();
  assert.equal(node.attached.size + node.enroller.enrolled.size, 0);
  assert.match(node.enroller.waiting.get(uid('thief')) ?? '', /no process of the pod/);
});

test('refused pods do not delay readiness; pods that may still be enrolled do', async () => {
  const node = new Node();
  node.want('a', 1n);
  node.want('second', 1n);
  node.want('elsewhere', 3n, { netns: '/proc/1/ns/net' });
  await node.pass();
  assert.deepEqual([...node.enroller.enrolled.keys()], [uid('a')]);
  assert.equal(node.enroller.waiting.size, 2);
  assert.equal(node.enroller.isWhole(node.wanted), true);
  node.want('late', 4n);
  node.seen = { '/tmp/a': { kind: 'present', cookie: 1n } };
  await node.pass();
  assert.equal(node.enroller.isWhole(node.wanted), false);
});

test('a Kubernetes pod without a sandbox does not delay readiness: it may never get one', async () => {
  const node = new Node();
  node.want('a', 1n);
  await node.pass();
  const podUid = '0b5a0e1c-1111-4222-8333-444455556666';
  node.want('no-volume', 2n, { podUid, addresses: [] });
  await node.pass();
  assert.match(node.enroller.waiting.get(uid('no-volume')) ?? '', /no process of the pod/);
  assert.equal(node.enroller.isWhole(node.wanted), true);
  // A pod with an address has processes that can be found.
  node.want('no-volume', 2n, { podUid });
  await node.pass();
  assert.equal(node.enroller.isWhole(node.wanted), false);
});

test('a network namespace that passes from one pod to another keeps the rows of the new pod', async () => {
  for (const failing of ['', 'remove 1']) {
    const node = await withA();
    node.wanted.clear();
    node.want('b', 1n);
    node.failing.add(failing);
    await node.pass();
    node.failing.clear();
    await node.pass();
    assert.deepEqual([...node.enroller.enrolled.keys()], [uid('b')]);
    assert.ok(node.captured.has(1n) && node.attached.has(1n));
    assert.ok(node.done.lastIndexOf('remove 1') < node.done.lastIndexOf('write 1 true'), failing);
  }
});

test('a pod that was enrolled recently keeps settling under the next agent', async () => {
  const node = new Node();
  node.want('a', 1n);
  node.attached.set(1n, undefined);
  node.attachedAtMs = node.nowMs - 25_000;
  await node.pass();
  assert.ok(node.enroller.enrolled.has(uid('a')));
  assert.equal(node.enroller.hasSettled(uid('a')), false, 'connection tracking keeps its entries');
  node.nowMs += 99_999;
  assert.equal(node.enroller.hasSettled(uid('a')), false);
  node.nowMs += 1;
  assert.equal(node.enroller.hasSettled(uid('a')), true);
});
