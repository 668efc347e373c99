/**
 * Row 9 of docs/security.md: a failure to observe (EMFILE, ENOSPC, a full map, an unreadable /proc, a clock that jumps) never counts as
 * absence. The test runs a real agent, whose descriptors and maps are really exhausted.
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
/** The agent's log from an offset. */
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
  await until('the probes have made attempts since', 30_000, () => mesh.attempts > attempts + 5);
  assert.deepEqual(mesh.leaks(), []);
};

/** Limits a process to `free` further descriptors. Descriptors that happen to be open right now count as used. */
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
  test(`${free} descriptors are left (EMFILE): no pod is released, no capture is lifted, and the agent recovers when descriptors are available`, async () => {
    const pid = pidOf();
    const before = hooks();
    const logged = mesh.testbed.log(agent).length;
    starve(pid, free);
    try {
      const noticed = (): boolean => /too many open files/i.test(logFrom(logged));
      // Descriptors that were open only briefly make room when they close, so the limit is lowered again. One or two free descriptors may
      // be enough for the agent, since it observes one namespace at a time.
      for (const end = Date.now() + 15_000; !noticed() && Date.now() < end; await sleep(500))
        starve(pid, free);
      assert.ok(noticed() || free > 0, 'without a free descriptor the agent must log it');
      await sleep(3_000);
      assert.deepEqual(hooks(), before);
      await quiet();
    } finally {
      feed(pid);
    }
    await mesh.testbed.waitReady();
    await works();
    assert.doesNotMatch(logFrom(logged), /pod released|orphaned hooks of a previous agent process removed/);
    await quiet();
  });
}

test('a pod that leaves the mesh stays captured until its release can be completed', async () => {
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
    await until('the agent logs it', 30_000, () => /too many open files/i.test(logFrom(logged)));
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

test('an agent that starts with too few descriptors to observe any pod leaves pods captured', async () => {
  const before = hooks();
  await restartAgent();
  // The limit applies before the agent has observed any pod. It must not take unobserved pods for gone. The agent may exit, which
  // releases no pod either.
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

test('a pod whose network namespace is not found after a restart keeps its hook and stays refused', async () => {
  const before = hooks();
  const name = '/run/netns/weft-web';
  await restartAgent(() => {
    // Processes keep the network namespace alive; only its name refers to something else.
    sh('mount', ['--bind', '/dev/null', name]);
  });
  try {
    await until('the pod waits, with a reason', 30_000, () =>
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

test('if the name of a network namespace vanishes while the agent runs, the namespace does not count as gone', async () => {
  const before = hooks();
  const name = '/run/netns/weft-web';
  sh('mount', ['--bind', '/dev/null', name]);
  try {
    await until('the pod waits', 30_000, () => Object.keys(waiting()).some((uid) => uid.endsWith('/web')));
    await sleep(2_000);
    assert.deepEqual(hooks(), before);
    await quiet();
  } finally {
    sh('umount', [name]);
  }
  await mesh.testbed.waitReady();
  await quiet();
});

test('a full map (ENOSPC) delays only the change that needs room; the agent reports it and applies it when there is room', async () => {
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

test("a previous agent's verdicts are not valid for a pod that this agent has not enrolled, and neither is an epoch from a clock ahead", async () => {
  const table = new BpfMap(join(new Datapath('node-a').dir, 'weft_local'));
  const key = encodeIp(parseIp(webIp));
  const stranger = encodeIp(parseIp('10.244.1.99'));
  const ahead = 1n << 61n;
  try {
    const { cookie, flags } = new LocalRow(table.lookup(key) ?? assert.fail('no row'));
    await restartAgent(() => {
      table.update(key, LocalRow.encode({ cookie, flags, epoch: ahead }));
      // A row of a pod that will never be enrolled.
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
