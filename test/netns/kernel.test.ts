import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { adminGet, adminPort } from '../../src/cli/admin.js';
import { sleep, until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { agentProcess, Testbed, tearDown } from '../../src/cli/standalone/testbed.js';
import { formatSocketAddress, parseIp, type SocketAddress } from '../../src/model/address.js';
import { bucketOf, preferredOf } from '../../src/state/affinity.js';
import { hold } from '../support/held.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';
import { connectionRecords } from '../support/records.js';

const state = '/run/weft/test-kernel';
const manifests = mkdtempSync(join(tmpdir(), 'weft-manifests-'));
const spliceBytesMax = 512 << 10;
const spliceNodeBytesMax = 64 << 20;
const leaseMs = 4_000;
const [cache, cache6, cache2, secret, plainly] = [
  '10.244.1.12',
  'fd00:244:1::12',
  '10.244.1.13',
  '10.244.1.20',
  '10.244.1.21',
];
const cacheVip = '10.96.0.12';
let testbed: Testbed;

const more = `
apiVersion: v1
kind: Pod
metadata: { name: secret, namespace: shop, annotations: { weft.dev/netns: weft-secret, weft.dev/same-node: encrypted } }
spec: { nodeName: node-a, serviceAccountName: secret }
status: { podIPs: [{ ip: 10.244.1.20 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: plainly, namespace: shop, annotations: { weft.dev/netns: weft-plainly, weft.dev/splice-off-ports: '9000' } }
spec: { nodeName: node-a, serviceAccountName: plainly }
status: { podIPs: [{ ip: 10.244.1.21 }] }
`;
const write = (file: string, text: string): void => writeFileSync(join(manifests, file), text);
const remove = (file: string): void => rmSync(join(manifests, file), { force: true });
const denying = (name: string, account: string, extra = ''): string => `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: ${name}, namespace: shop }
spec: { action: DENY, ${extra}rules: [{ from: [{ serviceAccounts: [${account}] }] }] }
`;

/** Echoes by sockets that do not block; on port 9002 by sockets that do. On 9001 it takes one byte and reads no more. */
const server = `
import socket, threading, sys, asyncio, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
port = int(sys.argv[1])
s = socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
held = []
def serve(c, who):
    try:
        while True:
            d = c.recv(65536)
            if not d: break
            c.sendall(d)
    except OSError: print('reset', who[0].replace('::ffff:', ''), flush=True)
    c.close()
async def echo(reader, writer):
    try:
        while True:
            d = await reader.read(65536)
            if not d: break
            writer.write(d)
            await writer.drain()
    except OSError: pass
    writer.close()
async def main():
    served = await asyncio.start_server(echo, sock=s)
    await served.serve_forever()
if port not in (9001, 9002): asyncio.run(main())
while True:
    c, who = s.accept()
    if port == 9001:
        c.settimeout(10)
        c.sendall(c.recv(1))
        held.append(c)
    else: threading.Thread(target=serve, args=(c, who), daemon=True).start()
`;
async function client(netns: string, code: string, timeoutMs = 20_000): Promise<string> {
  const all = `import socket, struct, errno, select, time\n${code}`;
  const { code: status, stdout, stderr } = await run(netns, 'python3', ['-c', all], timeoutMs);
  return status === 0 ? stdout.trim() : (stderr.trim().split('\n').at(-1) ?? '');
}
const exchange = "s.sendall(b'ping'); print(s.recv(10).decode())";
const dial = (ip: string, port = 9000): string => `s = socket.create_connection(('${ip}', ${port}), 4)`;
const ping = (netns: string, ip: string, port = 9000): Promise<string> =>
  client(netns, `${dial(ip, port)}; ${exchange}`);

const records = (): ConnectionRecord[] => connectionRecords(testbed.runDir('node-a'));
const recordAfter = (at: number, find: (record: ConnectionRecord) => boolean): Promise<ConnectionRecord> =>
  until('the record', 30_000, () => records().slice(at).find(find));
async function dump<T>(): Promise<T> {
  return JSON.parse(await adminGet('weft-node-a', adminPort, '/dump')) as T;
}
const allowedSoFar = async (): Promise<number> =>
  (await dump<{ kernel: Record<string, number> }>()).kernel['kernel-allowed'] ?? 0;
/** Connects until the kernel carries this pair: a verdict is asked for by the first connection. */
async function warm(netns: string, ip: string, port = 9000): Promise<void> {
  await until(`the kernel carries ${netns} to ${ip}`, 30_000, async () => {
    const before = await allowedSoFar();
    await client(netns, dial(ip, port));
    return (await allowedSoFar()) > before;
  });
  await sleep(150);
}

before(async () => {
  await tearDown(state);
  cpSync(join(projectRoot, 'src', 'cli', 'demo', 'manifests'), manifests, { recursive: true });
  write('more.yaml', more);
  write(
    'namespace.yaml',
    'kind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mesh: enabled, weft.dev/mode: strict }, annotations: { weft.dev/splice: "on" } }\n',
  );
  testbed = Testbed.create({
    from: manifests,
    state,
    workers: 1,
    agentFlags: [
      '--splice-bytes-max',
      String(spliceBytesMax),
      '--splice-node-bytes-max',
      String(spliceNodeBytesMax),
      '--verdict-lease-ms',
      String(leaseMs),
    ],
  });
  for (const pod of ['cache', 'cache-2', 'secret', 'plainly']) {
    for (const port of [6379, 9000, 9001, 9002])
      testbed.start(`${pod}-${port}`, `weft-${pod}`, 'python3', ['-c', server, String(port)]);
  }
  await testbed.up();
});
after(async () => {
  await tearDown(state);
  rmSync(manifests, { recursive: true, force: true });
});

const ways: [name: string, ip: string, code: string][] = [
  ['a v4 socket', cache, `${dial(cache)}; ${exchange}`],
  ['a v6 socket', cache6, `${dial(cache6)}; ${exchange}`],
  [
    'a dual-stack socket dialling a v4-mapped address',
    cache,
    `s = socket.socket(socket.AF_INET6); s.settimeout(4); s.connect(('::ffff:${cache}', 9000)); ${exchange}`,
  ],
  [
    'a socket bound to a source address',
    cache,
    `s = socket.socket(); s.settimeout(4); s.bind(('10.244.1.10', 0)); s.connect(('${cache}', 9000)); ${exchange}`,
  ],
  [
    'a socket bound to a device',
    cache,
    `s = socket.socket(); s.settimeout(4); s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'eth0'); s.connect(('${cache}', 9000)); ${exchange}`,
  ],
  [
    'TCP fast open',
    cache,
    `s = socket.socket(); s.sendto(b'ping', 0x20000000, ('${cache}', 9000)); s.settimeout(4); print(s.recv(10).decode())`,
  ],
  [
    'a non-blocking socket that calls connect() again',
    cache,
    `s = socket.socket(); s.setblocking(False); a = ('${cache}', 9000)
s.connect_ex(a); select.select([], [s], [], 4); r = s.connect_ex(a); assert r in (0, errno.EISCONN), r
s.setblocking(True); ${exchange}`,
  ],
  [
    'a socket that is dissolved by AF_UNSPEC and dials again',
    cache,
    `import ctypes
s = socket.socket(); s.settimeout(4); s.connect(('${cache}', 9000))
libc = ctypes.CDLL(None); libc.connect(s.fileno(), struct.pack('H14s', 0, b''), 16)
s.connect(('${cache}', 9000)); assert s.getpeername() == ('${cache}', 9000), s.getpeername(); ${exchange}`,
  ],
];
for (const [name, ip, code] of ways) {
  test(`${name} is carried by the kernel, by identity, and counted to the byte`, async () => {
    await warm('weft-web', ip);
    const at = records().length;
    assert.equal(await client('weft-web', code), 'ping');
    const record = await recordAfter(at, (r) => r.path === 'kernel' && r.bytesSent > 0);
    assert.equal(record.source.identity, 'spiffe://cluster.local/ns/shop/sa/web');
    assert.equal(record.destination.identity, 'spiffe://cluster.local/ns/shop/sa/cache');
    assert.deepEqual([record.bytesSent, record.bytesReceived], [4, 4]);
  });
}

test('the client sees the service that it dialled, and its own address', async () => {
  await warm('weft-web', cacheVip, 6379);
  const answer = await client(
    'weft-web',
    `${dial(cacheVip, 6379)}; print(s.getpeername(), s.getsockname()[0])`,
  );
  assert.equal(answer, "('10.96.0.12', 6379) 10.244.1.10");
});

for (const [port, kind] of [
  [9000, 'spliced where neither end blocks'],
  [9002, 'left to TCP where one blocks'],
] as const) {
  test(`bulk both ways at once comes through whole and in order, ${kind}`, async () => {
    await warm('weft-web', cache, port);
    const at = records().length;
    const answer = await client(
      'weft-web',
      `import threading, hashlib
good = []
def one(seed):
    s = socket.create_connection(('${cache}', ${port}), 5); s.settimeout(30)
    block = hashlib.sha512(seed).digest() * 2000
    sent, got, total = hashlib.sha256(), hashlib.sha256(), 0
    def send():
        for i in range(300):
            piece = block[i:]; s.sendall(piece); sent.update(piece)
        s.shutdown(socket.SHUT_WR)
    t = threading.Thread(target=send); t.start()
    while True:
        d = s.recv(1 << 16)
        if not d: break
        got.update(d); total += len(d)
    t.join(); good.append((sent.digest() == got.digest(), total))
ts = [threading.Thread(target=one, args=(bytes([i]),)) for i in range(4)]
[t.start() for t in ts]; [t.join() for t in ts]
print(good)`,
      60_000,
    );
    const bytes = 300 * 128_000 - (300 * 299) / 2;
    assert.equal(answer, `[${Array(4).fill(`(True, ${bytes})`).join(', ')}]`);
    const all = await until('all are logged', 30_000, () => {
      const found = records()
        .slice(at)
        .filter(({ path, bytesSent }) => path === 'kernel' && bytesSent > 0);
      return found.length >= 4 && found;
    });
    for (const { bytesSent, bytesReceived, bytesSpliced = 0 } of all) {
      assert.deepEqual([bytesSent, bytesReceived], [bytes, bytes]);
      assert.equal(bytesSpliced > 0, port === 9000, `${bytesSpliced} bytes past TCP`);
    }
  });
}

test('a signal interrupts a call that waits as it does without the mesh', async () => {
  await warm('weft-web', cache, 9002);
  const answer = await client(
    'weft-web',
    `import signal, threading
${dial(cache, 9002)}; s.settimeout(None); s.sendall(b'x'); s.recv(1)
signal.signal(signal.SIGALRM, lambda *_: print('signal')); signal.setitimer(signal.ITIMER_REAL, 0.2)
threading.Timer(0.5, lambda: s.sendall(b'y')).start()
print(s.recv(1))`,
  );
  assert.equal(answer, "signal\nb'y'");
});

test('a reader that does not read holds its sender up, and no more than the limit waits past TCP', async () => {
  await warm('weft-web', cache, 9001);
  const answer = await client(
    'weft-web',
    `${dial(cache, 9001)}; s.sendall(b'x'); s.recv(1); s.setblocking(False)
block, sent, until = bytes(1 << 16), 0, time.time() + 2
while time.time() < until:
    try: sent += s.send(block)
    except BlockingIOError: break
print(sent)`,
  );
  const sent = Number(answer);
  assert.ok(sent >= spliceBytesMax && sent < 64 << 20, `sent ${answer}`);
  // The server holds it open: the live table tells.
  const live = await until('the connection is listed', 30_000, async () => {
    const { connections } = await dump<{ connections: ConnectionRecord[] }>();
    return [...connections, ...records()].find(
      ({ path, destination, bytesSent }) =>
        path === 'kernel' && destination.address === `${cache}:9001` && bytesSent >= sent,
    );
  });
  assert.ok((live.bytesSpliced ?? 0) > 0);
  // One byte each way was read.
  assert.ok((live.bytesSpliced ?? Infinity) <= spliceBytesMax + 2, `${live.bytesSpliced} bytes past TCP`);
});

test('messages to and fro go past TCP, all but those of the first moment', async () => {
  await warm('weft-web', cache);
  for (let round = 0; round < 5; round++) {
    const at = records().length;
    const answer = await client(
      'weft-web',
      `import asyncio
async def main():
    r, w = await asyncio.open_connection('${cache}', 9000)
    for _ in range(500):
        w.write(bytes(128)); await r.readexactly(128)
    w.close()
asyncio.run(main()); print('done')`,
    );
    assert.equal(answer, 'done');
    const { bytesSent, bytesSpliced = 0 } = await recordAfter(at, (r) => r.bytesSent > 0);
    assert.equal(bytesSent, 500 * 128);
    assert.ok(bytesSpliced > 2 * bytesSent * 0.95, `${bytesSpliced} of ${2 * bytesSent}`);
  }
});

test('10 000 readers that do not read: each sender is held up, and what waits past TCP for all together has its limit', async () => {
  const slow = 10_000;
  await warm('weft-web', cache, 9001);
  const answer = await client(
    'weft-web',
    `import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
all = []
block = bytes(4096)
for _ in range(${slow}):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096); s.settimeout(10)
    s.connect(('${cache}', 9001)); s.sendall(b'x'); s.recv(1); s.setblocking(False); all.append(s)
    for _ in range(1000):
        try: s.send(block)
        except BlockingIOError: break
    else: print('never held up')
print(len(all))
time.sleep(1.5)`,
    60_000,
  );
  assert.equal(answer, String(slow));
  // The server holds them open: the live table tells.
  const { connections } = await dump<{ connections: ConnectionRecord[] }>();
  const spliced = connections.filter(
    ({ path, destination, bytesSent }) =>
      path === 'kernel' && destination.address === `${cache}:9001` && bytesSent > 4096,
  );
  assert.ok(spliced.length >= slow * 0.99, `${spliced.length} of ${slow} were flooded`);
  const total = spliced.reduce((sum, { bytesSpliced = 0 }) => sum + bytesSpliced, 0);
  // Each CPU may be 1 MiB ahead of the kernel's count.
  const bound = spliceNodeBytesMax + availableParallelism() * (1 << 20);
  assert.ok(total > 0 && total <= bound, `${total} bytes past TCP`);
});

test('a port whose splice is off stays on TCP', async () => {
  await warm('weft-web', plainly);
  const at = records().length;
  assert.equal(await ping('weft-web', plainly), 'ping');
  const record = await recordAfter(at, (r) => r.path === 'kernel' && r.destination.pod === 'plainly');
  assert.deepEqual([record.bytesSent, record.bytesReceived, record.bytesSpliced], [4, 4, 0]);
});

const unspliced: [name: string, code: string, said: string][] = [
  [
    'zero-copy writes asked for before',
    `s = socket.socket(); s.settimeout(4); s.setsockopt(1, 60, 1); s.connect(('${cache}', 9000)); ${exchange}`,
    'ping',
  ],
  [
    'a low-water mark for reads set before',
    `s = socket.socket(); s.settimeout(4); s.setsockopt(1, 18, 2); s.connect(('${cache}', 9000)); ${exchange}`,
    'ping',
  ],
  [
    'a low-water mark for reads set once it is open',
    `${dial(cache)}; s.setsockopt(1, 18, 2); ${exchange}`,
    'ping',
  ],
];
for (const [name, code, said] of unspliced) {
  test(`${name} keeps a connection on TCP`, async () => {
    await warm('weft-web', cache);
    const at = records().length;
    assert.equal(await client('weft-web', code), said);
    const record = await recordAfter(at, (r) => r.path === 'kernel' && r.bytesSent > 0);
    assert.deepEqual([record.bytesSent, record.bytesReceived, record.bytesSpliced], [4, 4, 0]);
  });
}

test('TLS in the kernel and zero-copy writes are refused to a spliced socket as by a kernel without them', async () => {
  await warm('weft-web', cache);
  const answer = await client(
    'weft-web',
    `${dial(cache)}
def attempt(level, option, value):
    try: s.setsockopt(level, option, value); return 'taken'
    except OSError as e: return errno.errorcode[e.errno]
print(attempt(6, 31, b'tls'), attempt(1, 60, 1)); ${exchange}`,
  );
  assert.equal(answer, 'ENOENT ENOTSUP\nping');
});

test('sameNode: encrypted goes by mutual TLS on one node too, whichever end asks for it', async () => {
  for (const [from, to] of [
    ['weft-web', secret],
    ['weft-secret', cache],
  ] as const) {
    for (let i = 0; i < 2; i++) {
      const at = records().length;
      assert.equal(await ping(from, to), 'ping');
      const record = await recordAfter(
        at,
        (r) => r.direction === 'outbound' && `weft-${r.source.pod}` === from && r.dialled === `${to}:9000`,
      );
      assert.deepEqual([record.path, record.why], ['hbone', 'same-node-encrypted']);
    }
  }
});

test('a change of policy cuts what it forbids, at both ends, and disturbs nothing else', async () => {
  await warm('weft-web', cache, 9002);
  await warm('weft-intruder', cache, 9002);
  const [kept, forbidden] = [hold('weft-web', cache, 9002), hold('weft-intruder', cache, 9002)];
  try {
    assert.equal(await kept.ask(), 'hello');
    assert.equal(await forbidden.ask(), 'hello');
    const at = records().length;
    write('policy.yaml', denying('no-intruder', 'shop/intruder'));
    const record = await recordAfter(at, (r) => r.ended.startsWith('cut'));
    assert.match(record.ended, /shop\/no-intruder/);
    assert.equal(record.source.pod, 'intruder');
    assert.match(await forbidden.ask(), /ECONNRESET|ECONNABORTED|EPIPE/);
    await until('the server has seen it', 30_000, () =>
      testbed.log('cache-9002').includes('reset 10.244.1.11'),
    );
    assert.equal(await kept.ask(), 'hello');
    // The verdict of before does not count any more.
    assert.match(await ping('weft-intruder', cache, 9002), /reset|refused/i);
    const denied = await recordAfter(at, (r) => r.path === 'refused');
    assert.equal(denied.policy, 'shop/no-intruder');
  } finally {
    kept.end();
    forbidden.end();
    remove('policy.yaml');
  }
});

test('what a policy in audit mode would deny is counted by the agent, not carried past it', async () => {
  await warm('weft-web', cache2);
  write('policy.yaml', denying('watch', 'shop/web', 'mode: audit, '));
  try {
    await until('the audit is there', 30_000, async () => {
      const at = records().length;
      assert.equal(await ping('weft-web', cache2), 'ping');
      const record = await recordAfter(at, (r) => r.source.pod === 'web');
      return record.path === 'local' && record.audited?.includes('shop/watch');
    });
  } finally {
    remove('policy.yaml');
  }
});

/** Where twelve connections to the service went; undefined while not all of them go by the kernel. */
async function spread(): Promise<string[] | undefined> {
  const at = records().length;
  await client('weft-web', `for _ in range(12): ${dial(cacheVip, 6379)}; ${exchange}`);
  const found = await until('all are logged', 30_000, () => {
    const mine = records()
      .slice(at)
      .filter(({ dialled }) => dialled === `${cacheVip}:6379`);
    return mine.length >= 12 && mine;
  });
  return found.every(({ path }) => path === 'kernel')
    ? [...new Set(found.map(({ destination }) => destination.pod))].sort()
    : undefined;
}

test('a service is balanced at connect(), and an endpoint that is not ready takes no new connections', async () => {
  await until('both take connections', 30_000, async () => (await spread())?.length === 2);
  const mesh = readFileSync(join(manifests, 'mesh.yaml'), 'utf8');
  const podIps = "podIPs: [{ ip: 10.244.1.13 }, { ip: 'fd00:244:1::13' }]";
  assert.ok(mesh.includes(podIps));
  write('mesh.yaml', mesh.replace(podIps, `${podIps}, conditions: [{ type: Ready, status: 'False' }]`));
  try {
    await until('the agent knows', 30_000, async () => {
      const { workloads } = await dump<{ workloads: { name: string; healthy: boolean }[] }>();
      return workloads.some(({ name, healthy }) => name === 'cache-2' && !healthy);
    });
    for (let i = 0; i < 2; i++) assert.deepEqual(await until('by the kernel', 30_000, spread), ['cache']);
  } finally {
    write('mesh.yaml', mesh);
  }
});

test('with session affinity all connections of a pod go to one endpoint, by the agent and by the kernel, of v4 and v6', async () => {
  const mesh = readFileSync(join(manifests, 'mesh.yaml'), 'utf8');
  const clusterIps = "clusterIPs: [10.96.0.12, 'fd00:96::12']";
  assert.ok(mesh.includes(clusterIps));
  write('mesh.yaml', mesh.replace(clusterIps, `${clusterIps}\n  sessionAffinity: ClientIP`));
  const endpoints = {
    [cacheVip]: ['10.244.1.12', '10.244.1.13'],
    'fd00:96::12': ['fd00:244:1::12', 'fd00:244:1::13'],
  };
  const clients = {
    'weft-web': ['10.244.1.10', 'fd00:244:1::10'],
    'weft-intruder': ['10.244.1.11', 'fd00:244:1::11'],
  };
  const socketAddress = (ip: string): SocketAddress => ({ ip: parseIp(ip), port: 6379 });
  try {
    await until('the agent knows', 30_000, async () => {
      const { services } = await dump<{ services: { name: string; sessionAffinity?: string }[] }>();
      return services.some(
        ({ name, sessionAffinity }) => name === 'cache' && sessionAffinity === 'client-ip',
      );
    });
    for (const [netns, [ip4 = '', ip6 = '']] of Object.entries(clients)) {
      for (const [vip, from] of Object.entries(endpoints)) {
        const bucket = bucketOf(parseIp(vip.includes(':') ? ip6 : ip4));
        const expected = preferredOf(from, socketAddress, bucket) ?? '';
        const at = records().length;
        await client(netns, `for _ in range(8): ${dial(vip, 6379)}; ${exchange}; time.sleep(0.1)`);
        const mine = await until('all are logged', 30_000, () => {
          const found = records().slice(at);
          return found.length >= 8 && found;
        });
        assert.ok(
          mine.some(({ path }) => path === 'kernel'),
          `${netns} to ${vip}`,
        );
        for (const { destination } of mine)
          assert.equal(
            destination.address,
            formatSocketAddress(socketAddress(expected)),
            `${netns} to ${vip}`,
          );
      }
    }
  } finally {
    write('mesh.yaml', mesh);
  }
});

test('with the agent dead decided pairs connect while the lease lasts, then nobody; live ones go on throughout', async () => {
  await warm('weft-web', cache);
  const live = hold('weft-web', cache);
  try {
    assert.equal(await live.ask(), 'hello');
    await testbed.stop(agentProcess('node-a'), 'SIGKILL');
    assert.equal(await ping('weft-web', cache), 'ping');
    await until('the lease is over', leaseMs + 5_000, async () =>
      (await ping('weft-web', cache)).includes('refused'),
    );
    assert.equal(await live.ask(), 'hello');
    testbed.startAgent('node-a');
    await testbed.waitReady();
    assert.equal(await live.ask(), 'hello');
    await until('new ones connect', 30_000, async () => (await ping('weft-web', cache)) === 'ping');
    const { connections } = await dump<{ connections: ConnectionRecord[] }>();
    assert.ok(
      connections.some(({ path, bytesSent }) => path === 'kernel' && bytesSent === 18),
      'the new agent lists it',
    );
  } finally {
    live.end();
  }
});

test('a client that has left the mesh does not keep a connection that a later policy forbids', async () => {
  const whole = readFileSync(join(manifests, 'mesh.yaml'), 'utf8');
  await warm('weft-web', cache, 9002);
  await warm('weft-intruder', cache, 9002);
  const [kept, forbidden] = [hold('weft-web', cache, 9002), hold('weft-intruder', cache, 9002)];
  try {
    assert.equal(await kept.ask(), 'hello');
    assert.equal(await forbidden.ask(), 'hello');
    const held = testbed.readyState('node-a').pods.length;
    write(
      'mesh.yaml',
      whole.replace('labels: { app: intruder }', 'labels: { app: intruder, weft.dev/mesh: disabled }'),
    );
    await until('it has left', 30_000, () => testbed.readyState('node-a').pods.length === held - 1);
    assert.equal(await forbidden.ask(), 'hello', 'leaving cuts nothing');
    write('policy.yaml', denying('no-intruder', 'shop/intruder'));
    await until('it is cut', 30_000, async () => /ECONNRESET|ECONNABORTED|EPIPE/.test(await forbidden.ask()));
    assert.equal(await kept.ask(), 'hello');
  } finally {
    kept.end();
    forbidden.end();
    remove('policy.yaml');
    write('mesh.yaml', whole);
  }
  await testbed.waitReady();
});

test('a pod that leaves the mesh keeps its connections', async () => {
  await warm('weft-web', cache);
  const live = hold('weft-web', cache);
  try {
    assert.equal(await live.ask(), 'hello');
    write('namespace.yaml', 'kind: Namespace\nmetadata: { name: shop }\n');
    await until('all have left', 30_000, () => testbed.readyState('node-a').pods.length === 0);
    assert.equal(await live.ask(), 'hello');
  } finally {
    live.end();
  }
});
