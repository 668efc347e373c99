/**
 * A mesh peer that floods port 15008, plays with windows or writes invalid frames: its connection ends, the peer's other connections and
 * those of others continue, and memory is bounded. Node-a has an agent; the peer is in the network namespace of `api`.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';
import { echo } from '../support/echo.js';
import { block, endHeaders, frame, frameType, preface, rst, u32 } from '../support/http2-frames.js';
import { data, goAway, setting, windowUpdate } from '../support/http2-raw.js';
import { mutate, ScriptWriter } from '../support/http2-scripts.js';
import { randomOf } from '../support/random.js';
import { openTunnel, svidOfTestbed, type RawTunnel } from './support/raw-tunnel.js';
import { checkRelay, relayProcess, relays, residentMiB, useRelay } from './support/relays.js';

const web = '10.244.1.10';
const app = `${web}:9000`;
/** An application that reads nothing. */
const deaf = `import socket
s = socket.create_server(('::', 9100), family=socket.AF_INET6, dualstack_ipv6=True)
held = []
while True: held.append(s.accept())
`;
const seed = Number(process.env['CARRIER_SEED'] ?? Date.now() % 1_000_000);
const openHead = (
  stream: number,
  fields = block([':method', 'CONNECT'], [':authority', app]),
  flags = endHeaders,
): Buffer => frame(frameType.headers, flags, stream, fields);
const times = (count: number, of: (i: number) => Buffer): Buffer[] =>
  Array.from({ length: count }, (_, i) => of(i));
const settingsOf = (payload: Buffer): Map<number, number> =>
  new Map(
    times(payload.length / 6, (i) => payload.subarray(6 * i, 6 * i + 6)).map((one) => [
      one.readUInt16BE(0),
      one.readUInt32BE(2),
    ]),
  );
const odd = (i: number): number => 2 * i + 101;

/** Each writes on a connection that has stream 1 open. */
const floods: readonly (readonly [string, (tunnel: RawTunnel) => void])[] = [
  [
    'a rapid reset',
    (peer) => peer.send(...times(3_000, (i) => Buffer.concat([openHead(odd(i)), rst(odd(i), 8)]))),
  ],
  ['streams beyond the maximum', (peer) => peer.send(...times(3_000, (i) => openHead(odd(i))))],
  [
    'CONTINUATION frames without bytes',
    (peer) =>
      peer.send(
        openHead(101, block([':method', 'CONNECT']), 0),
        ...times(20_000, () => frame(frameType.continuation, 0, 101)),
      ),
  ],
  [
    'CONTINUATION frames with bytes',
    (peer) =>
      peer.send(
        openHead(101, block([':method', 'CONNECT']), 0),
        ...times(400, (i) => frame(frameType.continuation, 0, 101, block([`x-${i}`, 'v'.repeat(1_000)]))),
      ),
  ],
  ['SETTINGS', (peer) => peer.send(...times(1_000, (i) => setting(4, 65_535 + i)))],
  [
    'one SETTINGS frame with many entries',
    (peer) =>
      peer.send(
        frame(frameType.settings, 0, 0, Buffer.concat(times(2_000, () => Buffer.from([0, 4, 0, 1, 0, 0])))),
      ),
  ],
  ['PING', (peer) => peer.send(...times(10_000, () => frame(frameType.ping, 0, 0, Buffer.alloc(8, 'p'))))],
  [
    'PING without reading',
    (peer) => {
      peer.socket.pause();
      peer.send(Buffer.concat(times(200_000, () => frame(frameType.ping, 0, 0, Buffer.alloc(8, 'p')))));
      setTimeout(() => peer.socket.resume(), 2_000);
    },
  ],
  [
    'frames of an unknown type',
    (peer) => peer.send(...times(10_000, () => frame(0x60, 0, 1, Buffer.alloc(10)))),
  ],
  [
    'PRIORITY',
    (peer) =>
      peer.send(...times(10_000, () => frame(frameType.priority, 0, 1, Buffer.from([0, 0, 0, 3, 1])))),
  ],
  ['DATA without bytes', (peer) => peer.send(...times(10_000, () => data(1, 0)))],
  ['WINDOW_UPDATE', (peer) => peer.send(...times(20_000, () => windowUpdate(0, 1)))],
  [
    'windows of streams beyond their maximum',
    (peer) =>
      peer.send(...times(3_000, (i) => Buffer.concat([openHead(odd(i)), windowUpdate(odd(i), 0x7fffffff)]))),
  ],
  ['GOAWAY', (peer) => peer.send(...times(3_000, () => goAway(0)))],
  [
    'acknowledgments of no PING',
    (peer) => peer.send(...times(3_000, () => frame(frameType.ping, 1, 0, Buffer.alloc(8, 'p')))),
  ],
  [
    'a window beyond its maximum',
    (peer) => peer.send(windowUpdate(0, 0x7fffffff), windowUpdate(0, 0x7fffffff)),
  ],
  ['a window of nothing', (peer) => peer.send(windowUpdate(0, 0))],
  ['an initial window beyond its maximum', (peer) => peer.send(setting(4, 0x80000000))],
  ['DATA of a stream that was never opened', (peer) => peer.send(data(999, 10))],
  ['a frame beyond the announced size', (peer) => peer.send(data(1, (1 << 20) + 1))],
  ['a header block that is no HPACK', (peer) => peer.send(openHead(101, Buffer.alloc(50, 0xff)))],
  ['DATA of stream 0', (peer) => peer.send(data(0, 5))],
  ['SETTINGS of a stream', (peer) => peer.send(frame(frameType.settings, 0, 1))],
];

for (const relay of relays)
  describe(relay, () => {
    const mesh = new DemoMesh(`floods-${relay}`);
    let testbed: Testbed;
    let bystander: RawTunnel;
    let echoed = 0;

    const pid = (): number => {
      testbed.died(relayProcess(relay, 'node-a'));
      return testbed.mark(relayProcess(relay, 'node-a'))?.pid ?? 0;
    };
    const echoes = async (): Promise<void> => {
      bystander.write(1, 'still here');
      echoed += 10;
      await until('the echo of another connection', 30_000, () => bystander.received(1).length === echoed);
    };
    const open = async (): Promise<RawTunnel> => {
      const tunnel = await openTunnel('weft-api', web, svidOfTestbed(testbed, 'api'));
      tunnel.connect(1, app);
      assert.equal(await tunnel.status(1), 200);
      return tunnel;
    };

    before(async () => {
      useRelay(relay);
      await mesh.prepare();
      testbed = mesh.create({ workers: 1 });
      testbed.start('echo', 'weft-web', 'python3', ['-c', echo, '9000']);
      testbed.start('deaf', 'weft-web', 'python3', ['-c', deaf]);
      await testbed.up(['node-a']);
      await checkRelay('weft-node-a', relay);
      for (const port of [9000, 9100]) await listening('weft-web', port);
      bystander = await openTunnel('weft-api', web, svidOfTestbed(testbed, 'intruder'));
      bystander.connect(1, app);
      assert.equal(await bystander.status(1), 200);
      await echoes();
    });
    after(async () => {
      bystander.close();
      await mesh.remove();
    });

    for (const [what, flood] of floods) {
      test(`${relay}: ${what}: the connection ends, others continue`, async () => {
        const before = pid();
        const peer = await open();
        flood(peer);
        await until('the connection ends', 30_000, () => peer.isClosed);
        peer.close();
        await echoes();
        const again = await open();
        again.close();
        assert.equal(pid(), before);
      });
    }

    test(`${relay}: a header list beyond its limit opens nothing`, async () => {
      const peer = await open();
      const fields = times(20, (i) => block([`x-${i}`, 'v'.repeat(1_000)]));
      peer.send(openHead(3, Buffer.concat([block([':method', 'CONNECT'], [':authority', app]), ...fields])));
      await until(
        'a refusal',
        30_000,
        () => peer.isClosed || peer.has(frameType.rst, 3) || peer.heads.has(3),
      );
      assert.ok(!peer.heads.get(3)?.includes('200'));
      peer.close();
      await echoes();
    });

    test(`${relay}: a peer that opens tunnels and reads nothing costs bounded memory`, async () => {
      const before = residentMiB(pid());
      const peers: RawTunnel[] = [];
      for (let i = 0; i < 4; i++) {
        const peer = await openTunnel('weft-api', web, svidOfTestbed(testbed, 'api'));
        peer.send(setting(4, 0));
        for (let n = 0; n < 100; n++) peer.connect(1 + 2 * n, app);
        await until('all are open', 30_000, () => peer.heads.size === 100);
        // The echo of all of this has no window.
        for (let n = 0; n < 100; n++) for (let k = 0; k < 4; k++) peer.send(data(1 + 2 * n, 16_384));
        peers.push(peer);
      }
      await sleep(1_500);
      const grown = residentMiB(pid()) - before;
      console.log(
        `${relay}: ${grown.toFixed(0)} MiB more for 400 tunnels whose windows are closed, 25 MiB sent`,
      );
      assert.ok(grown < 128, `${grown} MiB`);
      await echoes();
      for (const peer of peers) peer.close();
    });

    test(`${relay}: an application that does not read holds back its own tunnel alone, and costs a window`, async () => {
      const before = residentMiB(pid());
      const peer = await open();
      peer.connect(3, `${web}:9100`);
      assert.equal(await peer.status(3), 200);
      const first = Number(
        settingsOf(peer.find(frameType.settings, 0)?.payload ?? Buffer.alloc(0)).get(4) ?? 65_535,
      );
      const opened = (stream: number): number =>
        peer.frames
          .filter((one) => one.type === frameType.window && one.stream === stream)
          .reduce((sum, { payload }) => sum + payload.readUInt32BE(0), 0);
      // Until neither its sockets nor its window take more.
      let sent = 0;
      let idleMs = 0;
      while (idleMs < 1_500) {
        const allowed = Math.min(first + opened(3), 65_535 + opened(0)) - sent;
        if (allowed < 16_384) {
          await sleep(50);
          idleMs += 50;
          continue;
        }
        idleMs = 0;
        peer.send(data(3, 16_384));
        sent += 16_384;
      }
      assert.ok(
        first + opened(3) - sent < 16_384,
        'the window of the tunnel, not that of the connection, is used up',
      );
      peer.write(1, 'still here');
      await until('an echo beside it', 30_000, () => peer.received(1).length === 10);
      await echoes();
      const grown = residentMiB(pid()) - before;
      console.log(
        `${relay}: ${(sent / 1024).toFixed(0)} KiB taken for a reader that does not read, ${grown.toFixed(0)} MiB more`,
      );
      assert.ok(grown < 32, `${grown} MiB`);
      peer.close();
    });

    test(`${relay}: changed frames end at most their own connection`, async () => {
      const before = pid();
      const mib = residentMiB(before);
      const svid = svidOfTestbed(testbed, 'api');
      for (let i = 0; i < 150; i++) {
        const random = randomOf(seed + i);
        const frames = new ScriptWriter(random, 'to-server').write(5 + random(30));
        const changed = mutate(frames, random);
        const peer = await openTunnel('weft-api', web, svid).catch((error: unknown) => {
          throw new Error(`seed ${seed + i} (${changed}): ${String(error)}`);
        });
        // The preface and SETTINGS were sent.
        peer.send(...frames.slice(1), frame(frameType.ping, 0, 0, Buffer.from('the end.')));
        await until('it was read', 5_000, () => peer.isClosed || peer.has(frameType.ping, 0), 2).catch(
          () => undefined,
        );
        peer.close();
        if (i % 30 === 0) await echoes();
      }
      await echoes();
      assert.equal(pid(), before, `seed ${seed}`);
      assert.ok(residentMiB(before) - mib < 64, `${residentMiB(before) - mib} MiB`);
    });

    test(`${relay}: bytes after the handshake that are no HTTP/2 end the connection`, async () => {
      for (const bytes of [
        Buffer.from('GET / HTTP/1.1\r\n\r\n'),
        preface.subarray(0, 10),
        Buffer.alloc(100_000, 0),
        u32(0xffffffff),
      ]) {
        const peer = await openTunnel('weft-api', web, svidOfTestbed(testbed, 'api'));
        peer.socket.write(bytes);
        await sleep(50);
        peer.close();
      }
      await echoes();
    });
  });
