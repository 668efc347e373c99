import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../base/wait.js';
import { turns } from '../../test/support/http2-engine.js';
import { rst } from '../../test/support/http2-frames.js';
import {
  ask,
  post,
  data,
  RawPeer,
  setting,
  windowUpdate,
  type SeenStream,
} from '../../test/support/http2-raw.js';
import { bufferedBytes } from './buffered-bytes.js';

/** A POST whose body follows. */
/** A request without a body. */
const first = (peer: RawPeer): SeenStream => peer.streams[0] as SeenStream;

async function opened(peer: RawPeer, ...frames: readonly Buffer[]): Promise<RawPeer> {
  peer.send(...frames);
  await peer.frames();
  return peer;
}

test('a consumed window is opened again at its half, for the stream and the connection', async () => {
  const peer = await opened(new RawPeer('server', { connectionWindowBytes: 65_535 }), post(1));
  peer.send(data(1, 16_000));
  assert.deepEqual(await peer.frames(), []);
  peer.send(data(1, 16_384), data(1, 1_000));
  assert.deepEqual(await peer.frames(), ['window 0 33384', 'window 1 33384']);
});

test('a paused stream buffers its data and its window stays closed; resumed, it gets data and end in order', async () => {
  const peer = await opened(new RawPeer('server', { connectionWindowBytes: 1 << 20 }), post(1));
  const { stream, events } = first(peer);
  stream.pause();
  for (let i = 0; i < 3; i++) peer.send(data(1, 16_384));
  peer.send(data(1, 100), data(1, 16_000, true));
  assert.deepEqual(await peer.frames(), []);
  assert.deepEqual(events, []);
  assert.equal(stream.isRemoteEnded, true);
  stream.resume();
  assert.deepEqual(events, [], 'not within the call');
  await turns(2);
  assert.deepEqual(events, ['data 16384', 'data 16384', 'data 16384', 'data 100', 'data 16000', 'end']);
});

test('small chunks of a paused stream are copied into buffers of their own', async () => {
  const peer = await opened(new RawPeer(), post(1));
  const { stream, events } = first(peer);
  stream.pause();
  peer.send(...Array.from({ length: 5_000 }, () => data(1, 1)));
  stream.resume();
  await turns(2);
  assert.equal(
    events.reduce((sum, event) => sum + Number(event.split(' ')[1]), 0),
    5_000,
  );
  assert.ok(events.length < 5, String(events.length));
});

test('DATA beyond a window ends the stream, or the connection', async () => {
  const peer = await opened(new RawPeer('server', { streamWindowBytes: 65_535 }), post(1), post(3));
  first(peer).stream.pause();
  for (let i = 0; i < 4; i++) peer.send(data(1, 16_383));
  peer.send(data(1, 4));
  assert.deepEqual(await peer.frames(), ['rst 1 3']);
  assert.deepEqual(first(peer).events.at(-1), 'reset 3 protocol');
  assert.equal(peer.connection.isClosed, false);
  const other = await opened(
    new RawPeer('server', { connectionWindowBytes: 65_535, streamWindowBytes: 1 << 20, bufferedBytesMax: 0 }),
    post(1),
  );
  first(other).stream.pause();
  for (let i = 0; i < 5; i++) other.send(data(1, 16_383));
  assert.deepEqual(await other.frames(), ['goaway 1 3']);
});

test('paused streams do not stop the others before their limit', async () => {
  const peer = await opened(
    new RawPeer('server', {
      connectionWindowBytes: 65_535,
      streamWindowBytes: 65_535,
      bufferedBytesMax: 65_535,
    }),
    post(1),
    post(3),
    post(5),
  );
  first(peer).stream.pause();
  peer.streams[1]?.stream.pause();
  for (let i = 0; i < 4; i++) peer.send(data(1, 16_383));
  // Credited though nothing was consumed.
  assert.deepEqual(await peer.frames(), ['window 0 49149']);
  for (let i = 0; i < 3; i++) peer.send(data(3, 16_383));
  assert.deepEqual(await peer.frames(), [], 'beyond the limit credit waits for the owner');
  first(peer).stream.reset(8);
  assert.deepEqual(await peer.frames(), ['rst 1 8', 'window 0 65532']);
});

/** With other limits of the process. Nothing is buffered before and after. */
async function withBufferLimits(
  sharedMax: number,
  bytesMax: number,
  run: () => Promise<void>,
): Promise<void> {
  const { sharedMax: formerShared, bytesMax: formerBytes } = bufferedBytes;
  Object.assign(bufferedBytes, { sharedMax, bytesMax });
  const before = bufferedBytes.bytes;
  try {
    await run();
    assert.equal(bufferedBytes.bytes, before);
  } finally {
    Object.assign(bufferedBytes, { sharedMax: formerShared, bytesMax: formerBytes });
  }
}

/** Of a connection whose streams are paused: how much its peer can send. */
async function sendAll(peer: RawPeer, ids: readonly number[], window = 1 << 20): Promise<number> {
  await opened(peer, ...ids.map(post));
  for (const { stream } of peer.streams) stream.pause();
  let sent = 0;
  for (const id of ids)
    for (let i = 0; i < 4; i++) {
      if (window < 16_383) return sent;
      peer.send(data(id, 16_383));
      sent += 16_383;
      window -= 16_383;
      for (const one of await peer.frames())
        if (one.startsWith('window 0')) window += Number(one.split(' ')[2]);
    }
  return sent;
}

test('connections share what is credited for paused streams, and each leaves room for the next', () =>
  withBufferLimits(bufferedBytes.bytes + 400_000, 1 << 30, async () => {
    const options = { connectionWindowBytes: 65_535, streamWindowBytes: 65_535, bufferedBytesMax: 1 << 30 };
    const ids = Array.from({ length: 50 }, (_, i) => 2 * i + 1);
    const peers = [1, 2, 3].map(() => new RawPeer('server', options));
    const sent: number[] = [];
    for (const peer of peers) sent.push(await sendAll(peer, ids, 65_535));
    // Two windows of its own, and half of what the connections before it have left.
    for (const [i, share] of [200_000, 100_000, 50_000].entries())
      assert.ok(Math.abs((sent[i] as number) - 131_070 - share) < 66_000, sent.join());
    const [last] = peers.splice(2) as [RawPeer];
    for (const peer of peers) peer.connection.destroy();
    // It gets the room that the others have left, although its own streams stay paused.
    await until('credit for the last one', 30_000, async () =>
      (await last.frames()).some((one) => one.startsWith('window 0')),
    );
    last.connection.destroy();
    await turns(3);
    const again = new RawPeer('server', options);
    assert.equal(await sendAll(again, ids, 65_535), sent[0]);
    again.connection.destroy();
    await turns(3);
  }));

test('beyond the limit of the process, streams of the connection that buffers most are reset', () =>
  withBufferLimits(1 << 30, bufferedBytes.bytes + 300_000, async () => {
    const small = new RawPeer();
    const large = new RawPeer();
    await sendAll(small, [1]);
    await sendAll(large, [1, 3]);
    assert.deepEqual(
      large.events.filter((event) => event.includes('reset')),
      [],
    );
    await sendAll(small, [3]);
    large.send(post(5));
    large.streams[2]?.stream.pause();
    for (let i = 0; i < 4; i++) large.send(data(5, 16_383));
    assert.deepEqual(await large.frames(), ['rst 1 11']);
    assert.deepEqual(large.streams[0]?.events, ['reset 11 connection']);
    assert.deepEqual(
      small.events.filter((event) => event.includes('reset')),
      [],
    );
    large.streams[1]?.stream.resume();
    await turns(2);
    assert.equal(large.streams[1]?.events.length, 4, 'the others go on');
    for (const peer of [small, large]) peer.connection.destroy();
    await turns(3);
  }));

test('a window of the peer bounds what is sent, and negative windows are waited out', async () => {
  const peer = await opened(new RawPeer(), setting(4, 100), ask(1));
  const { stream } = first(peer);
  stream.respond([':status', '200'], false);
  stream.write(Buffer.alloc(150));
  assert.deepEqual((await peer.frames()).slice(1), ['data 1 100']);
  peer.send(setting(4, 20), windowUpdate(1, 80));
  assert.deepEqual(await peer.frames(), ['settings ack'], 'the window is 0');
  peer.send(windowUpdate(1, 20));
  assert.deepEqual(await peer.frames(), ['data 1 20']);
  stream.end();
  peer.send(setting(4, 60));
  assert.deepEqual((await peer.frames()).slice(1), ['data 1 end 30']);
});

test('streams take turns, a frame each, and a full backlog is reported', async () => {
  const peer = await opened(new RawPeer('server', { backlogBytesMax: 65_536 }), ask(1), ask(3));
  for (const { stream } of peer.streams) {
    stream.respond([':status', '200'], false);
    assert.equal(stream.write(Buffer.alloc(60_000)), true);
    assert.equal(stream.write(Buffer.alloc(60_000)), false);
  }
  const sent = (await peer.frames()).filter((one) => one.startsWith('data'));
  assert.deepEqual(sent.slice(0, 4), ['data 1 16384', 'data 3 16384', 'data 1 16384', 'data 3 16383']);
  assert.equal(
    sent.reduce((sum, one) => sum + Number(one.split(' ')[2]), 0),
    65_535,
    "the connection's window",
  );
  assert.deepEqual(first(peer).events, []);
  peer.send(windowUpdate(0, 1 << 20), windowUpdate(1, 1 << 20), windowUpdate(3, 1 << 20));
  await turns(3);
  assert.deepEqual(
    peer.streams.map(({ events }) => events),
    [['drain'], ['drain']],
  );
});

test('a transport without room holds streams back, and one flush of a turn is one write', async () => {
  const peer = await opened(new RawPeer(), ask(1), ask(3), windowUpdate(0, 1 << 20));
  const before = peer.transport.writes;
  peer.transport.isRoom = false;
  for (const { stream } of peer.streams) {
    stream.respond([':status', '200'], false);
    stream.write(Buffer.alloc(100));
    stream.end(['a', 'b']);
  }
  await turns(3);
  assert.equal(peer.transport.writes, before + 1);
  peer.send(ask(5), ask(7));
  const last = peer.streams.at(-1) as SeenStream;
  last.stream.respond([':status', '200'], false);
  last.stream.write(Buffer.alloc(10_000));
  await turns(3);
  assert.equal(peer.transport.writes, before + 1);
  peer.transport.isRoom = true;
  peer.transport.listener?.onDrain();
  await turns(3);
  assert.equal(peer.transport.writes, before + 2);
});

test('END_STREAM is on the last frame of a turn', async () => {
  const peer = await opened(new RawPeer(), ask(1), ask(3), ask(5));
  const [a, b, c] = peer.streams as [SeenStream, SeenStream, SeenStream];
  a.stream.respond([':status', '200'], false);
  a.stream.write(Buffer.alloc(5));
  a.stream.end();
  b.stream.respond([':status', '200'], false);
  b.stream.end();
  c.stream.respond([':status', '200'], false);
  c.stream.write(Buffer.alloc(9_000));
  c.stream.end();
  const sent = await peer.frames();
  assert.deepEqual(
    sent.map((one) => one.replace(/^(headers .*) \d+$/, '$1')),
    ['headers 1', 'data 1 end 5', 'headers 3 end', 'headers 5', 'data 5 end 9000'],
  );
  assert.equal(peer.connection.openStreams, 0);
});

test('a stream that was reset leaves nothing behind', async () => {
  const peer = await opened(new RawPeer('server', { maxConcurrentStreams: 1 }), setting(4, 0));
  for (let id = 1; id < 200; id += 2) {
    peer.send(ask(id));
    const { stream } = peer.streams.at(-1) as SeenStream;
    stream.respond([':status', '200'], false);
    stream.write(Buffer.alloc(1000));
    peer.send(rst(id, 8));
  }
  assert.equal(peer.connection.openStreams, 0);
  peer.send(setting(4, 1 << 20));
  assert.deepEqual(
    (await peer.frames()).filter((one) => one.startsWith('data')),
    [],
  );
});
