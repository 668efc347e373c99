/**
 * Interoperability with Istio's ztunnel, which replaces the agent of node-b. The control plane, the manifests and the other node are
 * unchanged. Not part of `npm test`, since no package registry has the program: the environment variable ZTUNNEL names it.
 */
import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { programs, run, sh } from '../../src/cli/run.js';
import { startWaypoint } from '../../src/cli/standalone/waypoint.js';
import { Testbed, tearDown } from '../../src/cli/standalone/testbed.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';
import { echo } from '../support/echo.js';
import { connectionRecords } from '../support/records.js';

const program = process.env['ZTUNNEL'] ?? '';
const state = '/run/weft/test-interop';
const manifests = mkdtempSync(join(tmpdir(), 'weft-manifests-'));
let testbed: Testbed;

const socks = `
def dial(ip, port):
    s = socket.create_connection(('127.0.0.1', 15080), 5)
    s.sendall(b'\\x05\\x01\\x00'); assert s.recv(2) == b'\\x05\\x00'
    s.sendall(b'\\x05\\x01\\x00\\x01' + socket.inet_aton(ip) + port.to_bytes(2, 'big'))
    a = s.recv(10); assert a[1] == 0, a
    return s
`;
/** Sends and receives `megabytes` on each of `count` concurrent connections. */
const bulk = (dial: string, count: number, megabytes: number): string => `
import threading
size, block, good = ${megabytes} << 20, os.urandom(1 << 16), []
def one():
    s = ${dial}
    def send():
        for _ in range(size // len(block)): s.sendall(block)
        s.shutdown(socket.SHUT_WR)
    t = threading.Thread(target=send); t.start()
    got = 0
    while True:
        d = s.recv(1 << 16)
        if not d: break
        got += len(d)
    t.join(); good.append(got == size)
ts = [threading.Thread(target=one) for _ in range(${count})]
[t.start() for t in ts]; [t.join() for t in ts]
print(sum(good))`;

/** A server that responds after the client's end (9002), and one that resets after the first byte (9003). Prints how connections ended. */
const ends = `
import socket, struct, threading
ended = 0
def respond(s):
    global ended
    try:
        while s.recv(1000): pass
        s.sendall(b'after the end'); s.close(); ended += 1
        print('ended twice' if ended == 2 else 'ended', flush=True)
    except OSError: print('reset', flush=True)
def reset(s):
    s.recv(1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()
def serve(port, one):
    l = socket.create_server(('0.0.0.0', port))
    while True: threading.Thread(target=one, args=(l.accept()[0],)).start()
threading.Thread(target=serve, args=(9003, reset)).start()
serve(9002, respond)
`;
/** The client's network namespace, its call of a port of the other side, and the server's network namespace. */
const sides = (port: number): readonly (readonly [netns: string, dial: string, server: string])[] => [
  ['weft-web', `socket.create_connection(('10.244.2.10', ${port}), 5)`, 'weft-api'],
  ['weft-api', `dial('10.244.1.10', ${port})`, 'weft-web'],
];

async function client(netns: string, code: string): Promise<string> {
  const result = await run(netns, 'python3', ['-c', `import socket, os\n${code}`], 60_000);
  return result.code === 0 ? result.stdout.trim() : (result.stderr.trim().split('\n').at(-1) ?? '');
}
const records = (): ConnectionRecord[] => connectionRecords(testbed.runDir('node-a'));

const token = join(state, 'token-ztunnel');

async function startZtunnel(): Promise<void> {
  const control = `https://${testbed.topology.controlIp}:15012`;
  const root = join(testbed.controlState(), 'root-cert.pem');
  const environment = {
    XDS_ADDRESS: control,
    CA_ADDRESS: control,
    XDS_ROOT_CA: root,
    CA_ROOT_CA: root,
    AUTH_TOKEN: token,
    NODE_NAME: 'node-b',
    INSTANCE_IP: '10.244.2.10',
    POD_NAME: 'api',
    POD_NAMESPACE: 'shop',
    PROXY_MODE: 'dedicated',
    PROXY_WORKLOAD_INFO: 'shop/api/api',
    UNSTABLE_ENABLE_SOCKS5: 'true',
    // With the original source address it would need marks and policy routing in the pod.
    ENABLE_ORIG_SRC: 'false',
    RUST_LOG: 'info',
  };
  testbed.start('ztunnel', 'weft-api', 'env', [
    ...Object.entries(environment).map(([name, value]) => `${name}=${value}`),
    program,
  ]);
  await until('ztunnel is ready', 20_000, async () => {
    const { stdout } = await run('weft-api', 'curl', [
      '-s',
      '-o',
      '/dev/null',
      '-w',
      '%{http_code}',
      'http://127.0.0.1:15021/healthz/ready',
    ]);
    return stdout === '200';
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${testbed.log('ztunnel').split('\n').slice(-8).join('\n')}`);
  });
}

before(async () => {
  assert.ok(existsSync(program), `ZTUNNEL must name the program: ${program || 'it is not set'}`);
  await tearDown(state);
  cpSync(join(projectRoot, 'src', 'cli', 'demo', 'manifests'), manifests, { recursive: true });
  writeFileSync(
    join(manifests, 'namespace.yaml'),
    'kind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mesh: enabled, weft.dev/mode: strict } }\n',
  );
  testbed = Testbed.create({ from: manifests, state });
  for (const netns of ['weft-api', 'weft-web']) {
    for (const port of [9000, 9001])
      testbed.start(`echo-${netns}-${port}`, netns, 'python3', ['-c', echo, String(port)]);
  }
  for (const netns of ['weft-api', 'weft-web'])
    testbed.start(`ends-${netns}`, netns, 'python3', ['-c', ends]);
  await testbed.startControl();
  testbed.startAgent('node-a');
  writeFileSync(
    token,
    sh(process.execPath, [
      programs.control,
      'token',
      '--state',
      testbed.controlState(),
      '--node',
      'node-b',
    ]).trim(),
    { mode: 0o600 },
  );
  await startZtunnel();
  await until('node-a is ready', 20_000, () => testbed.readyState('node-a').ready);
});
after(async () => {
  await tearDown(state);
  rmSync(manifests, { recursive: true, force: true });
});

test('a pod of Weft calls a pod of ztunnel by Service, and both identities are authenticated', async () => {
  const response = await client(
    'weft-web',
    "s = socket.create_connection(('10.96.0.10', 9000), 5); s.sendall(b'ping'); print(s.recv(10).decode(), s.getpeername()[0])",
  );
  assert.equal(response, 'ping 10.96.0.10');
  const record = await until('the record', 5_000, () => records().find(({ path }) => path === 'hbone'));
  assert.equal(record.destination.identity, 'spiffe://cluster.local/ns/shop/sa/api');
  await until('their record', 5_000, () =>
    testbed
      .log('ztunnel')
      .split('\n')
      .some(
        (line) =>
          line.includes('connection complete') && line.includes('spiffe://cluster.local/ns/shop/sa/web'),
      ),
  );
});

test('a pod of ztunnel calls a strict pod of Weft', async () => {
  const response = await client(
    'weft-api',
    `${socks}\ns = dial('10.244.1.10', 9000); s.sendall(b'ping'); print(s.recv(10).decode())`,
  );
  assert.equal(response, 'ping');
  const record = await until('the record', 5_000, () =>
    records().find(({ path }) => path === 'inbound-hbone'),
  );
  assert.equal(record.source.identity, 'spiffe://cluster.local/ns/shop/sa/api');
  assert.equal(record.source.pod, 'api');
});

test('bulk data in both directions at once arrives complete, from either side', async () => {
  assert.equal(
    await client('weft-web', bulk("socket.create_connection(('10.244.2.10', 9000), 5)", 4, 64)),
    '4',
  );
  assert.equal(await client('weft-api', socks + bulk("dial('10.244.1.10', 9000)", 4, 64)), '4');
});

test('a half-closed connection gets its response, from either side', async () => {
  for (const [netns, dial] of sides(9002))
    assert.equal(
      await client(
        netns,
        `${socks}\ns = ${dial}\ns.sendall(b'all'); s.shutdown(socket.SHUT_WR); s.settimeout(10); print(s.recv(100).decode())`,
      ),
      'after the end',
      netns,
    );
});

// ztunnel makes a normal end of a reset of its own pod, so the other end may see either.
test('a connection that one end resets ends at the other end and in the record, from either side', async () => {
  for (const [netns, dial, server] of sides(9003)) {
    const ended = await client(
      netns,
      `${socks}\ns = ${dial}\ns.sendall(b'x'); s.settimeout(10)\ntry: print('data' if s.recv(1) else 'end')\nexcept OSError as e: print(type(e).__name__)`,
    );
    assert.match(ended, /^(ConnectionResetError|end)$/, netns);
    await client(
      netns,
      `import struct, time\n${socks}\ns = ${dial.replace('9003', '9002')}\ns.sendall(b'x'); time.sleep(0.5)
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()`,
    );
    await until(`the end at ${server}`, 10_000, () =>
      /reset|ended twice/.test(testbed.log(`ends-${server}`)),
    );
  }
  const endsOf = (path: string, port: number): Promise<string[]> =>
    until(`the records of port ${port}`, 5_000, () => {
      const found = records().filter(
        (one) => one.path === path && one.destination.address.endsWith(`:${port}`),
      );
      return found.length > 0 && found.map(({ ended }) => ended);
    });
  assert.ok((await endsOf('hbone', 9002)).includes('pod-reset'));
  assert.deepEqual(await endsOf('inbound-hbone', 9003), ['pod-reset']);
});

test('500 concurrent connections succeed, from either side', async () => {
  const many = (dial: string): string => `
import threading
good = []
def one():
    s = ${dial}
    s.settimeout(20); s.sendall(b'x'); good.append(s.recv(1)); s.close()
ts = [threading.Thread(target=one) for _ in range(500)]
[t.start() for t in ts]; [t.join() for t in ts]
print(good.count(b'x'))`;
  assert.equal(await client('weft-web', many("socket.create_connection(('10.244.2.10', 9000), 20)")), '500');
  assert.equal(await client('weft-api', socks + many("dial('10.244.1.10', 9000)")), '500');
});

test('ztunnel and Weft both enforce a policy, also on open connections', async () => {
  const open = "s = socket.create_connection(('10.244.2.10', 9001), 5)\ns.sendall(b'a'); s.recv(1)";
  const held = client(
    'weft-web',
    `${open}\ns.settimeout(15)\ntry: print('cut' if s.recv(1) == b'' else 'data')\nexcept OSError as e: print(type(e).__name__)`,
  );
  await until(
    'the connection is open',
    5_000,
    () =>
      testbed.log('ztunnel').includes(':9001') ||
      sh('ip', ['netns', 'exec', 'weft-api', 'ss', '-tnH', 'sport = :9001']) !== '',
  );
  writeFileSync(
    join(manifests, 'policy.yaml'),
    `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: closed, namespace: shop }
spec:
  action: DENY
  rules: [{ to: [{ ports: [9001] }] }]
`,
  );
  assert.match(await held, /cut|ConnectionResetError/);
  assert.match(await client('weft-web', `${open}\nprint('open')`), /Error|reset|refused/i);
  assert.match(
    await client(
      'weft-api',
      `${socks}\ns = dial('10.244.1.10', 9001); s.sendall(b'a'); print(s.recv(1) or 'closed')`,
    ),
    /closed|Error|reset/i,
  );
  const denied = await until('the denial', 5_000, () =>
    records().find(({ policy }) => policy === 'shop/closed'),
  );
  assert.equal(denied.source.identity, 'spiffe://cluster.local/ns/shop/sa/api');
  assert.equal(
    await client(
      'weft-web',
      "s = socket.create_connection(('10.244.2.10', 9000), 5); s.sendall(b'ping'); print(s.recv(10).decode())",
    ),
    'ping',
  );
});

test('a pod of ztunnel calls through a Weft waypoint, which authenticates its identity', async () => {
  writeFileSync(
    join(manifests, 'gateway.yaml'),
    readFileSync(join(projectRoot, 'docs', 'examples', 'waypoint', 'gateway.yaml')),
  );
  testbed.start('echo-v2', 'weft-echo-v2', process.execPath, [
    join(projectRoot, 'dist', 'src', 'cli', 'demo', 'echo.js'),
    'echo-v2',
    '8080',
  ]);
  await startWaypoint(testbed, { namespace: 'shop', name: 'waypoint', node: 'node-a' });
  const response = await until('the waypoint responds', 15_000, async () => {
    const said = await client(
      'weft-api',
      `${socks}\ns = dial('10.96.0.22', 80); s.sendall(b'GET /a HTTP/1.1\\r\\nhost: echo\\r\\nconnection: close\\r\\n\\r\\n')
got = b''
while True:
    part = s.recv(4096)
    if not part: break
    got += part
print(got.decode())`,
    );
    return said.includes('200 OK') && said;
  });
  assert.match(response, /"x-forwarded-client-cert":"URI=spiffe:\/\/cluster.local\/ns\/shop\/sa\/api"/);
  assert.match(response, /"pod":"echo-v2"/);
});

test('after ztunnel is killed, calls are refused at once, and resume when it restarts', async () => {
  await testbed.stop('ztunnel', 'SIGKILL');
  assert.match(
    await client(
      'weft-web',
      "s = socket.create_connection(('10.244.2.10', 9000), 5); s.settimeout(5); print(s.recv(10) or 'closed')",
    ),
    /closed|refused|reset/i,
  );
  await startZtunnel();
  // Weft refuses a destination that just failed for up to a second.
  await until('calls resume', 5_000, async () => {
    const response = await client(
      'weft-web',
      "s = socket.create_connection(('10.244.2.10', 9000), 5); s.sendall(b'ping'); print(s.recv(10).decode())",
    );
    return response === 'ping';
  });
});
