import assert from 'node:assert/strict';
import { test } from 'node:test';
import v8 from 'node:v8';
import vm from 'node:vm';
import { turns } from '../../test/support/http2-engine.js';
import {
  block,
  endHeaders,
  endStream,
  frame,
  frameType,
  preface,
  pseudo,
  rst,
  settings,
} from '../../test/support/http2-frames.js';
import { ask, post, data, get, goAway, RawPeer } from '../../test/support/http2-raw.js';
import type { ConnectionEnd, Http2Stream } from './http2.js';

const response = (id: number, flags = endHeaders | endStream): Buffer =>
  frame(frameType.headers, flags, id, block([':status', '200']));
const pingAck = (number: number): Buffer =>
  frame(frameType.ping, 1, 0, Buffer.from([0, 0, 0, 0, 0, 0, 0, number]));
const closeTransport = (peer: RawPeer): void => {
  peer.transport.isOpen = false;
  peer.transport.listener?.onClose(undefined);
};

test('a server drains in two steps: requests under way are served, later ones are ignored', async () => {
  const peer = new RawPeer();
  peer.send(ask(1));
  await peer.frames();
  peer.connection.drain();
  assert.equal(peer.connection.isDraining, true);
  assert.deepEqual(await peer.frames(), ['goaway 2147483647 0', 'ping']);
  peer.send(ask(3));
  peer.send(pingAck(1));
  assert.deepEqual(await peer.frames(), ['goaway 3 0']);
  peer.send(post(5), data(5, 10, true));
  assert.deepEqual(
    peer.streams.map(({ stream }) => stream.id),
    [1, 3],
  );
  for (const { stream } of peer.streams) stream.respond([':status', '200'], true);
  assert.equal((await peer.frames()).length, 2);
  assert.equal(peer.transport.isEnded, true);
  assert.equal(peer.end, undefined, "the peer reads the rest before the connection's end");
  closeTransport(peer);
  await turns(2);
  assert.equal((peer.end as ConnectionEnd | undefined)?.kind, 'closed');
});

test('a client drains: its streams go on, and the transport ends after the last one', async () => {
  const peer = new RawPeer('client');
  peer.request();
  peer.connection.drain();
  assert.equal(peer.connection.canOpen, false);
  assert.equal(peer.connection.request(get, true), undefined);
  assert.equal((await peer.frames()).at(-1), 'goaway 0 0');
  assert.equal(peer.transport.isEnded, false);
  peer.send(response(1));
  await turns(3);
  assert.equal(peer.transport.isEnded, true);
});

test('GOAWAY with an error code: what the peer sent after it does not reset the connection', async () => {
  const peer = new RawPeer();
  peer.send(goAway(0, 0xff));
  await turns(3);
  peer.send(frame(frameType.ping, 0, 0, Buffer.alloc(8)));
  assert.equal(peer.transport.isEnded, true);
  assert.equal(peer.transport.isOpen, true);
  closeTransport(peer);
  await turns(2);
  assert.equal(peer.end?.kind, 'peer');
  assert.equal(peer.end.code, 0xff);
});

test('GOAWAY: streams above the last one were not processed, the others go on', async () => {
  const peer = new RawPeer('client');
  const [a, b] = [peer.request(), peer.request()];
  await peer.frames();
  peer.send(goAway(1));
  assert.deepEqual(b.events, ['reset 7 connection unprocessed']);
  assert.equal(peer.connection.canOpen, false);
  peer.send(response(1));
  assert.deepEqual(a.events, ['head 200 end']);
  await turns(3);
  assert.equal(peer.transport.isEnded, true);
  closeTransport(peer);
  await turns(2);
  assert.deepEqual(peer.events.slice(-2), ['closed 1', 'close closed']);
});

test('REFUSED_STREAM is unprocessed, other codes are not', () => {
  const peer = new RawPeer('client');
  const [a, b] = [peer.request(), peer.request()];
  peer.send(rst(1, 7), rst(3, 2));
  assert.deepEqual(a.events, ['reset 7 peer unprocessed']);
  assert.deepEqual(b.events, ['reset 2 peer']);
});

test('the transport closes: every stream gets its last event, then the connection does', async () => {
  const peer = new RawPeer('client');
  const a = peer.request();
  await peer.frames();
  const unsent = peer.request();
  closeTransport(peer);
  await turns(2);
  assert.deepEqual(a.events, ['reset 8 connection']);
  assert.deepEqual(unsent.events, ['reset 8 connection unprocessed']);
  assert.deepEqual(peer.events.slice(-3), ['closed 1', 'closed 3', 'close peer']);
  assert.equal(peer.connection.openStreams, 0);
});

test('a complete response survives the end of its connection', async () => {
  const peer = new RawPeer('client');
  const { stream, events } = peer.request();
  stream.pause();
  peer.send(response(1, endHeaders), data(1, 5000, true), goAway(1));
  peer.transport.listener?.onEnd();
  closeTransport(peer);
  await turns(3);
  assert.deepEqual(events, ['head 200', 'data 5000', 'end']);
  assert.equal(peer.end?.kind, 'closed');
});

test('RST_STREAM (NO_ERROR) behind a response leaves it complete', async () => {
  const peer = new RawPeer('client');
  const { stream, events } = peer.request(get, false);
  stream.write(Buffer.alloc(10));
  peer.send(response(1), rst(1, 0));
  assert.deepEqual(events, ['head 200 end', 'reset 0 peer']);
});

test('the server does not want the rest of a request', async () => {
  const peer = new RawPeer();
  peer.send(post(1), data(1, 10));
  await peer.frames();
  const { stream, events } = peer.streams[0] as (typeof peer.streams)[number];
  stream.respond([':status', '413'], false);
  stream.discard();
  stream.write(Buffer.from('no'));
  stream.end();
  const frames = await peer.frames();
  assert.deepEqual(frames.slice(1), ['data 1 end 2', 'rst 1 0']);
  peer.send(data(1, 10_000));
  assert.deepEqual(events, ['data 10']);
  assert.equal(peer.connection.openStreams, 0);
});

test('pings call back in their order, and a wrong acknowledgment calls nothing', async () => {
  const peer = new RawPeer();
  const calls: string[] = [];
  peer.connection.ping(() => calls.push('a'));
  peer.connection.ping(() => calls.push('b'));
  peer.send(pingAck(7));
  assert.deepEqual(calls, []);
  peer.send(pingAck(1), pingAck(2));
  assert.deepEqual(calls, ['a', 'b']);
});

test("an owner's calls cause no event within them", async () => {
  const peer = new RawPeer();
  peer.send(post(1), post(3), data(3, 10, true));
  const before = peer.events.length;
  const [a, b] = peer.streams as [(typeof peer.streams)[number], (typeof peer.streams)[number]];
  a.stream.reset(8);
  b.stream.respond([':status', '200'], true);
  peer.connection.drain();
  peer.connection.destroy(2);
  assert.equal(peer.events.length, before);
  assert.equal(peer.connection.openStreams, 0);
  await turns(3);
  assert.deepEqual(peer.events.slice(before), ['closed 1', 'closed 3', 'close local']);
  assert.deepEqual(a.events, []);
  assert.equal(peer.transport.isDestroyed, true);
});

test('within an event the owner may reset, pause, write and destroy', async () => {
  const actions: [string, (peer: RawPeer, stream: Http2Stream) => void][] = [
    ['destroy', (peer) => peer.connection.destroy()],
    ['reset', (_peer, stream) => stream.reset(8)],
    ['reset all', (peer) => peer.streams.forEach(({ stream }) => stream.reset(8))],
    ['pause', (_peer, stream) => stream.pause()],
    ['discard', (_peer, stream) => stream.discard()],
    ['drain', (peer) => peer.connection.drain()],
  ];
  const script = [
    post(1),
    data(1, 10),
    post(3),
    data(3, 20),
    data(1, 5, true),
    data(3, 1),
    ask(5),
    rst(3, 8),
  ];
  for (const [name, action] of actions)
    for (let at = 0; at < 6; at++) {
      const peer = new RawPeer();
      let count = 0;
      peer.onEvent = (stream) => {
        if (count++ === at) action(peer, stream);
      };
      peer.send(...script);
      if (name === 'destroy') assert.equal(count, Math.min(at + 1, count), 'no event after destroy');
      await turns(4);
      closeTransport(peer);
      await turns(4);
      assert.equal(peer.connection.openStreams, 0, `${name} ${at}`);
      assert.notEqual(peer.end, undefined, `${name} ${at}`);
      assert.equal(peer.events.at(-1)?.startsWith('close '), true, peer.events.join());
    }
});

test('a transport that is closed already ends the connection in a later turn', async () => {
  const { createConnection } = await import('./connection.js');
  const { engineOptions } = await import('../../test/support/http2-engine.js');
  const peer = new RawPeer();
  closeTransport(peer);
  const ends: string[] = [];
  createConnection(peer.transport, engineOptions('client'), {
    ...peer.connection.listener,
    onClose: ({ kind }) => ends.push(kind),
  });
  assert.deepEqual(ends, []);
  await turns(2);
  assert.deepEqual(ends, ['closed']);
});

test('reads that divide frames anywhere mean the same', async () => {
  const bytes = Buffer.concat([
    preface,
    settings,
    frame(frameType.headers, 0, 1, block(...pseudo('/', 'POST')).subarray(0, 10)),
    frame(frameType.continuation, endHeaders, 1, block(...pseudo('/', 'POST')).subarray(10)),
    frame(frameType.data, 8, 1, Buffer.from([2, 65, 66, 67, 0, 0])),
    frame(0x77, 0, 1, Buffer.alloc(30)),
    data(1, 40, true),
    ask(3),
    frame(frameType.ping, 0, 0, Buffer.from('12345678')),
    goAway(0),
  ]);
  const seenBy = async (pieces: readonly Buffer[]): Promise<string> => {
    const peer = new RawPeer('server', {}, []);
    for (const piece of pieces) peer.send(piece);
    const sum = (events: readonly string[]): number =>
      events.reduce((total, one) => total + (one.startsWith('data') ? Number(one.split(' ')[1]) : 0), 0);
    return JSON.stringify([
      peer.streams.map(({ stream, fields, events }) => [stream.id, fields, sum(events), events.at(-1)]),
      peer.events.filter((one) => !one.includes('data')),
      (await peer.frames()).join(),
    ]);
  };
  const whole = await seenBy([bytes]);
  assert.match(whole, /43,"end"/);
  for (let at = 1; at < bytes.length; at++)
    assert.equal(await seenBy([bytes.subarray(0, at), bytes.subarray(at)]), whole, String(at));
  assert.equal(await seenBy(Array.from(bytes, (byte) => Buffer.from([byte]))), whole);
});

test('a stream is collectable after its end', async () => {
  v8.setFlagsFromString('--expose_gc');
  const collect = vm.runInNewContext('gc') as () => void;
  const peer = new RawPeer();
  const refs: WeakRef<Http2Stream>[] = [];
  const use = (id: number): void => {
    peer.send(post(id), data(id, 100, id % 4 === 1));
    const { stream } = peer.streams.pop() as { stream: Http2Stream };
    refs.push(new WeakRef(stream));
    stream.respond([':status', '200'], false);
    stream.write(Buffer.alloc(100_000));
    if (id % 4 === 1) stream.end();
    stream.reset(8);
  };
  for (let id = 1; id < 20; id += 2) use(id);
  await peer.frames();
  peer.events.length = 0;
  await new Promise((resolve) => setTimeout(resolve, 5));
  collect();
  assert.equal(refs.filter((ref) => ref.deref() !== undefined).length, 0);
});
