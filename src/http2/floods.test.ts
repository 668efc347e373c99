import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../../test/support/eventually.js';
import { turns } from '../../test/support/http2-engine.js';
import {
  block,
  endHeaders,
  endStream,
  frame,
  frameType,
  pseudo,
  request,
  rst,
  settings,
  settingsAck,
} from '../../test/support/http2-frames.js';
import { ask, post, data, goAway, RawPeer, setting, windowUpdate } from '../../test/support/http2-raw.js';
import { Bucket, floodRates, queuedControlFramesMax } from './floods.js';

const ping = frame(frameType.ping, 0, 0, Buffer.alloc(8));
const priority = frame(frameType.priority, 0, 9, Buffer.alloc(5));
const malformed = (id: number): Buffer => request(id, [':path', '/']);

/** Sends `of(0)`, `of(1)` ... and returns how many it took to end the connection, at most `most`. */
function until(peer: RawPeer, most: number, of: (i: number) => Buffer): number {
  for (let i = 0; i < most; i++) {
    peer.send(of(i));
    if (peer.connection.isClosed) return i + 1;
  }
  return most;
}

async function assertFlood(peer: RawPeer, why: RegExp): Promise<void> {
  const frames = await peer.frames();
  assert.match(frames.at(-1) ?? '', /^goaway \d+ 11$/);
  assert.equal(peer.end?.kind, 'flood');
  assert.match(peer.end?.why ?? '', why);
  assert.equal(peer.connection.openStreams, 0);
}

const floods: [string, number, RegExp, (i: number) => Buffer, ...Buffer[]][] = [
  [
    'streams opened and reset',
    floodRates.resets.burst,
    /reset/,
    (i) => Buffer.concat([ask(2 * i + 1), rst(2 * i + 1, 8)]),
  ],
  ['streams that have to be reset', floodRates.resets.burst, /reset/, (i) => malformed(2 * i + 1)],
  [
    'windows of 0 on streams',
    floodRates.resets.burst,
    /reset/,
    (i) => Buffer.concat([ask(2 * i + 1), windowUpdate(2 * i + 1, 0)]),
  ],
  ['SETTINGS', floodRates.settings.burst, /SETTINGS/, () => settings],
  ['window toggles', floodRates.settings.burst, /SETTINGS/, (i) => setting(4, i % 2)],
  ['SETTINGS acknowledgments', floodRates.useless.burst, /SETTINGS/, () => settingsAck],
  ['PING', floodRates.pings.burst, /PING/, () => ping],
  [
    'PING acknowledgments',
    floodRates.useless.burst,
    /PING/,
    () => frame(frameType.ping, 1, 0, Buffer.alloc(8)),
  ],
  ['PRIORITY', floodRates.useless.burst, /PRIORITY/, () => priority],
  ['unknown frames', floodRates.useless.burst, /unknown/, () => frame(0x40, 0, 1, Buffer.alloc(10))],
  ['GOAWAY', floodRates.useless.burst, /GOAWAY/, () => goAway(0), ask(1)],
  ['empty DATA', floodRates.emptyData.burst, /empty DATA/, () => data(1, 0), post(1)],
  ['WINDOW_UPDATE', floodRates.windowUpdates.burst, /WINDOW_UPDATE/, () => windowUpdate(0, 1)],
];
for (const [name, burst, why, of, ...before] of floods)
  test(`a flood ends the connection: ${name}`, async () => {
    const peer = new RawPeer('server', { maxConcurrentStreams: 10_000 });
    peer.send(...before);
    const count = until(peer, 2 * burst, of);
    assert.ok(count >= burst - 1 && count <= burst * 1.1, String(count));
    await assertFlood(peer, why);
  });

test('more streams than announced are refused, and a flood of them ends the connection', async () => {
  const peer = new RawPeer('server', { maxConcurrentStreams: 2 });
  peer.send(post(1), post(3), ask(5));
  assert.equal((await peer.frames()).at(-1), 'rst 5 7');
  assert.equal(peer.streams.length, 2);
  peer.streams[0]?.stream.reset(8);
  peer.send(post(7));
  assert.equal(peer.streams.length, 3);
  until(peer, 2 * floodRates.refused.burst, (i) => ask(2 * i + 9));
  await assertFlood(peer, /beyond the announced maximum/);
});

test('streams that are complete and paused do not count as open, up to as many again', async () => {
  const peer = new RawPeer('server', { maxConcurrentStreams: 2 });
  peer.onEvent = (stream) => stream.pause();
  for (let id = 1; id <= 7; id += 2) {
    peer.send(post(id));
    const { stream } = peer.streams.at(-1) as { stream: (typeof peer.streams)[number]['stream'] };
    stream.pause();
    peer.send(data(id, 10, true));
    stream.respond([':status', '200'], true);
  }
  assert.equal(peer.connection.openStreams, 4);
  peer.send(post(9));
  assert.equal((await peer.frames()).at(-1), 'rst 9 7');
});

test('a header block is bounded: its bytes, its frames and its time', async () => {
  const begin = frame(frameType.headers, endStream, 1, block(...pseudo()));
  const endless = (part: Buffer) => (i: number) =>
    i === 0 ? begin : frame(frameType.continuation, 0, 1, part);
  const bytes = new RawPeer('server', { frameBytesMax: 1 << 20 });
  assert.ok(until(bytes, 100, endless(Buffer.alloc(100_000))) < 5);
  await assertFlood(bytes, /header block of more than 131072 bytes/);
  const frames = new RawPeer();
  assert.ok(until(frames, 100, endless(Buffer.alloc(0))) < 30);
  await assertFlood(frames, /header block of more than \d+ frames/);
  const time = new RawPeer('server', { headerBlockTimeoutMsMax: 20 });
  time.send(begin);
  await eventually(() => time.end !== undefined, 'the end of the connection');
  assert.equal(time.end?.kind, 'timeout');
});

test('a GOAWAY holds no more than a short text', async () => {
  const long = new RawPeer('server', { frameBytesMax: 1 << 20 });
  // The head alone: nothing of the payload is collected.
  long.send(frame(frameType.goaway, 0, 0, Buffer.alloc(1 << 20)).subarray(0, 9));
  await assertFlood(long, /bytes in a GOAWAY/);
  const short = new RawPeer('server', { frameBytesMax: 1 << 20 });
  short.send(frame(frameType.goaway, 0, 0, Buffer.alloc(4_096)), ask(1));
  assert.notEqual(short.end?.kind, 'flood');
});

test('a connection whose reads always end within a block is not late', async () => {
  const peer = new RawPeer('server', { headerBlockTimeoutMsMax: 30, maxConcurrentStreams: 1000 });
  let rest: Buffer = Buffer.alloc(0);
  for (let id = 1; id < 40; id += 2) {
    const one = ask(id);
    peer.send(rest, one.subarray(0, 20));
    rest = one.subarray(20);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.equal(peer.connection.isClosed, false);
});

test('a peer that sends no SETTINGS is late', async () => {
  const peer = new RawPeer('client', { settingsTimeoutMsMax: 20 });
  await new Promise((resolve) => setTimeout(resolve, 40));
  assert.equal(peer.connection.isClosed, false);
  const { createConnection } = await import('./connection.js');
  const { engineOptions } = await import('../../test/support/http2-engine.js');
  const ends: string[] = [];
  const other = new RawPeer();
  createConnection(other.transport, engineOptions('server', { settingsTimeoutMsMax: 20 }), {
    ...other.connection.listener,
    onClose: ({ kind }) => ends.push(kind),
  });
  await eventually(() => ends.length > 0, 'the end of the connection');
  assert.deepEqual(ends, ['timeout']);
});

test('frames for a peer that does not read are bounded', async () => {
  const acks = new RawPeer();
  await acks.frames();
  acks.transport.isRoom = false;
  acks.send(ping);
  await turns(2);
  for (let i = 0; i < queuedControlFramesMax + 2 && !acks.connection.isClosed; i++) {
    acks.send(post(2 * i + 1), ping);
    acks.streams.at(-1)?.stream.reset(8);
  }
  await turns(2);
  assert.equal(acks.end?.kind, 'flood');
  assert.match(acks.end?.why ?? '', /does not read/);
  const heads = new RawPeer();
  await heads.frames();
  heads.transport.isRoom = false;
  const value = 'v'.repeat(20_000);
  for (let i = 0; i < 1000 && !heads.connection.isClosed; i++) {
    heads.send(ask(2 * i + 1));
    heads.streams.at(-1)?.stream.respond([':status', '200', `x-${i}`, value], true);
    await turns(1);
  }
  assert.equal(heads.end?.kind, 'flood');
});

test('busy peers are no flood: a PING and WINDOW_UPDATEs for each DATA frame, cancels at a moderate rate', async () => {
  const peer = new RawPeer('server', { maxConcurrentStreams: 100 });
  peer.send(windowUpdate(0, 1 << 30), setting(4, 1 << 30));
  for (let i = 0; i < 5_000; i++) {
    const id = 2 * i + 1;
    peer.send(ask(id), ping);
    const stream = peer.streams.at(-1)?.stream;
    stream?.respond([':status', '200'], false);
    for (let k = 0; k < 3; k++) {
      stream?.write(Buffer.alloc(10));
      peer.send(windowUpdate(0, 10), windowUpdate(id, 10), ping);
    }
    stream?.end();
    // The reset crosses the end of the stream.
    peer.send(rst(id, 8));
    if (i % 100 === 0) await peer.frames();
  }
  assert.equal(peer.connection.isClosed, false, peer.end?.why);
  for (let i = 0; i < 800; i++) peer.send(ask(20_001 + 2 * i), rst(20_001 + 2 * i, 8));
  assert.equal(peer.connection.isClosed, false);
});

test('a peer that consumes in small reads is no flood: Go sends WINDOW_UPDATEs for each 4 KiB', async () => {
  const peer = new RawPeer();
  peer.send(windowUpdate(0, 1 << 30), setting(4, 1 << 30), ask(1));
  const stream = peer.streams[0]?.stream;
  stream?.respond([':status', '200'], false);
  for (let i = 0; i < 2_000; i++) {
    stream?.write(Buffer.alloc(16 << 10));
    for (let k = 0; k < 4; k++) peer.send(windowUpdate(0, 4096), windowUpdate(1, 4096));
    if (i % 10 === 0) await peer.frames();
  }
  assert.equal(peer.connection.isClosed, false, peer.end?.why);
});

test('a rate is a burst and what comes back with time', () => {
  const bucket = new Bucket({ burst: 3, perS: 0 });
  assert.deepEqual([bucket.take(), bucket.take(), bucket.take(), bucket.take()], [true, true, true, false]);
  bucket.earn(2);
  assert.deepEqual([bucket.take(), bucket.take()], [true, false]);
});

test('HPACK bombs reset their stream, and the connection goes on', async () => {
  const peer = new RawPeer('server', { headerListBytesMax: 20_000 });
  const insert = Buffer.concat([
    Buffer.from([0x40, 1, 0x78, 0x7f, 0x81, 0x1e]),
    Buffer.alloc(127 + 0x81 - 0x80 + 0x1e * 128, 'v'),
  ]);
  peer.send(frame(frameType.headers, endHeaders | endStream, 1, Buffer.concat([block(...pseudo()), insert])));
  peer.send(
    frame(
      frameType.headers,
      endHeaders | endStream,
      3,
      Buffer.concat([block(...pseudo()), Buffer.alloc(10_000, 0xbe)]),
    ),
  );
  assert.ok((await peer.frames()).includes('rst 3 11'));
  peer.send(ask(5));
  assert.equal(peer.streams.at(-1)?.stream.id, 5);
});
