/**
 * Which connections are spliced past TCP and which stay on it. The test measures the TCP memory of the whole machine, so it runs alone
 * (test/run.sh).
 */
import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';
import {
  KernelTestbed,
  spliceBytesMax,
  spliceNodeBytesMax,
  cache,
  plainly,
  client,
  exchange,
  dial,
  ping,
} from '../support/kernel-testbed.js';

const mesh = new KernelTestbed('/run/weft/test-kernel-splice');
before(() => mesh.up());
after(() => mesh.down());

for (const [port, kind] of [
  [9000, 'spliced where neither end blocks'],
  [9002, 'left to TCP where one blocks'],
] as const) {
  test(`simultaneous bulk data in both directions arrives complete and in order, ${kind}`, async () => {
    await mesh.warm('weft-web', cache, port);
    const at = mesh.records().length;
    const output = await client(
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
    assert.equal(output, `[${Array(4).fill(`(True, ${bytes})`).join(', ')}]`);
    const all = await until('all are logged', 30_000, () => {
      const found = mesh
        .records()
        .slice(at)
        .filter(({ path, bytesSent }) => path === 'kernel' && bytesSent > 0);
      return found.length >= 4 && found;
    });
    for (const { bytesSent, bytesReceived, bytesSpliced = 0 } of all) {
      assert.deepEqual([bytesSent, bytesReceived], [bytes, bytes]);
      assert.equal(bytesSpliced > 0, port === 9000, `${bytesSpliced} bytes spliced past TCP`);
    }
  });
}

test('a signal interrupts a blocked call as it does without the mesh', async () => {
  await mesh.warm('weft-web', cache, 9002);
  const output = await client(
    'weft-web',
    `import signal, threading
${dial(cache, 9002)}; s.settimeout(None); s.sendall(b'x'); s.recv(1)
signal.signal(signal.SIGALRM, lambda *_: print('signal')); signal.setitimer(signal.ITIMER_REAL, 0.2)
threading.Timer(0.5, lambda: s.sendall(b'y')).start()
print(s.recv(1))`,
  );
  assert.equal(output, "signal\nb'y'");
});

test('a reader that does not read blocks its sender, and no more spliced bytes than the limit are queued', async () => {
  await mesh.warm('weft-web', cache, 9001);
  const output = await client(
    'weft-web',
    `${dial(cache, 9001)}; s.sendall(b'x'); s.recv(1); s.setblocking(False)
block, sent, until = bytes(1 << 16), 0, time.time() + 2
while time.time() < until:
    try: sent += s.send(block)
    except BlockingIOError: break
print(sent)`,
  );
  const sent = Number(output);
  assert.ok(sent >= spliceBytesMax && sent < 64 << 20, `sent ${output}`);
  // The server keeps the connection open, so the live table lists it.
  const live = await until('the connection is listed', 30_000, async () => {
    const { connections } = await mesh.dump<{ connections: ConnectionRecord[] }>();
    return [...connections, ...mesh.records()].find(
      ({ path, destination, bytesSent }) =>
        path === 'kernel' && destination.address === `${cache}:9001` && bytesSent >= sent,
    );
  });
  assert.ok((live.bytesSpliced ?? 0) > 0);
  // One byte was read in each direction.
  assert.ok(
    (live.bytesSpliced ?? Infinity) <= spliceBytesMax + 2,
    `${live.bytesSpliced} bytes spliced past TCP`,
  );
});

test('request and response messages are spliced past TCP, except for the first ones', async () => {
  await mesh.warm('weft-web', cache);
  for (let round = 0; round < 5; round++) {
    const at = mesh.records().length;
    const output = await client(
      'weft-web',
      `import asyncio
async def main():
    r, w = await asyncio.open_connection('${cache}', 9000)
    for _ in range(500):
        w.write(bytes(128)); await r.readexactly(128)
    w.close()
asyncio.run(main()); print('done')`,
    );
    assert.equal(output, 'done');
    const { bytesSent, bytesSpliced = 0 } = await mesh.recordAfter(at, (r) => r.bytesSent > 0);
    assert.equal(bytesSent, 500 * 128);
    assert.ok(bytesSpliced > 2 * bytesSent * 0.95, `${bytesSpliced} of ${2 * bytesSent}`);
  }
});

test('10 000 readers that do not read: each sender is blocked, and all queued spliced bytes together stay below the limit', async () => {
  const slow = 10_000;
  await mesh.warm('weft-web', cache, 9001);
  const output = await client(
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
    else: print('never blocked')
print(len(all))
time.sleep(1.5)`,
    60_000,
  );
  assert.equal(output, String(slow));
  // The server keeps the connections open, so the live table lists them.
  const { connections } = await mesh.dump<{ connections: ConnectionRecord[] }>();
  const spliced = connections.filter(
    ({ path, destination, bytesSent }) =>
      path === 'kernel' && destination.address === `${cache}:9001` && bytesSent > 4096,
  );
  assert.ok(spliced.length >= slow * 0.99, `${spliced.length} of ${slow} were flooded`);
  const total = spliced.reduce((sum, { bytesSpliced = 0 }) => sum + bytesSpliced, 0);
  // Each CPU may be 1 MiB ahead of the kernel's count.
  const bound = spliceNodeBytesMax + availableParallelism() * (1 << 20);
  assert.ok(total > 0 && total <= bound, `${total} bytes spliced past TCP`);
});

test('a port whose splice is off stays on TCP', async () => {
  await mesh.warm('weft-web', plainly);
  const at = mesh.records().length;
  assert.equal(await ping('weft-web', plainly), 'ping');
  const record = await mesh.recordAfter(
    at,
    (r) => r.path === 'kernel' && r.destination.pod === 'plainly' && r.bytesSent > 0,
  );
  assert.deepEqual([record.bytesSent, record.bytesReceived, record.bytesSpliced], [4, 4, 0]);
});

const unspliced: [name: string, code: string, said: string][] = [
  [
    'zero-copy writes enabled before',
    `s = socket.socket(); s.settimeout(4); s.setsockopt(1, 60, 1); s.connect(('${cache}', 9000)); ${exchange}`,
    'ping',
  ],
  [
    'a low-water mark for reads set before',
    `s = socket.socket(); s.settimeout(4); s.setsockopt(1, 18, 2); s.connect(('${cache}', 9000)); ${exchange}`,
    'ping',
  ],
  [
    'a low-water mark for reads set after the connection is open',
    `${dial(cache)}; s.setsockopt(1, 18, 2); ${exchange}`,
    'ping',
  ],
];
for (const [name, code, said] of unspliced) {
  test(`${name} keeps a connection on TCP`, async () => {
    await mesh.warm('weft-web', cache);
    const at = mesh.records().length;
    assert.equal(await client('weft-web', code), said);
    const record = await mesh.recordAfter(at, (r) => r.path === 'kernel' && r.bytesSent > 0);
    assert.deepEqual([record.bytesSent, record.bytesReceived, record.bytesSpliced], [4, 4, 0]);
  });
}

test('TLS in the kernel and zero-copy writes are refused to a spliced socket as by a kernel without them', async () => {
  await mesh.warm('weft-web', cache);
  const output = await client(
    'weft-web',
    `${dial(cache)}
def attempt(level, option, value):
    try: s.setsockopt(level, option, value); return 'taken'
    except OSError as e: return errno.errorcode[e.errno]
print(attempt(6, 31, b'tls'), attempt(1, 60, 1)); ${exchange}`,
  );
  assert.equal(output, 'ENOENT ENOTSUP\nping');
});
