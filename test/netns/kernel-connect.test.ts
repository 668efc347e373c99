/** How sockets connect as kernel flows, and what their applications observe. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  KernelTestbed,
  cache,
  cache6,
  secret,
  cacheVip,
  client,
  exchange,
  dial,
  ping,
} from '../support/kernel-testbed.js';

const mesh = new KernelTestbed('/run/weft/test-kernel-connect');
before(() => mesh.up());
after(() => mesh.down());

const ways: [name: string, ip: string, code: string][] = [
  ['a v4 socket', cache, `${dial(cache)}; ${exchange}`],
  ['a v6 socket', cache6, `${dial(cache6)}; ${exchange}`],
  [
    'a dual-stack socket dialing a v4-mapped address',
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
  test(`${name} becomes a kernel flow, authorized by identity and counted to the byte`, async () => {
    await mesh.warm('weft-web', ip);
    const at = mesh.records().length;
    assert.equal(await client('weft-web', code), 'ping');
    const record = await mesh.recordAfter(at, (r) => r.path === 'kernel' && r.bytesSent > 0);
    assert.equal(record.source.identity, 'spiffe://cluster.local/ns/shop/sa/web');
    assert.equal(record.destination.identity, 'spiffe://cluster.local/ns/shop/sa/cache');
    assert.deepEqual([record.bytesSent, record.bytesReceived], [4, 4]);
  });
}

test('the client sees the service that it dialed and its own address', async () => {
  await mesh.warm('weft-web', cacheVip, 6379);
  const output = await client(
    'weft-web',
    `${dial(cacheVip, 6379)}; print(s.getpeername(), s.getsockname()[0])`,
  );
  assert.equal(output, "('10.96.0.12', 6379) 10.244.1.10");
});

test('sameNode: encrypted uses mutual TLS on one node too, whichever end sets it', async () => {
  for (const [from, to] of [
    ['weft-web', secret],
    ['weft-secret', cache],
  ] as const) {
    for (let i = 0; i < 2; i++) {
      const at = mesh.records().length;
      assert.equal(await ping(from, to), 'ping');
      const record = await mesh.recordAfter(
        at,
        (r) => r.direction === 'outbound' && `weft-${r.source.pod}` === from && r.dialled === `${to}:9000`,
      );
      assert.deepEqual([record.path, record.why], ['hbone', 'same-node-encrypted']);
    }
  }
});
