import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Datapath, pinRoot } from '../../daemonset/datapath/loader.js';
import { generationsOf } from '../../daemonset/datapath/generations.js';
import { adminGet, adminPort } from '../../src/cli/admin.js';
import { sleep, until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { agentProcess, carrierProcess, type Testbed } from '../../src/cli/standalone/testbed.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';
import { connectionRecords, endedSince, type LoggedRecord } from '../support/records.js';
import { hold, type HeldConnection } from '../support/held-connection.js';
import { otherBuild, type OtherBuild } from '../support/other-build.js';
import { DemoMesh } from '../support/demo-mesh.js';

const mesh = new DemoMesh('upgrade');
const cache = '10.244.1.12';
const cacheVip = '10.96.0.12';
const instanceDir = join(pinRoot, 'node-a');
let testbed: Testbed;
/** Both builds share the map of socket state, as in most upgrades. */
let other: OtherBuild;
/** A build that shares no map. */
let stranger: OtherBuild;

const server = `
import asyncio, sys
async def echo(reader, writer):
    try:
        while d := await reader.read(65536):
            writer.write(d); await writer.drain()
    except OSError: pass
    writer.close()
async def main():
    async with await asyncio.start_server(echo, sys.argv[1], int(sys.argv[2])) as s: await s.serve_forever()
asyncio.run(main())
`;
/** Sends numbered bytes as fast as they come back and compares them. Ends at SIGTERM and prints how many it received. */
const stream = `
import asyncio, signal, sys
async def main():
    reader, writer = await asyncio.open_connection('${cache}', 9000)
    going, n = True, 0
    def stop():
        nonlocal going
        going = False
    loop = asyncio.get_event_loop()
    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGUSR1, lambda: writer.get_extra_info('socket').setsockopt(1, 18, 2)) # SO_RCVLOWAT
    print('open', flush=True)
    while going:
        piece = b'%015d\\n' % n * 64
        writer.write(piece)
        assert await reader.readexactly(1024) == piece, n
        n += 1
        await asyncio.sleep(0.001)
    writer.close(); print(n * 1024, writer.get_extra_info('sockname')[1])
asyncio.run(main())
`;

interface Stream {
  /** Sets a socket option that excludes a splice. */
  wantTcp(): void;
  end(): Promise<{ readonly bytes: number; readonly port: number }>;
}
async function streaming(): Promise<Stream> {
  const child = spawn('nsenter', ['--net=/run/netns/weft-web', '--', 'python3', '-c', stream], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  child.stdout.on('data', (bytes: Buffer) => (out += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => (err += bytes.toString()));
  const ended = new Promise<number | null>((resolve) => child.on('exit', resolve));
  await until('the stream is open', 30_000, () => out.startsWith('open'));
  return {
    wantTcp: () => void child.kill('SIGUSR1'),
    end: async () => {
      child.kill('SIGTERM');
      assert.equal(await ended, 0, err);
      const [bytes, port] = out.split('\n')[1]?.split(' ').map(Number) ?? [];
      return { bytes: bytes ?? 0, port: port ?? 0 };
    },
  };
}
const dialling = (ip: string, port: number): Promise<{ stdout: string; stderr: string }> =>
  run(
    'weft-web',
    'python3',
    [
      '-c',
      `import socket\ns = socket.create_connection(('${ip}', ${port}), 30); s.sendall(b'x'); print(s.recv(1))`,
    ],
    60_000,
  );
async function dump<T>(): Promise<T> {
  return JSON.parse(await adminGet('weft-node-a', adminPort, '/dump')) as T;
}
const connections = async (): Promise<ConnectionRecord[]> =>
  (await dump<{ connections: ConnectionRecord[] }>()).connections.filter(({ path }) => path === 'kernel');
const lines = (): LoggedRecord[] => connectionRecords(testbed.runDir('node-a'));
const generations = (): number => generationsOf(instanceDir).length;

before(async () => {
  await mesh.prepare();
  mesh.write(
    'namespace.yaml',
    'kind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mesh: enabled, weft.dev/mode: strict }, annotations: { weft.dev/splice: "on" } }\n',
  );
  other = otherBuild(['weft_sock']);
  stranger = otherBuild();
  testbed = mesh.create({
    workers: 1,
    agentFlags: ['--verdict-lease-ms', '300000'],
  });
  for (const [pod, ip] of [
    ['cache', cache],
    ['cache-2', '10.244.1.13'],
  ] as const) {
    for (const port of [9000, 6379])
      testbed.start(`${pod}-${port}`, `weft-${pod}`, 'python3', ['-c', server, ip, String(port)]);
  }
  await testbed.up();
});
after(async () => {
  await mesh.remove();
  other.remove();
  stranger.remove();
});

/** The first connections, which the agent relays, request the verdicts. */
async function warmKernelFlows(living = 0): Promise<void> {
  for (const [ip, port] of [
    [cache, 9000],
    [cache, 6379],
    ['10.244.1.13', 6379],
  ] as const) {
    await until(`connections to ${ip}:${port} are kernel flows`, 30_000, async () => {
      const held = hold('weft-web', ip, port);
      await held.ask();
      const found = (await connections()).some(({ destination }) => destination.address === `${ip}:${port}`);
      held.end();
      return found;
    });
  }
  await until('the connections have ended', 30_000, async () => (await connections()).length === living);
}

/** Upgrades the running agent to `program`, which has other maps. Open connections continue, and new ones are opened throughout. */
async function upgrade(
  program?: string,
): Promise<{ spliced: Stream; plain: HeldConnection; service: HeldConnection }> {
  const spliced = await streaming();
  const plain = hold('weft-web', cache);
  const service = hold('weft-web', cacheVip, 6379);
  for (const held of [plain, service]) assert.equal(await held.ask(), 'hello');
  await until('all are kernel flows', 30_000, async () => (await connections()).length === 3);

  await testbed.stop(agentProcess('node-a'), 'SIGKILL');
  let dialed = 0;
  let going = true;
  const dials = (async () => {
    while (going) {
      const { stdout, stderr } = await dialling(cache, 9000);
      assert.equal(stdout.trim(), "b'x'", `after ${dialed}: ${stderr}`);
      dialed++;
    }
  })();
  testbed.startAgent('node-a', program);
  await testbed.waitReady();
  const during = dialed;
  await until('connections are also opened after the upgrade', 30_000, () => dialed > during + 2).finally(
    () => (going = false),
  );
  await dials;
  return { spliced, plain, service };
}

test('upgrade to other maps: open connections continue and stay listed, pairs with verdicts connect throughout, the former maps are removed', async () => {
  await warmKernelFlows();
  assert.equal(generations(), 1);
  const { spliced, plain, service } = await upgrade(other.agent);
  for (const held of [plain, service]) assert.equal(await held.ask(), 'hello');
  assert.equal(generations(), 2, 'the former maps exist while connections need them');

  const listed = await connections();
  assert.equal(listed.length, 3);
  for (const { source, destination } of listed) {
    assert.match(source.identity ?? '', /sa\/web$/);
    assert.match(destination.identity ?? '', /sa\/cache$/);
  }
  assert.ok(listed.some(({ dialled }) => dialled === `${cacheVip}:6379`));
  const counts = async (): Promise<{ sent: number; spliced: number }> => {
    const all = await connections();
    const one = all.reduce((a, b) => (b.bytesSent > a.bytesSent ? b : a));
    return { sent: one.bytesSent, spliced: one.bytesSpliced ?? 0 };
  };
  spliced.wantTcp();
  await sleep(200);
  const first = await counts();
  const later = await until('the stream continues', 30_000, async () => {
    const now = await counts();
    return now.sent > first.sent && now;
  });
  assert.equal(later.spliced, first.spliced, 'on TCP, because it set an option that excludes a splice');
  const ending = Date.now();
  const { bytes, port } = await spliced.end();
  const line = await until('its record', 30_000, () =>
    lines()
      .filter(endedSince(ending))
      .find(
        ({ source, destination }) =>
          source.address.endsWith(`:${port}`) && destination.address === `${cache}:9000`,
      ),
  );
  assert.equal(line.bytesSent, bytes);
  assert.equal(line.bytesReceived, bytes);
  assert.ok((line.bytesSpliced ?? 0) > 0);
  plain.end();
  service.end();
  await until('the former maps are gone', 30_000, () => generations() === 1);
  assert.notEqual(generationsOf(instanceDir)[0], new Datapath('node-a').dir);
});

test('a connection from before the upgrade is closed when a policy forbids it afterwards; the others continue', async () => {
  // Back to the first build: a rollback is also an upgrade to other maps.
  await warmKernelFlows();
  const { spliced, plain, service } = await upgrade();
  try {
    assert.equal(await plain.ask(), 'hello');
    mesh.write(
      'policy.yaml',
      `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: no-redis, namespace: shop }
spec: { action: DENY, rules: [{ to: [{ ports: [6379] }] }] }
`,
    );
    await until('the connection is closed', 30_000, async () => (await service.ask()) !== 'hello');
    assert.equal(await plain.ask(), 'hello');
    await until('its record has the reason', 30_000, () =>
      lines().some(({ ended }) => ended.includes('no-redis')),
    );
  } finally {
    plain.end();
    service.end();
    await spliced.end();
  }
  await until('the former maps are gone', 30_000, () => generations() === 1);
  assert.equal(generationsOf(instanceDir)[0], new Datapath('node-a').dir);
  await sleep(100);
});

test('a rollback while connections of the first build are open uses its maps again', async () => {
  rmSync(join(mesh.manifests, 'policy.yaml'), { force: true });
  await warmKernelFlows();
  const first = await upgrade(stranger.agent);
  first.service.end();
  await first.spliced.end();
  await testbed.stop(agentProcess('node-a'), 'SIGKILL');
  testbed.startAgent('node-a');
  await testbed.waitReady();
  assert.equal(await first.plain.ask(), 'hello');
  await warmKernelFlows(1);
  assert.ok((await connections()).some(({ source }) => source.identity?.endsWith('sa/web')));
  first.plain.end();
  await until('one generation is left', 30_000, () => generations() === 1);
  assert.equal(generationsOf(instanceDir)[0], new Datapath('node-a').dir);
});

/** Network namespaces of which the carrier's broker, its child process, has a descriptor. */
function namespacesOfCarrier(): Set<number> {
  const pid = testbed.mark(carrierProcess('node-a'))?.pid;
  const broker = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  assert.match(broker, /^\d+$/);
  const dir = `/proc/${broker}/fd`;
  const { dev } = statSync('/proc/self/ns/net');
  const held = new Set<number>();
  for (const fd of readdirSync(dir)) {
    try {
      // The target of the link may be a path that is gone.
      const file = statSync(join(dir, fd));
      if (file.dev === dev) held.add(file.ino);
    } catch {
      // Closed meanwhile.
    }
  }
  return held;
}

test('a pod whose network namespace ended while no agent was running does not block the upgrade', async () => {
  await testbed.stop(agentProcess('node-a'), 'SIGKILL');
  for (const file of readdirSync(mesh.manifests)) {
    const path = join(mesh.manifests, file);
    const kept = readFileSync(path, 'utf8')
      .split(/^---$/m)
      .filter((document) => !document.includes('name: cache-2, namespace: shop'));
    writeFileSync(path, kept.join('---'));
  }
  for (const port of [9000, 6379]) await testbed.stop(`cache-2-${port}`, 'SIGKILL');
  const hooks = readdirSync(join(instanceDir, 'pods')).length;
  await run('weft-cache', 'ip', ['netns', 'del', 'weft-cache-2']);
  await sleep(500);
  assert.equal(readdirSync(join(instanceDir, 'pods')).length, hooks, 'its hook is still pinned');
  const isKept = testbed.relay === 'carrier';
  const held = isKept ? namespacesOfCarrier().size : 0;
  if (isKept) assert.ok(held > 1, `${held}`);
  const before = testbed.log(agentProcess('node-a')).length;
  testbed.startAgent('node-a', stranger.agent);
  await testbed.waitReady(undefined, ['node-a']);
  if (isKept) {
    // The carrier held the network namespace until the agent found that the pod is gone.
    await until(
      'the hook is gone',
      30_000,
      () => readdirSync(join(instanceDir, 'pods')).length === hooks - 1,
    );
    await until('the carrier has let go', 30_000, () => namespacesOfCarrier().size === held - 1);
  } else {
    assert.match(
      testbed.log(agentProcess('node-a')).slice(before),
      /its network namespace ended while no agent was running/,
    );
    assert.equal(readdirSync(join(instanceDir, 'pods')).length, hooks - 1);
  }
  const { stdout, stderr } = await dialling(cache, 9000);
  assert.equal(stdout.trim(), "b'x'", stderr);
});
