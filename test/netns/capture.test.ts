import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Datapath } from '../../daemonset/datapath/loader.js';
import { projectRoot } from '../../native/index.js';
import { sleep, until } from '../../src/base/wait.js';
import { run, sh } from '../../src/cli/run.js';
import { carrierProcess, Testbed, tearDown } from '../../src/cli/standalone/testbed.js';
import { statusOf } from '../../src/cli/status.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';
import { connectionRecords } from '../support/records.js';
import { echo } from '../support/echo.js';

const state = '/run/weft/test-capture';
const programs = join(projectRoot, 'test', 'netns', 'programs');
const manifests = mkdtempSync(join(tmpdir(), 'weft-manifests-'));
let testbed: Testbed;

const outsider = `
apiVersion: v1
kind: Pod
metadata: { name: outsider, namespace: shop, labels: { weft.dev/mesh: disabled }, annotations: { weft.dev/netns: weft-outsider } }
spec: { nodeName: node-b, serviceAccountName: outsider }
status: { podIPs: [{ ip: 10.244.2.20 }, { ip: 'fd00:244:2::20' }] }
---
apiVersion: v1
kind: Pod
metadata: { name: probed, namespace: shop, annotations: { weft.dev/netns: weft-probed, weft.dev/exclude-outbound-ports: '7777' } }
spec:
  nodeName: node-b
  serviceAccountName: probed
  containers: [{ name: c, ports: [{ name: health, containerPort: 8081 }], readinessProbe: { httpGet: { port: health } } }]
status: { podIPs: [{ ip: 10.244.2.30 }, { ip: 'fd00:244:2::30' }] }
`;
const namespace = (labels: string): void =>
  writeFileSync(
    join(manifests, 'namespace.yaml'),
    `kind: Namespace\nmetadata: { name: shop, labels: { ${labels} } }\n`,
  );

/** Runs a client in a pod. Resolves with its output; after a failure with its last line of error output. */
async function client(netns: string, code: string, timeoutMs = 20_000): Promise<string> {
  const result = await run(
    netns,
    'python3',
    ['-c', `import socket, struct, errno, os, select\n${code}`],
    timeoutMs,
  );
  return result.code === 0 ? result.stdout.trim() : (result.stderr.trim().split('\n').at(-1) ?? '');
}
const exchange = "s.sendall(b'ping'); print(s.recv(10).decode())";
const connect = (ip: string, port: number): string =>
  `s = socket.create_connection((${JSON.stringify(ip)}, ${port}), 4); ${exchange}`;

const records = (node: string): ConnectionRecord[] => connectionRecords(testbed.runDir(node));

before(async () => {
  await tearDown(state);
  cpSync(join(projectRoot, 'src', 'cli', 'demo', 'manifests'), manifests, { recursive: true });
  writeFileSync(join(manifests, 'more.yaml'), outsider);
  // Strict from the start: a connection that bypasses capture arrives as plaintext and is refused.
  namespace('weft.dev/mesh: enabled, weft.dev/mode: strict');
  testbed = Testbed.create({ from: manifests, state, workers: 2 });
  for (const [name, netns, port] of [
    ['echo-api', 'weft-api', 9000],
    ['echo-probed', 'weft-probed', 8081],
    ['echo-probed2', 'weft-probed', 9000],
    ['echo-out', 'weft-outsider', 7777],
    ['echo-out2', 'weft-outsider', 9000],
  ] as const) {
    testbed.start(name, netns, 'python3', ['-c', echo, String(port)]);
  }
  await testbed.up();
});
after(async () => {
  await tearDown(state);
  rmSync(manifests, { recursive: true, force: true });
});

const ways: [name: string, code: string][] = [
  ['a v4 socket', connect('10.244.2.10', 9000)],
  ['a v6 socket', connect('fd00:244:2::10', 9000)],
  [
    'a dual-stack socket dialing a v4-mapped address',
    `s = socket.socket(socket.AF_INET6); s.settimeout(4); s.connect(('::ffff:10.244.2.10', 9000)); ${exchange}`,
  ],
  [
    'a socket bound to a source address',
    `s = socket.socket(); s.settimeout(4); s.bind(('10.244.1.10', 0)); s.connect(('10.244.2.10', 9000)); ${exchange}`,
  ],
  [
    'a socket bound to a device',
    `s = socket.socket(); s.settimeout(4); s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'eth0'); s.connect(('10.244.2.10', 9000)); ${exchange}`,
  ],
  [
    'TCP fast open',
    `s = socket.socket(); s.sendto(b'ping', 0x20000000, ('10.244.2.10', 9000)); s.settimeout(4); print(s.recv(10).decode())`,
  ],
  [
    'a non-blocking socket that calls connect() again',
    `s = socket.socket(); s.setblocking(False); a = ('10.244.2.10', 9000)
s.connect_ex(a); select.select([], [s], [], 4); r = s.connect_ex(a); assert r in (0, errno.EISCONN), r
s.setblocking(True); ${exchange}`,
  ],
  [
    'a socket that is dissolved by AF_UNSPEC and dials again',
    `import ctypes
s = socket.socket(); s.settimeout(4); s.connect(('10.244.1.12', 6379)) if False else s.connect(('10.244.2.10', 9000))
libc = ctypes.CDLL(None); libc.connect(s.fileno(), struct.pack('H14s', 0, b''), 16)
s.connect(('10.244.2.10', 9000)); assert s.getpeername() == ('10.244.2.10', 9000), s.getpeername(); ${exchange}`,
  ],
];
for (const [name, code] of ways) {
  test(`${name} is captured and authorized by identity`, async () => {
    const before = records('node-b').length;
    assert.equal(await client('weft-web', code), 'ping');
    const record = await until('the record', 30_000, () =>
      records('node-b')
        .slice(before)
        .find(({ path }) => path === 'inbound-hbone'),
    );
    assert.equal(record.source.identity, 'spiffe://cluster.local/ns/shop/sa/web');
  });
}

test('io_uring is captured and authorized by identity', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-t-'));
  try {
    const program = join(dir, 'uring');
    sh('cc', ['-O2', '-Wall', '-Werror', '-o', program, join(programs, 'uring.c')]);
    const before = records('node-b').length;
    const { stdout, stderr } = await run('weft-web', program, ['10.244.2.10', '9000'], 10_000);
    assert.equal(stdout.trim(), 'ping', stderr);
    const record = await until('the record', 30_000, () =>
      records('node-b')
        .slice(before)
        .find(({ path }) => path === 'inbound-hbone'),
    );
    assert.equal(record.source.identity, 'spiffe://cluster.local/ns/shop/sa/web');
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test('a connection of raw packets does not reach a strict pod, but does reach a pod outside the mesh', async () => {
  const source = '10.244.1.99';
  const link = JSON.parse(sh('ip', ['-j', '-n', 'weft-web', 'link', 'show', 'eth0'])) as {
    address: string;
  }[];
  sh('ip', [
    '-n',
    'weft-node-a',
    'neigh',
    'replace',
    source,
    'lladdr',
    link[0]?.address ?? '',
    'dev',
    'pods',
  ]);
  const raw = async (to: string): Promise<string> => {
    const { stdout, stderr } = await run(
      'weft-web',
      'python3',
      [join(programs, 'rawsyn.py'), to, '9000', source],
      20_000,
    );
    return stdout.trim() || stderr;
  };
  // Unacknowledged bytes are sent again.
  assert.match(await raw('10.244.2.20'), /^answered (ping)+$/);
  const before = records('node-b').length;
  assert.match(await raw('10.244.2.10'), /^(answered|reset|silence)$/);
  const refused = await until('the refusal', 30_000, () =>
    records('node-b')
      .slice(before)
      .find(({ path }) => path === 'refused'),
  );
  assert.equal(refused.policy, 'shop/weft-strict-namespace');
});

test('MPTCP is refused to an enrolled pod, so that applications fall back to TCP', async () => {
  assert.match(
    await client('weft-web', "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262); print('made')"),
    /Errno 93|Protocol not supported/,
  );
});

test('connections over loopback and to the pod itself are not captured', async () => {
  assert.equal(await client('weft-api', connect('127.0.0.1', 9000)), 'ping');
  assert.equal(await client('weft-api', connect('::1', 9000)), 'ping');
  assert.equal(await client('weft-api', connect('10.244.2.10', 9000)), 'ping');
});

test('a pod reaches itself through its own service', async () => {
  assert.equal(await client('weft-api', connect('10.96.0.10', 9000)), 'ping');
});

test('strict mode refuses plaintext from a pod outside the mesh, from the node and over IPv6', async () => {
  for (const netns of ['weft-outsider', 'weft-node-a', 'weft-node-b']) {
    for (const ip of ['10.244.2.10', 'fd00:244:2::10']) {
      assert.match(
        await client(netns, connect(ip, 9000)),
        /ConnectionResetError|ConnectionRefusedError|BrokenPipeError|^$/,
        `${netns} ${ip}`,
      );
    }
  }
  const refused = records('node-b').filter(
    ({ path, policy }) => path === 'refused' && policy === 'shop/weft-strict-namespace',
  );
  assert.ok(refused.length >= 2);
});

test("the pod's own node reaches the port declared as a probe, and no other port; other nodes reach neither", async () => {
  assert.equal(await client('weft-node-b', connect('10.244.2.30', 8081)), 'ping');
  assert.notEqual(await client('weft-node-b', connect('10.244.2.30', 9000)), 'ping');
  assert.notEqual(await client('weft-node-a', connect('10.244.2.30', 8081)), 'ping');
});

test("the agent's ports accept no connections from elsewhere", async () => {
  for (const port of [15001, 15006]) {
    for (const netns of ['weft-outsider', 'weft-node-b', 'weft-api']) {
      assert.match(await client(netns, connect('10.244.2.10', port)), /refused|reset/i, `${netns} ${port}`);
    }
  }
});

test('the tunnel port refuses peers without a certificate, whatever they send', async () => {
  for (const bytes of [
    "b'\\x16\\x03\\x01' + os.urandom(500)",
    "b'GET / HTTP/1.1\\r\\n\\r\\n'",
    'os.urandom(3000)',
  ]) {
    const output = await client(
      'weft-outsider',
      `s = socket.create_connection(('10.244.2.10', 15008), 4); s.settimeout(15)
try:
    s.sendall(${bytes}); d = b'x'
    while d: d = s.recv(4096)
    print('closed')
except OSError: print('closed')`,
    );
    assert.equal(output, 'closed');
  }
  assert.equal(await client('weft-web', connect('10.244.2.10', 9000)), 'ping');
});

test('connections to an excluded port are not captured; others are', async () => {
  const before = records('node-b').length;
  assert.equal(await client('weft-probed', connect('10.244.2.20', 7777)), 'ping');
  assert.equal(await client('weft-probed', connect('10.244.2.20', 9000)), 'ping');
  await until('the record of the captured connection', 30_000, () =>
    records('node-b')
      .slice(before)
      .some(({ dialled }) => dialled === '10.244.2.20:9000'),
  );
  const seen = records('node-b')
    .slice(before)
    .filter(({ source }) => source.pod === 'probed')
    .map(({ dialled }) => dialled);
  assert.deepEqual(seen, ['10.244.2.20:9000']);
});

test('the next connect() to a refused destination fails at once', async () => {
  // The refusal is remembered for 300 ms. One program connects again at once, and once more in case something delayed it beyond that.
  const dead = `
connecting, seen = True, []
for _ in range(20):
    try:
        connecting = True
        s = socket.create_connection(('10.244.2.20', 1), 4); connecting = False
        s.recv(1); seen.append('open')
    except OSError as e: seen.append('connect' if connecting and e.errno == 111 else 'reset' if e.errno == 104 else str(e))
    if seen[-1] == 'connect': break
print(seen[0], seen[-1])`;
  assert.equal(await client('weft-web', dead), 'reset connect');
});

test('1 000 connections opened and closed at once all succeed, and no handoff record is left', async () => {
  const output = await client(
    'weft-web',
    `import threading
ok = []
def one():
    try:
        s = socket.create_connection(('10.244.2.10', 9000), 15); s.settimeout(15); s.sendall(b'x'); ok.append(s.recv(1)); s.close()
    except OSError as e: ok.append(e)
ts = [threading.Thread(target=one) for _ in range(1000)]
[t.start() for t in ts]; [t.join() for t in ts]
print(sum(1 for o in ok if o == b'x'))`,
  );
  assert.equal(output, '1000');
  const notes = (): object[] =>
    JSON.parse(
      sh('bpftool', ['-j', 'map', 'dump', 'pinned', join(new Datapath('node-a').dir, 'weft_notes')]),
    ) as object[];
  await until('no note is left', 30_000, () => notes().length === 0);
});

test('simultaneous bulk data in both directions over one tunnel connection arrives complete', async () => {
  const output = await client(
    'weft-web',
    `import threading
size, block = 64 << 20, bytes(1 << 16)
sums = []
def one():
    s = socket.create_connection(('10.244.2.10', 9000), 15)
    def send():
        for _ in range(size // len(block)): s.sendall(block)
        s.shutdown(socket.SHUT_WR)
    t = threading.Thread(target=send); t.start()
    got = 0
    while True:
        d = s.recv(1 << 16)
        if not d: break
        got += len(d)
    t.join(); sums.append(got == size)
ts = [threading.Thread(target=one) for _ in range(4)]
[t.start() for t in ts]; [t.join() for t in ts]
print(sums)`,
    60_000,
  );
  assert.equal(output, '[True, True, True, True]');
});

test('a pod whose service account changes presents only the certificate of the new one', async () => {
  const call = connect('10.244.2.30', 9000);
  assert.equal(await client('weft-web', call), 'ping');
  const of = (account: string): void =>
    writeFileSync(
      join(manifests, 'more.yaml'),
      outsider.replace('serviceAccountName: probed', `serviceAccountName: ${account}`),
    );
  // Its node already has a certificate of that identity, and gets no other for hours.
  of('api');
  const before = records('node-b').length;
  await until('the pod is reached with its new identity', 30_000, async () => {
    const output = await client('weft-web', call);
    return (
      output === 'ping' &&
      records('node-b')
        .slice(before)
        .some(
          ({ path, destination }) =>
            path === 'inbound-hbone' && destination.identity === 'spiffe://cluster.local/ns/shop/sa/api',
        )
    );
  });
  for (let i = 0; i < 3; i++) assert.equal(await client('weft-web', call), 'ping');
  of('probed');
  await until(
    'the pod is reached with its former identity again',
    30_000,
    async () => (await client('weft-web', call)) === 'ping',
  );
});

test('an invalid policy is reported with file, line and field, and closes what it selects until it is removed', async () => {
  writeFileSync(
    join(manifests, 'bad.yaml'),
    'kind: AccessPolicy\nmetadata: { name: x, namespace: shop }\nspec: { action: NO, rules: [] }\n',
  );
  await until('the refusal', 30_000, () => testbed.log('control').includes('bad.yaml:3: spec.action'));
  const call = connect('10.244.2.10', 9000);
  await until('the pod is closed', 30_000, async () => (await client('weft-web', call)) !== 'ping');
  await until('its line says why', 30_000, () =>
    records('node-b').some(({ code, why }) => code === 'WEFT_DENIED' && why.startsWith('policy shop/x')),
  );
  rmSync(join(manifests, 'bad.yaml'));
  await until('the pod is open again', 30_000, async () => (await client('weft-web', call)) === 'ping');
});

test('a network namespace deleted under a running agent affects only its own pod', async () => {
  sh('ip', ['netns', 'del', 'weft-intruder']);
  await until(
    'the agent has let go',
    30_000,
    () => !testbed.readyState('node-a').pods.some(({ uid }) => uid.endsWith('/intruder')),
  );
  assert.equal(await client('weft-web', connect('10.244.2.10', 9000)), 'ping');
});

test('connections to a node with a killed agent fail at once, also over an open tunnel, and succeed after its restart', async () => {
  await testbed.stop('agent-node-b', 'SIGKILL');
  // A carrier outlives its agent.
  if (testbed.relay === 'carrier') await testbed.stop(carrierProcess('node-b'), 'SIGKILL');
  assert.match(await client('weft-web', connect('10.244.2.10', 9000)), /refused|reset/i);
  const statusOfNode = async (): Promise<string> => {
    const { ready, why = '' } = (await statusOf(state)).nodes.find(({ node }) => node === 'node-b') ?? {};
    return ready ? 'ready' : why;
  };
  assert.match(await statusOfNode(), /^its agent has ended \(.*agent-node-b\.log/);
  // Under another name, as one that was started by hand: the testbed's own agent stays the one that has ended.
  testbed.startAgent('node-b', undefined, 'by-hand');
  await until(
    'served again',
    30_000,
    async () => (await client('weft-web', connect('10.244.2.10', 9000))) === 'ping',
  );
  assert.equal(await statusOfNode(), 'ready');
  testbed.rename('by-hand', 'agent-node-b');
});

test('an agent without free descriptors refuses connections and recovers', async () => {
  const pid = testbed.mark('agent-node-a')?.pid;
  const open = readdirCount(`/proc/${pid}/fd`);
  const usual = sh('prlimit', ['--pid', String(pid), '--nofile', '-o', 'SOFT', '--noheadings']).trim();
  sh('prlimit', ['--pid', String(pid), `--nofile=${open + 8}:`]);
  const burst = `
ss = []
for _ in range(60):
    try: s = socket.create_connection(('10.244.2.10', 9000), 1); ss.append(s)
    except OSError: pass
print('done')`;
  assert.equal(await client('weft-web', burst), 'done');
  sh('prlimit', ['--pid', String(pid), `--nofile=${usual}:`]);
  await until(
    'served again',
    30_000,
    async () => (await client('weft-web', connect('10.244.2.10', 9000))) === 'ping',
  );
});

function readdirCount(path: string): number {
  return sh('ls', [path]).split('\n').filter(Boolean).length;
}

test('down leaves nothing behind, also of a testbed whose creator was killed', async () => {
  const other = '/run/weft/test-killed';
  const dir = mkdtempSync(join(tmpdir(), 'weft-killed-'));
  for (const file of ['mesh.yaml', 'namespace.yaml']) {
    writeFileSync(
      join(dir, file),
      readFileSync(join(projectRoot, 'src', 'cli', 'demo', 'manifests', file), 'utf8')
        .replace(/weft-(node-a|node-b|web|intruder|cache|api) /g, 'weft-k-$1 ')
        .replaceAll('name: node-', 'name: k-node-')
        .replaceAll('nodeName: node-', 'nodeName: k-node-')
        .replaceAll('netns: weft-', 'netns: weft-k-'),
    );
  }
  await tearDown(state);
  const up = spawn(
    process.execPath,
    [join(projectRoot, 'dist', 'src', 'cli', 'weft.js'), 'standalone', 'up', '-f', dir, '--state', other],
    { stdio: 'ignore' },
  );
  await until('an agent has started', 30_000, () => existsSync(join(other, 'agent-k-node-a.log')));
  up.kill('SIGKILL');
  await sleep(500);
  assert.equal(await tearDown(other), true);
  rmSync(dir, { recursive: true });
  const left = sh('ip', ['netns', 'list'])
    .split('\n')
    .filter((line) => line.startsWith('weft-') && !line.startsWith('weft-t-'));
  assert.deepEqual(left, []);
  assert.equal(existsSync('/sys/fs/bpf/weft'), false);
  assert.equal(existsSync(other), false);
});
