/**
 * Row 3 of docs/security.md: a pod, as root with NET_ADMIN in its network namespace. `intruder` is that pod: the test runs real programs
 * in network namespaces with a real agent.
 */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { sleep, until } from '../../src/base/wait.js';
import { adminGet, adminPort } from '../../src/cli/admin.js';
import { run, sh } from '../../src/cli/run.js';
import { Testbed, tearDown } from '../../src/cli/standalone/testbed.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';
import { echo } from '../support/echo.js';
import { Programs } from '../support/proc.js';
import { connectionRecords } from '../support/records.js';
import { countOfSource, tablesNaming } from './support/kernel-tables.js';

const state = '/run/weft/test-pod-root';
const manifests = mkdtempSync(join(tmpdir(), 'weft-manifests-'));
const [web, intruder, cache, cache2, leaver] = [
  '10.244.1.10',
  '10.244.1.11',
  '10.244.1.12',
  '10.244.1.13',
  '10.244.1.30',
];
/** Limits of one pod (docs/limits.md). */
const [notesShare, liveShare, eventsShare, verdictsShare] = [4096, 16_384, 64, 2048];
const agentPorts = [15001, 15006, 15008, 15053];
const programs = new Programs();
let testbed: Testbed;

const leaverPod = `
apiVersion: v1
kind: Pod
metadata: { name: leaver, namespace: shop, annotations: { weft.dev/netns: weft-leaver, weft.dev/exclude-outbound-ports: '7777', weft.dev/exclude-outbound-cidrs: '192.0.2.0/24' } }
spec:
  nodeName: node-a
  serviceAccountName: leaver
  containers: [{ name: c, ports: [{ name: health, containerPort: 8081 }], readinessProbe: { httpGet: { port: health } } }]
status: { podIPs: [{ ip: ${leaver} }] }
`;
/** Port 6379 is open only to web's address; all other ports to any identity (the namespace is strict). */
const policy = `
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: cache, namespace: shop }
spec:
  action: ALLOW
  selector: { matchLabels: { app: cache } }
  rules:
    - to: [{ notPorts: [6379] }]
    - from: [{ cidrs: ['${web}/32'] }]
      to: [{ ports: [6379] }]
`;

/** Listens on the agent's ports in its pod, and prints what it receives. */
const thief = `
import socket, threading, sys
def serve(s):
    while True:
        c, who = s.accept()
        c.settimeout(2)
        try: data = c.recv(100)
        except OSError: data = b''
        print('stolen', s.getsockname()[1], who, data, flush=True)
for port in map(int, sys.argv[1:]):
    s = socket.socket(socket.AF_INET6)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        s.bind(('::', port)); s.listen(100)
        print('sits on', port, flush=True)
        threading.Thread(target=serve, args=(s,)).start()
    except OSError as e: print('cannot sit on', port, e, flush=True)
`;

async function client(netns: string, code: string, timeoutMs = 30_000): Promise<string> {
  const all = `import socket, struct, errno, os, resource, time, ctypes\n${code}`;
  const result = await run(netns, 'python3', ['-c', all], timeoutMs);
  return result.code === 0 ? result.stdout.trim() : (result.stderr.trim().split('\n').at(-1) ?? '');
}
const exchange = "s.sendall(b'ping'); print(s.recv(10).decode())";
const dial = (ip: string, port = 9000): string => `s = socket.create_connection(('${ip}', ${port}), 4)`;
const ping = (netns: string, ip: string, port = 9000): Promise<string> =>
  client(netns, `${dial(ip, port)}; ${exchange}`);

interface Dump {
  readonly kernel: Readonly<Record<string, number>>;
  readonly pods: readonly {
    readonly pod: { readonly uid: string };
    readonly place: { readonly cookie: string };
  }[];
}
const dump = async (): Promise<Dump> => JSON.parse(await adminGet('weft-node-a', adminPort, '/dump')) as Dump;
const countOf = async (reason: string): Promise<number> => (await dump()).kernel[reason] ?? 0;
async function cookieOf(name: string): Promise<bigint> {
  const found = (await dump()).pods.find(({ pod }) => pod.uid.endsWith(`/${name}`));
  assert.ok(found, `${name} is enrolled`);
  return BigInt(found.place.cookie);
}
const records = (): ConnectionRecord[] => connectionRecords(testbed.runDir('node-a'));
/** Connects until the pair has kernel flows: the first connection requests the verdict. */
async function warm(netns: string, ip: string, port = 9000): Promise<void> {
  await until(`kernel flows from ${netns} to ${ip}`, 30_000, async () => {
    const before = await countOf('kernel-allowed');
    await ping(netns, ip, port);
    return (await countOf('kernel-allowed')) > before;
  });
}
/**
 * Starts a program that connects `count` sockets without waiting and holds them until its stdin ends. `first`: its first lines; `then`: a
 * line after each connect. It runs as several processes, since the number of descriptors per process is limited.
 */
async function holding(
  netns: string,
  count: number,
  ip: string,
  port: number | 'port',
  first = '',
  then = 'pass',
) {
  const each = 4_000;
  const code = `import socket, sys, os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (${each} + 100, ${each} + 100))
${first}
count, parent = ${count}, False
while count > ${each}:
    if os.fork(): parent = True; break
    count -= ${each}
held = []
for _ in range(min(count, ${each})):
    s = socket.socket(); s.setblocking(False); s.connect_ex(('${ip}', ${port})); held.append(s)
    ${then}
print('made', flush=True)
sys.stdin.read()
if parent: os.wait()
`;
  const program = await programs.start('python3', ['-c', code], { netns });
  const processes = Math.ceil(count / each);
  await until('all is made', 60_000, () => {
    assert.equal(program.child.exitCode, null, program.stderr());
    return program.stdout().split('made').length > processes;
  });
  return program;
}

before(async () => {
  await tearDown(state);
  cpSync(join(projectRoot, 'src', 'cli', 'demo', 'manifests'), manifests, { recursive: true });
  writeFileSync(join(manifests, 'policy.yaml'), policy);
  writeFileSync(join(manifests, 'leaver.yaml'), leaverPod);
  writeFileSync(
    join(manifests, 'namespace.yaml'),
    'kind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mesh: enabled, weft.dev/mode: strict } }\n',
  );
  testbed = Testbed.create({ from: manifests, state, workers: 1 });
  for (const pod of ['cache', 'cache-2', 'leaver', 'web', 'api'])
    for (const port of [6379, 9000])
      testbed.start(`${pod}-${port}`, `weft-${pod}`, 'python3', ['-c', echo, String(port)]);
  // The thief listens on the agent's ports before the agent starts.
  testbed.start('thief', 'weft-cache-2', 'python3', ['-c', thief, ...agentPorts.map(String)]);
  await until(
    'the thief sits',
    30_000,
    () => testbed.log('thief').split('sits on').length > agentPorts.length,
  );
  await testbed.up();
});
after(async () => {
  await programs.end();
  await tearDown(state);
  rmSync(manifests, { recursive: true, force: true });
});

test('a pod does not gain access that policy grants to the address of another pod by binding to that address', async () => {
  assert.equal(await ping('weft-web', cache, 6379), 'ping');
  assert.notEqual(await ping('weft-intruder', cache, 6379), 'ping');
  sh('ip', ['-n', 'weft-intruder', 'addr', 'add', `${web}/32`, 'dev', 'lo']);
  try {
    // A refused destination stays refused for 300 ms.
    await sleep(400);
    const at = records().length;
    const forged = `s = socket.socket(); s.settimeout(4); s.bind(('${web}', 0)); s.connect(('${cache}', 6379)); ${exchange}`;
    assert.notEqual(await client('weft-intruder', forged), 'ping');
    const refused = await until('the refusal', 30_000, () =>
      records()
        .slice(at)
        .find(({ path, source }) => path === 'refused' && source.pod === 'intruder'),
    );
    assert.equal(refused.code, 'WEFT_DENIED');
    assert.match(refused.source.address, new RegExp(`^${intruder}:`));
  } finally {
    sh('ip', ['-n', 'weft-intruder', 'addr', 'del', `${web}/32`, 'dev', 'lo']);
  }
});

test('a connection from the address of another pod is no kernel flow, whether the socket is bound, routed or repaired', async () => {
  await warm('weft-intruder', cache);
  await warm('weft-web', cache);
  const cookie = await cookieOf('intruder');
  sh('ip', ['-n', 'weft-intruder', 'addr', 'add', `${web}/32`, 'dev', 'lo']);
  try {
    const taken = await countOf('in-verdict');
    const seen = await countOf('kernel-foreign-source');
    // Bound: the agent relays the connection from the pod's own address.
    const bound = `s = socket.socket(); s.settimeout(4); s.bind(('${web}', 0)); s.connect(('${cache}', 9000)); ${exchange}`;
    assert.equal(await client('weft-intruder', bound), 'ping');
    // TCP_REPAIR establishes a socket without a packet.
    const repaired = `s = socket.socket(); s.setsockopt(6, 19, 1); s.setsockopt(1, 2, 1); s.bind(('${web}', 40000)); s.connect(('${cache}', 9000)); print('connected')`;
    assert.equal(await client('weft-intruder', repaired), 'connected');
    // Unbound: the route decides which source address the kernel picks, after the connect() hook.
    sh('ip', ['-n', 'weft-intruder', 'route', 'add', cache, 'dev', 'eth0', 'src', web]);
    const routed = `s = socket.socket(); s.settimeout(2)
try: s.connect(('${cache}', 9000)); print('connected')
except OSError as e: print('not connected')`;
    assert.equal(await client('weft-intruder', routed), 'not connected');
    assert.equal(await countOf('in-verdict'), taken);
    assert.ok((await countOf('kernel-foreign-source')) >= seen + 3);
    assert.equal(countOfSource('node-a', 'weft_notes', cookie), 0);
    assert.equal(countOfSource('node-a', 'weft_live', cookie), 0);
    // The pod that owns the address connects from the same port.
    const true_ = `s = socket.socket(); s.settimeout(4); s.bind(('${web}', 40000)); s.connect(('${cache}', 9000)); ${exchange}`;
    assert.equal(await client('weft-web', true_), 'ping');
  } finally {
    sh('ip', ['-n', 'weft-intruder', 'addr', 'del', `${web}/32`, 'dev', 'lo']);
  }
  sh('ip', ['-n', 'weft-intruder', 'route', 'flush', cache]);
  assert.equal(await ping('weft-intruder', cache), 'ping');
});

test('a pod does not use up the map of handoff records: it has a share, and each record is given back', async () => {
  await warm('weft-web', cache);
  const cookie = await cookieOf('intruder');
  const before = await countOf('notes-share');
  // With a full accept queue no further handshake completes.
  const program = await holding(
    'weft-intruder',
    notesShare + 2_000,
    intruder,
    7000,
    `l = socket.socket(); l.bind(('${intruder}', 7000)); l.listen(0)`,
  );
  const held = countOfSource('node-a', 'weft_notes', cookie);
  assert.ok(held <= notesShare, `${held} records`);
  assert.ok(held > notesShare / 2, `${held} records: the program has tried`);
  assert.ok((await countOf('notes-share')) >= before + 1500);
  assert.notEqual(await ping('weft-intruder', cache2), 'ping');
  assert.equal(await ping('weft-web', cache), 'ping');
  assert.equal(await ping('weft-web', cache2), 'ping');
  program.child.stdin?.end();
  await program.ended;
  await until(
    'the map has no entries of the pod',
    30_000,
    () => countOfSource('node-a', 'weft_notes', cookie) === 0,
  );
  // The counted records were given back: the pod is served as before.
  assert.equal(await ping('weft-intruder', cache2), 'ping');
});

test('a pod does not use up the map of kernel flows: it has a share, and sockets that sent nothing are removed when closed', async () => {
  await warm('weft-intruder', cache);
  await warm('weft-web', cache);
  const cookie = await cookieOf('intruder');
  const before = await countOf('kernel-live-share');
  sh('ip', ['-n', 'weft-intruder', 'route', 'add', 'blackhole', cache]);
  try {
    const program = await holding('weft-intruder', liveShare + 2_000, cache, 9000);
    const held = countOfSource('node-a', 'weft_live', cookie);
    assert.ok(held <= liveShare, `${held} entries`);
    assert.ok(held > liveShare / 2, `${held} entries: the program has tried`);
    assert.ok((await countOf('kernel-live-share')) >= before + 1500);
    await warm('weft-web', cache);
    program.child.stdin?.end();
    await program.ended;
    await until(
      'the map has no entries of the pod',
      30_000,
      () => countOfSource('node-a', 'weft_live', cookie) === 0,
    );
  } finally {
    sh('ip', ['-n', 'weft-intruder', 'route', 'del', 'blackhole', cache]);
  }
  await warm('weft-intruder', cache);
});

test('a pod that dials all ports of a peer evicts its own verdicts, and no other pod loses one', async () => {
  await warm('weft-web', cache);
  const [cookie, other] = [await cookieOf('intruder'), await cookieOf('web')];
  const before = countOfSource('node-a', 'weft_verdicts', other);
  assert.ok(before > 0);
  const ports = verdictsShare + 400;
  const seen = await countOf('kernel-no-verdict');
  const program = await holding(
    'weft-intruder',
    ports,
    cache2,
    'port',
    'import time; port = 20000',
    'port += 1; time.sleep(0.002)',
  );
  await until(
    'the agent has decided each connection',
    30_000,
    async () => (await countOf('kernel-no-verdict')) >= seen + ports,
  );
  const metrics = async (): Promise<string> =>
    (await run('weft-node-a', 'curl', ['-sS', '--noproxy', '*', 'http://127.0.0.1:15020/metrics'])).stdout;
  const reached = async (): Promise<number> =>
    Number(/weft_limit_reached_total\{limit="verdicts"\} (\d+)/.exec(await metrics())?.[1] ?? 0);
  await until(
    'each was decided by the agent',
    30_000,
    () =>
      records().filter(
        ({ source, dialled }) => source.pod === 'intruder' && dialled?.startsWith(`${cache2}:2`),
      ).length >= ports,
  ).catch(async () =>
    assert.fail(
      `${countOfSource('node-a', 'weft_verdicts', cookie)} verdicts, ${await reached()} beyond the share`,
    ),
  );
  const held = (): number => countOfSource('node-a', 'weft_verdicts', cookie);
  await until('the limit was reached', 30_000, async () => (await reached()) >= 300).catch(async () =>
    assert.fail(`${held()} verdicts, ${await reached()} beyond the share`),
  );
  assert.ok(held() <= verdictsShare, `${held()} verdicts`);
  assert.equal(countOfSource('node-a', 'weft_verdicts', other), before);
  await warm('weft-web', cache);
  program.child.stdin?.end();
  await program.ended;
});

test('a pod that causes refusals continuously does not hide the refusals of another pod', async () => {
  const [lost, shared] = [await countOf('events-lost'), await countOf('events-share')];
  const cookie = await cookieOf('intruder');
  const lines = (): string[] => testbed.log('agent-node-a').split('\n');
  const at = lines().length;
  const startedMs = Date.now();
  const flood = client(
    'weft-intruder',
    `until = time.time() + 5
while time.time() < until:
    s = socket.socket(); s.connect_ex(('${intruder}', 15006)); s.close()
print('done')`,
  );
  await sleep(2_500);
  const web_ = await cookieOf('web');
  // The agent refuses the first connection; the connect() hook refuses the second.
  await client(
    'weft-web',
    `for _ in range(2):
    s = socket.socket(); s.settimeout(4)
    try: s.connect(('${cache}', 15006)); s.recv(1)
    except OSError: pass`,
  );
  assert.equal(await flood, 'done');
  await until('the refusal is logged', 30_000, () =>
    lines()
      .slice(at)
      .some((line) => line.includes(`"cookie":"${web_}"`) && line.includes('refused-negative')),
  );
  const ofIntruder = lines()
    .slice(at)
    .filter((line) => line.includes(`"cookie":"${cookie}"`)).length;
  const windows = (Date.now() - startedMs) / 1_073 + 2;
  assert.ok(ofIntruder > 0 && ofIntruder <= eventsShare * windows, `${ofIntruder} lines`);
  assert.equal(await countOf('events-lost'), lost);
  assert.ok((await countOf('events-share')) > shared);
});

test("a program that listens on the agent's ports in its pod receives no traffic of the pod, even if it listened first", async () => {
  const late = await programs.start('python3', ['-c', thief, ...agentPorts.map(String)], {
    netns: 'weft-cache',
  });
  await until(
    'the program has tried',
    30_000,
    () =>
      late.stdout().split('sit on').length + late.stdout().split('sits on').length > agentPorts.length + 1,
  );
  for (const ip of [cache, cache2]) {
    // Through the agent and as a kernel flow; from another node through a tunnel to 15008; as raw bytes to each port.
    assert.equal(await ping('weft-web', ip), 'ping');
    assert.equal(await ping('weft-web', ip), 'ping');
    assert.equal(await ping('weft-api', ip), 'ping');
    for (const port of agentPorts) await client('weft-web', `${dial(ip, port)}; s.sendall(b'secret')`);
    await client('weft-node-a', `${dial(ip, 15008)}; s.sendall(b'secret')`);
  }
  // Captured outbound connections of a pod.
  assert.equal(await ping('weft-cache-2', cache), 'ping');
  assert.doesNotMatch(testbed.log('thief'), /stolen/);
  assert.doesNotMatch(late.stdout(), /stolen/);
  late.child.kill();
});

test('a socket that was created in another pod has the identity of that pod, whichever process holds it', async () => {
  const at = records().length;
  const code = `libc = ctypes.CDLL(None)
def enter(path):
    f = os.open(path, os.O_RDONLY); assert libc.setns(f, 0x40000000) == 0; os.close(f)
enter('/run/netns/weft-intruder'); s = socket.socket(); s.settimeout(4)
enter('/run/netns/weft-web')
s.connect(('${cache}', 6379)); ${exchange}`;
  assert.notEqual(await client('weft-web', code), 'ping');
  const refused = await until('the refusal', 30_000, () =>
    records()
      .slice(at)
      .find(({ path, destination }) => path === 'refused' && destination.address === `${cache}:6379`),
  );
  assert.equal(refused.source.identity, 'spiffe://cluster.local/ns/shop/sa/intruder');
});

test('raw packets of a pod reach no strict pod of its node, from its own address or another', async () => {
  await warm('weft-intruder', cache);
  const raw = join(projectRoot, 'test', 'netns', 'programs', 'rawsyn.py');
  for (const source of [intruder, web]) {
    const [taken, noted] = [await countOf('in-verdict'), await countOf('in-noted')];
    const { stdout } = await run('weft-intruder', 'python3', [raw, cache, '9000', source], 20_000);
    assert.doesNotMatch(stdout, /ping/);
    assert.equal(await countOf('in-verdict'), taken);
    assert.equal(await countOf('in-noted'), noted);
  }
});

test('a pod cannot redirect an allowed connection to a closed port or pod with NAT', async () => {
  await warm('weft-intruder', cache);
  /** Connects while NAT rewrites connections to cache's open port. */
  const translated = async (hook: string, translation: string): Promise<void> => {
    const taken = await countOf('in-verdict');
    const rule = `ip daddr ${cache} tcp dport 9000 ${translation}`;
    const table = `table ip thief {\nchain c {\ntype nat hook ${hook};\n${rule}\n}\n}`;
    const { code, stderr } = await run('weft-intruder', 'nft', [table]);
    assert.equal(code, 0, stderr);
    try {
      assert.notEqual(await ping('weft-intruder', cache), 'ping', translation);
    } finally {
      await run('weft-intruder', 'nft', ['delete', 'table', 'ip', 'thief']);
    }
    assert.equal(await countOf('in-verdict'), taken, translation);
  };
  for (const to of [`${cache}:6379`, `${web}:9000`, '10.244.2.10:9000'])
    await translated('output priority -100', `dnat to ${to}`);
  await translated('postrouting priority 100', `snat to ${web}`);
  assert.equal(await ping('weft-intruder', cache), 'ping');
});

test('half-open connections to a pod from forged addresses do not block other clients', async () => {
  const { stdout: listening } = await run('weft-cache', 'ss', ['-ltnH', 'sport = :15008']);
  assert.match(listening, /LISTEN +0 +4096 /);
  const flood = `out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
def checksum(d):
    t = sum(struct.unpack('!%dH' % (len(d) // 2), d))
    while t >> 16: t = (t & 0xffff) + (t >> 16)
    return ~t & 0xffff
to = socket.inet_aton('${cache}')
for i in range(6000):
    source = socket.inet_aton('10.244.1.%d' % (100 + i % 100))
    tcp = struct.pack('!HHIIBBHHH', 1024 + i, 15008, i, 0, 5 << 4, 2, 65535, 0, 0)
    tcp = tcp[:16] + struct.pack('!H', checksum(source + to + struct.pack('!BBH', 0, 6, 20) + tcp)) + tcp[18:]
    out.sendto(struct.pack('!BBHHHBBH4s4s', 0x45, 0, 40, 1, 0, 64, 6, 0, source, to) + tcp, ('${cache}', 0))
print('sent')`;
  assert.equal(await client('weft-intruder', flood), 'sent');
  assert.equal(await ping('weft-api', cache), 'ping');
  assert.equal(await ping('weft-api', cache2), 'ping');
  assert.equal(await ping('weft-web', cache), 'ping');
});

test('a pod that has left has no rows in any map', async () => {
  const cookie = await cookieOf('leaver');
  await warm('weft-leaver', cache);
  await warm('weft-web', leaver);
  await client('weft-leaver', `${dial(leaver, 1)}`);
  await client('weft-leaver', `${dial('10.244.1.200', 1)}`);
  await client('weft-node-a', `${dial(leaver, 8081)}`);
  assert.ok(tablesNaming('node-a', cookie).length > 5);
  rmSync(join(manifests, 'leaver.yaml'));
  await until(
    'the pod is unenrolled',
    30_000,
    async () => !(await dump()).pods.some(({ pod }) => pod.uid.endsWith('/leaver')),
  );
  // Connections that are still closing give back their share when they end; the next pod that leaves removes the row of weft_shares.
  await until('no map names the pod', 30_000, () => {
    const left = tablesNaming('node-a', cookie).filter((name) => name !== 'weft_shares');
    return left.length === 0;
  });
});
