import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, readdirSync, readlinkSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { NativeError, connectChannel, openNetns, packetBytesMax, projectRoot, type Channel } from '../../native/index.js';

const dir = mkdtempSync(join(tmpdir(), 'weft-channel-'));
const peers: ChildProcess[] = [];
after(() => {
  for (const peer of peers) peer.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
});
const code = (expected: string, errno?: number) => (error: unknown) =>
  error instanceof NativeError && error.code === expected && (errno === undefined || error.errno === errno);
const descriptors = (): number => readdirSync('/proc/self/fd').length;

/** The peer obeys one line at a time: echo N, send N BYTES, fds N, wait MS, close. */
const program = `
import os, socket, sys, time, array
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(sys.argv[1])
listener.listen(4)
print('ready', flush=True)
peer, _ = listener.accept()
peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
for line in sys.stdin:
    word, *numbers = line.split()
    numbers = [int(n) for n in numbers]
    if word == 'echo':
        for _ in range(numbers[0]):
            bytes, fds, _, _ = socket.recv_fds(peer, 1 << 18, 64)
            socket.send_fds(peer, [bytes], fds) if fds else peer.send(bytes)
            for fd in fds: os.close(fd)
    elif word == 'read':
        for _ in range(numbers[0]): peer.recv(1 << 18)
    elif word == 'send':
        for n in range(numbers[0]): peer.send(n.to_bytes(4, 'little') + bytes(numbers[1] - 4))
    elif word == 'fds':
        fds = [os.open('/dev/null', os.O_RDONLY) for _ in range(numbers[0])]
        socket.send_fds(peer, [b'descriptors'], fds)
        for fd in fds: os.close(fd)
    elif word == 'close':
        peer.close()
    print('done', flush=True)
`;

async function start(name: string): Promise<{ path: string; order(line: string): Promise<unknown>; child: ChildProcess }> {
  const path = join(dir, name);
  const child = spawn('python3', ['-c', program, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  peers.push(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  await lines.next();
  return {
    path,
    child,
    order: (line) => {
      child.stdin.write(`${line}\n`);
      return lines.next();
    },
  };
}

/** Repeats the assertion until it holds, for at most 30 s. */
async function soon(assertion: () => void): Promise<void> {
  for (const end = Date.now() + 30_000; ; await delay(10)) {
    try {
      return assertion();
    } catch (error) {
      if (Date.now() > end) throw error;
    }
  }
}

interface Seen {
  readonly packets: { bytes: Buffer; fds: number[] }[];
  readonly ends: string[];
}
function watch(channel: Channel): Seen {
  const seen: Seen = { packets: [], ends: [] };
  channel.onPacket = (bytes, fds) => seen.packets.push({ bytes, fds });
  channel.onClosed = (why) => seen.ends.push(why);
  return seen;
}

test('packets of every size and their descriptors arrive whole, in order, and close on exec', async () => {
  const peer = await start('echo');
  const channel = connectChannel(peer.path);
  const seen = watch(channel);
  assert.equal(channel.peerPid, peer.child.pid);
  const file = join(dir, 'file');
  const passed = openSync(file, 'w+');
  writeSync(passed, 'a file of the other process');
  const sizes = [1, 1000, 65_536, packetBytesMax];
  const sent = sizes.map((size) => randomBytes(size));
  const echoed = peer.order(`echo ${sent.length + 1}`);
  for (const bytes of sent) {
    while (!channel.send(bytes)) await new Promise<void>((resolve) => (channel.onWritable = resolve));
  }
  assert.equal(channel.send(Buffer.from('with descriptors'), [passed, passed, passed]), true);
  closeSync(passed);
  await echoed;
  await soon(() => assert.equal(seen.packets.length, sent.length + 1));
  sent.forEach((bytes, i) => assert.ok(bytes.equals(seen.packets[i]!.bytes), `packet ${i}`));
  const { bytes, fds } = seen.packets.at(-1)!;
  assert.equal(bytes.toString(), 'with descriptors');
  assert.equal(fds.length, 3);
  for (const fd of fds) {
    assert.equal(readlinkSync(`/proc/self/fd/${fd}`), file);
    const flags = /flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]!;
    assert.ok(parseInt(flags, 8) & 0o2000000, 'O_CLOEXEC');
    closeSync(fd);
  }
  assert.deepEqual(seen.ends, []);
  channel.close();
});

test('a full socket refuses a packet, loses none, and says when it can be written', async () => {
  const peer = await start('full');
  const channel = connectChannel(peer.path);
  watch(channel);
  let writable = 0;
  channel.onWritable = () => writable++;
  let accepted = 0;
  while (channel.send(Buffer.alloc(100_000))) accepted++;
  assert.ok(accepted >= 2, `${accepted} packets`);
  assert.equal(channel.send(Buffer.alloc(1)), false);
  await delay(50);
  assert.equal(writable, 0);
  await peer.order(`read ${accepted}`);
  await soon(() => assert.equal(writable, 1));
  assert.equal(channel.send(Buffer.from('x')), true);
  await peer.order('read 1');
  channel.close();
});

test('a burst is delivered in portions, all of it before the end is reported', async () => {
  const peer = await start('burst');
  const channel = connectChannel(peer.path);
  const seen = watch(channel);
  const portions: number[] = [];
  channel.onPacket = (bytes, fds) => {
    seen.packets.push({ bytes, fds });
    setImmediate(() => portions.push(seen.packets.length));
  };
  await peer.order('send 200 16');
  await peer.order('close');
  await soon(() => assert.equal(seen.ends.length, 1));
  assert.deepEqual(seen.packets.map(({ bytes }) => bytes.readUInt32LE()), [...Array(200).keys()]);
  assert.ok(portions[0]! <= 64, `${portions[0]} packets in one turn`);
  assert.match(seen.ends[0]!, /closed/);
  assert.equal(channel.isOpen, false);
  assert.equal(channel.send(Buffer.from('x')), false);
  channel.close();
});

test('a packet that is too long, or that has too many descriptors, ends the channel and leaks nothing', async () => {
  for (const [name, line, why] of [
    ['long', `send 1 ${packetBytesMax + 1}`, /longer than/],
    ['many', 'fds 65', /descriptors of a packet were lost/],
  ] as const) {
    const peer = await start(name);
    const before = descriptors();
    const channel = connectChannel(peer.path);
    const seen = watch(channel);
    await peer.order(line);
    await soon(() => assert.equal(seen.ends.length, 1));
    assert.match(seen.ends[0]!, why);
    assert.deepEqual(seen.packets, []);
    assert.equal(descriptors(), before);
  }
});

test('close() in a callback stops the delivery, and the descriptors of the rest are closed', async () => {
  const peer = await start('stop');
  const before = descriptors();
  const channel = connectChannel(peer.path);
  const seen = watch(channel);
  channel.onPacket = (bytes, fds) => {
    seen.packets.push({ bytes, fds });
    channel.close();
  };
  // Both packets are there before the event loop runs again.
  peer.child.stdin?.write('send 1 16\nfds 3\n');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  await soon(() => assert.equal(descriptors(), before));
  assert.equal(seen.packets.length, 1);
  assert.deepEqual(seen.ends, []);
});

test('a killed peer ends the channel', async () => {
  const peer = await start('killed');
  const channel = connectChannel(peer.path);
  const seen = watch(channel);
  peer.child.kill('SIGKILL');
  await once(peer.child, 'exit');
  channel.send(Buffer.from('x'));
  await soon(() => assert.equal(seen.ends.length, 1));
  assert.throws(() => connectChannel(peer.path), code('NATIVE_SYSTEM', 111));
});

test('wrong arguments are errors and leak nothing', async () => {
  const before = descriptors();
  assert.throws(() => connectChannel(join(dir, 'none')), code('NATIVE_NOT_FOUND'));
  assert.throws(() => connectChannel(join(dir, 'x'.repeat(120))), code('NATIVE_SYSTEM', 36));
  assert.throws(() => connectChannel(1 as unknown as string), code('NATIVE_ARGUMENT'));
  assert.throws(() => openNetns('/proc/self/status'), code('NATIVE_NOT_A_NAMESPACE'));
  assert.equal(descriptors(), before);
  const peer = await start('wrong');
  const channel = connectChannel(peer.path);
  watch(channel);
  assert.throws(() => channel.send(Buffer.alloc(0)), code('NATIVE_ARGUMENT'));
  assert.throws(() => channel.send(Buffer.alloc(packetBytesMax + 1)), code('NATIVE_ARGUMENT'));
  assert.throws(() => channel.send(Buffer.from('x'), Array<number>(65).fill(0)), code('NATIVE_ARGUMENT'));
  assert.throws(() => channel.send(Buffer.from('x'), [-1]), code('NATIVE_ARGUMENT'));
  // A descriptor that is not open: the packet must not arrive without it.
  const seen = watch(channel);
  assert.equal(channel.send(Buffer.from('x'), [9999]), false);
  await soon(() => assert.match(seen.ends[0] ?? '', /Bad file descriptor/));
});

test('an open channel lets its process and its thread end', async () => {
  const peer = await start('ends');
  const script = `import { connectChannel } from ${JSON.stringify(pathToFileURL(join(projectRoot, 'dist/native/index.js')))};
    globalThis.kept = connectChannel(process.env.CHANNEL);`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(script)}`);
  const worker = new Worker(url, { env: { ...process.env, CHANNEL: peer.path } });
  assert.deepEqual(await once(worker, 'exit'), [0]);
  const other = await start('ends-process');
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { env: { ...process.env, CHANNEL: other.path }, stdio: 'inherit' });
  assert.deepEqual(await once(child, 'exit'), [0, null]);
});
