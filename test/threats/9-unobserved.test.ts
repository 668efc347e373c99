/**
 * Row 9 of docs/security.md: a failure to observe (EMFILE, ENOSPC, a full map, an unreadable /proc, a clock that jumps) is never
 * taken for "it is not there". The agent is a real one, its descriptors and its maps really run out.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { BpfMap } from '../../native/index.js';
import { Datapath, pinRoot } from '../../daemonset/datapath/loader.js';
import { encodeIp } from '../../daemonset/maps/row.js';
import {
  BypassPortKey,
  LocalRow,
  directions,
  podFlags,
  structs,
} from '../../daemonset/maps/rows.generated.js';
import { parseIp } from '../../src/model/address.js';
import { sleep, until } from '../../src/base/wait.js';
import { sh } from '../../src/cli/run.js';
import { agentProcess } from '../../src/cli/standalone/testbed.js';
import { WatchedMesh, webIp } from './support/watched-mesh.js';

const agent = agentProcess('node-a');
const instanceDir = join(pinRoot, 'node-a');
let mesh: WatchedMesh;

before(async () => {
  mesh = await WatchedMesh.up('/run/weft/test-unobserved', { agentFlags: ['--verdict-lease-ms', '3000'] });
});
after(() => mesh.down());

const pidOf = (): number => mesh.testbed.mark(agent)?.pid ?? assert.fail('no agent');
const hooks = (): string[] => readdirSync(join(instanceDir, 'pods')).sort();
/** The agent's log since a moment of the test. */
const logFrom = (at: number): string => mesh.testbed.log(agent).slice(at);
const waiting = (): Readonly<Record<string, string>> => mesh.testbed.readyState('node-a').waiting ?? {};
const restartAgent = async (between?: () => void): Promise<void> => {
  await mesh.testbed.stop(agent, 'SIGKILL');
  between?.();
  mesh.testbed.startAgent('node-a');
};
const works = (): Promise<unknown> =>
  until('pods reach each other', 30_000, async () => (await mesh.call()) === 'here');
const quiet = async (): Promise<void> => {
  const { attempts } = mesh;
  await until('the probes have tried since', 30_000, () => mesh.attempts > attempts + 5);
  assert.deepEqual(mesh.leaks(), []);
};

/** From now on a process gets `free` further descriptors at a time; those that are open for a moment just now count as used. */
function starve(pid: number, free: number): void {
  const used = new Set(readdirSync(`/proc/${pid}/fd`).map(Number));
  let limit = 0;
  for (let left = free; left > 0; limit++) if (!used.has(limit)) left--;
  sh('prlimit', ['--pid', String(pid), `--nofile=${Math.max(1, limit)}:`]);
}
function feed(pid: number): void {
  const most = /^Max open files +\d+ +(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'))?.[1] ?? '';
  sh('prlimit', ['--pid', String(pid), `--nofile=${most}:`]);
}

for (const free of [0, 1, 2]) {
  test(`${free} descriptors are left (EMFILE): no pod is released, no capture is lifted, and all is well when there are some again`, async () => {
    const pid = pidOf();
    const before = hooks();
    const logged = mesh.testbed.log(agent).length;
    starve(pid, free);
    try {
      const noticed = (): boolean => /too many open files/i.test(logFrom(logged));
      // What was open for a moment leaves room: the limit follows. With one or two the agent may get by, since it looks at one thing at a time.
      for (const end = Date.now() + 15_000; !noticed() && Date.now() < end; await sleep(500))
        starve(pid, free);
      assert.ok(noticed() || free > 0, 'without a descriptor it is noticed');
      await sleep(3_000);
      assert.deepEqual(hooks(), before);
      await quiet();
    } finally {
      feed(pid);
    }
    await mesh.testbed.waitReady();
    await works();
    assert.doesNotMatch(logFrom(logged), /pod released|hooks of pods of a former life removed/);
    await quiet();
  });
}

test('a pod that leaves the mesh is captured until all of it can be undone', async () => {
  const file = join(mesh.manifests, 'mesh.yaml');
  const text = readFileSync(file, 'utf8');
  const leaves = 'name: cache-2, namespace: shop, labels: { app: cache';
  assert.ok(text.includes(leaves));
  const before = hooks();
  const pods = new BpfMap(join(new Datapath('node-a').dir, 'weft_pods'));
  const [flagsAt = 0] = structs.weft_pod[1].flags;
  const captured = (): number =>
    pods.keys().filter((key) => ((pods.lookup(key)?.[flagsAt] ?? 0) & podFlags.capture) !== 0).length;
  const pid = pidOf();
  const logged = mesh.testbed.log(agent).length;
  const count = captured();
  starve(pid, 0);
  try {
    writeFileSync(file, text.replace(leaves, `${leaves}, weft.dev/mesh: disabled`));
    await until('it is noticed', 30_000, () => /too many open files/i.test(logFrom(logged)));
    await sleep(3_000);
    assert.deepEqual(hooks(), before);
    assert.equal(captured(), count);
  } finally {
    feed(pid);
  }
  await until(
    'it is released',
    30_000,
    () => hooks().length === before.length - 1 && captured() === count - 1,
  );
  writeFileSync(file, text);
  await until('it is enrolled', 30_000, () => hooks().length === before.length && captured() === count);
  pods.close();
  await mesh.testbed.waitReady();
  await quiet();
});

test('an agent that starts with too few descriptors to look at anybody leaves pods captured', async () => {
  const before = hooks();
  await restartAgent();
  // Before it has looked: it holds nobody yet, and what it cannot look at is not gone. It may well end of this: nobody is released by that.
  await until('it runs', 30_000, () => readdirSync(`/proc/${pidOf()}/fd`).length > 20);
  const pid = pidOf();
  sh('prlimit', ['--pid', String(pid), '--nofile=1:']);
  await sleep(3_000);
  assert.deepEqual(hooks(), before);
  await quiet();
  await restartAgent();
  await mesh.testbed.waitReady();
  await quiet();
});

test('a wanted pod whose namespace is not found after a restart keeps its hook and stays refused', async () => {
  const before = hooks();
  const name = '/run/netns/weft-web';
  await restartAgent(() => {
    // The namespace lives on, by the processes in it; only its name leads elsewhere.
    sh('mount', ['--bind', '/dev/null', name]);
  });
  try {
    await until('it waits and says why', 30_000, () =>
      Object.entries(waiting()).some(
        ([uid, why]) => uid.endsWith('/web') && why.includes('is not a network namespace'),
      ),
    );
    await sleep(3_000);
    assert.deepEqual(hooks(), before);
    await quiet();
  } finally {
    sh('umount', [name]);
  }
  await mesh.testbed.waitReady();
  await works();
  await quiet();
});

test('a name that vanishes while the agent runs is no namespace that vanished', async () => {
  const before = hooks();
  const name = '/run/netns/weft-web';
  sh('mount', ['--bind', '/dev/null', name]);
  try {
    await until('it says so', 30_000, () => Object.keys(waiting()).some((uid) => uid.endsWith('/web')));
    await sleep(2_000);
    assert.deepEqual(hooks(), before);
    await quiet();
  } finally {
    sh('umount', [name]);
  }
  await mesh.testbed.waitReady();
  await quiet();
});

test('a map that is full (ENOSPC) costs the change that needs room, which is told and made when there is', async () => {
  const ports = new BpfMap(join(new Datapath('node-a').dir, 'weft_bypass_port'));
  const filled: Uint8Array[] = [];
  const one = new Uint8Array(ports.info.valueSize).fill(1);
  const settings = join(mesh.manifests, 'settings.yaml');
  const text = readFileSync(settings, 'utf8');
  try {
    try {
      for (let i = 0; i <= ports.info.maxEntries; i++) {
        const key = BypassPortKey.encode({
          cookie: BigInt(0xdead_0000_0000 + i),
          port: 1,
          direction: directions.outbound,
        });
        ports.update(key, one);
        filled.push(key);
      }
      assert.fail('the map took everything');
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'NATIVE_FULL');
    }
    writeFileSync(
      settings,
      text.replace('outboundUnknown: refuse', 'outboundUnknown: refuse, excludeInboundPorts: [7777]'),
    );
    await until('they wait and say why', 30_000, () =>
      Object.keys(waiting()).some((uid) => uid.endsWith('/web')),
    );
    await quiet();
  } finally {
    for (const key of filled) ports.remove(key);
    ports.close();
  }
  await until('the change is made', 30_000, () => Object.keys(waiting()).length === 0);
  writeFileSync(settings, text);
  await mesh.testbed.waitReady();
  await quiet();
});

test('no verdict of a former life counts for a pod that this agent has not enrolled, nor an epoch of a clock that ran ahead', async () => {
  const table = new BpfMap(join(new Datapath('node-a').dir, 'weft_local'));
  const key = encodeIp(parseIp(webIp));
  const stranger = encodeIp(parseIp('10.244.1.99'));
  const ahead = 1n << 61n;
  try {
    const { cookie, flags } = new LocalRow(table.lookup(key) ?? assert.fail('no row'));
    await restartAgent(() => {
      table.update(key, LocalRow.encode({ cookie, flags, epoch: ahead }));
      // Of a pod whose enrollment will never come about.
      table.update(stranger, LocalRow.encode({ cookie: 0xdeadn, flags, epoch: 5n }));
    });
    await mesh.testbed.waitReady();
    await until('the lease is renewed', 30_000, () => {
      const row = table.lookup(key);
      return row !== undefined && new LocalRow(row).epoch > ahead;
    });
    await until('the stranger has no row', 30_000, () => table.lookup(stranger) === undefined);
  } finally {
    table.close();
  }
  await quiet();
});
