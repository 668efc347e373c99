import assert from 'node:assert/strict';
import { test } from 'node:test';
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
import { ask, post, data, get, RawPeer, setting, windowUpdate } from '../../test/support/http2-raw.js';

const head = (id: number, flags: number, ...pairs: [string, string][]): Buffer =>
  frame(frameType.headers, flags, id, block(...pairs));
const both = endHeaders | endStream;

const connectionErrors: [string, number, ...Buffer[]][] = [
  ['a frame beyond SETTINGS_MAX_FRAME_SIZE', 6, frame(0x20, 0, 0, Buffer.alloc(16_385))],
  ['DATA on stream 0', 1, data(0, 1)],
  ['DATA on an idle stream', 1, data(1, 1)],
  ['DATA after END_STREAM', 5, ask(1), data(1, 1)],
  ['HEADERS after END_STREAM', 5, ask(1), ask(1)],
  ['HEADERS on an even stream', 1, ask(2)],
  ['HEADERS on stream 0', 1, ask(0)],
  [
    'a stream that depends on itself',
    1,
    frame(
      frameType.headers,
      both | 0x20,
      1,
      Buffer.concat([Buffer.from([0, 0, 0, 1, 0]), block(...pseudo())]),
    ),
  ],
  ['padding beyond HEADERS', 1, frame(frameType.headers, both | 8, 1, Buffer.from([9, 1]))],
  ['padding beyond DATA', 1, post(1), frame(frameType.data, 8, 1, Buffer.from([9, 1]))],
  ['padded DATA without a length', 1, post(1), frame(frameType.data, 8, 1)],
  ['CONTINUATION without HEADERS', 1, frame(frameType.continuation, endHeaders, 1)],
  ['a frame within a block', 1, head(1, 0, ...pseudo()), frame(frameType.ping, 0, 0, Buffer.alloc(8))],
  [
    'CONTINUATION of another stream',
    1,
    head(1, 0, ...pseudo()),
    frame(frameType.continuation, endHeaders, 3),
  ],
  ['RST_STREAM on an idle stream', 1, rst(1, 0)],
  ['RST_STREAM on stream 0', 1, rst(0, 0)],
  ['RST_STREAM of 3 bytes', 6, ask(1), frame(frameType.rst, 0, 1, Buffer.alloc(3))],
  ['WINDOW_UPDATE on an idle stream', 1, windowUpdate(1, 1)],
  ['WINDOW_UPDATE of 0 on the connection', 1, windowUpdate(0, 0)],
  ['a window above 2^31-1', 3, windowUpdate(0, 0x7fff_ffff)],
  ['SETTINGS on a stream', 1, frame(frameType.settings, 0, 1)],
  ['SETTINGS of 5 bytes', 6, frame(frameType.settings, 0, 0, Buffer.alloc(5))],
  ['an acknowledgment with a payload', 6, frame(frameType.settings, 1, 0, Buffer.alloc(6))],
  ['SETTINGS_ENABLE_PUSH 2', 1, setting(2, 2)],
  ['SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1', 3, setting(4, 0x8000_0000)],
  ['SETTINGS_MAX_FRAME_SIZE below 16384', 1, setting(5, 16_383)],
  ['PING on a stream', 1, frame(frameType.ping, 0, 1, Buffer.alloc(8))],
  ['PING of 7 bytes', 6, frame(frameType.ping, 0, 0, Buffer.alloc(7))],
  ['GOAWAY on a stream', 1, frame(frameType.goaway, 0, 1, Buffer.alloc(8))],
  ['PRIORITY of 4 bytes', 6, frame(frameType.priority, 0, 1, Buffer.alloc(4))],
  ['PUSH_PROMISE', 1, frame(frameType.push, 4, 1, Buffer.alloc(4))],
  ['an HPACK index that does not exist', 9, frame(frameType.headers, both, 1, Buffer.from([0xff, 0x60]))],
];
for (const [name, code, ...frames] of connectionErrors)
  test(`a connection error: ${name}`, async () => {
    const peer = new RawPeer();
    await peer.frames();
    peer.send(...frames, ask(99));
    assert.match((await peer.frames()).at(-1) ?? '', new RegExp(`^goaway \\d+ ${code}$`));
    assert.equal(peer.end?.kind, 'protocol');
    assert.ok(!peer.streams.some(({ stream }) => stream.id === 99), 'nothing is read any more');
    assert.equal(peer.transport.isEnded, true);
  });

test('a server needs the preface, and both need SETTINGS first', async () => {
  const wrong = new RawPeer('client');
  assert.equal(wrong.connection.isClosed, false);
  for (const [role, bytes] of [
    ['server', Buffer.from('GET / HTTP/1.1\r\nhost: a\r\n\r\n')],
    ['server', Buffer.concat([preface, ask(1)])],
    ['client', frame(frameType.ping, 0, 0, Buffer.alloc(8))],
    ['client', frame(frameType.settings, 1, 0)],
  ] as const) {
    const peer = new RawPeer(role, {}, []);
    peer.send(bytes);
    await peer.frames();
    assert.equal(peer.end?.kind, 'protocol');
  }
});

const malformed: [string, [string, string][]][] = [
  [
    'no :method',
    [
      [':scheme', 'http'],
      [':path', '/'],
    ],
  ],
  [
    'no :path',
    [
      [':method', 'GET'],
      [':scheme', 'http'],
    ],
  ],
  [
    'an empty :path',
    [
      [':method', 'GET'],
      [':scheme', 'http'],
      [':path', ''],
    ],
  ],
  [
    'no :scheme',
    [
      [':method', 'GET'],
      [':path', '/'],
    ],
  ],
  [
    'a :scheme that is none',
    [
      [':method', 'GET'],
      [':scheme', '8http'],
      [':path', '/'],
      [':authority', 'a'],
    ],
  ],
  ['user information in :authority', pseudo('/', 'GET', 'user@api.shop')],
  ['a slash in :authority', pseudo('/', 'GET', 'api.shop/a')],
  ['user information in host', [...pseudo(), ['host', 'user@api.shop']]],
  ['a repeated pseudo-header', [...pseudo(), [':path', '/b']]],
  ['an unknown pseudo-header', [...pseudo(), [':protocol', 'websocket']]],
  ['a pseudo-header of responses', [...pseudo(), [':status', '200']]],
  [
    'a pseudo-header behind a field',
    [
      [':method', 'GET'],
      ['a', 'b'],
      [':scheme', 'http'],
      [':path', '/'],
    ],
  ],
  [
    'CONNECT with :path',
    [
      [':method', 'CONNECT'],
      [':authority', 'a:1'],
      [':path', '/'],
    ],
  ],
  ['CONNECT without :authority', [[':method', 'CONNECT']]],
  ['connection', [...pseudo(), ['connection', 'close']]],
  ['keep-alive', [...pseudo(), ['keep-alive', '1']]],
  ['proxy-connection', [...pseudo(), ['proxy-connection', 'close']]],
  ['transfer-encoding', [...pseudo(), ['transfer-encoding', 'chunked']]],
  ['upgrade', [...pseudo(), ['upgrade', 'h2c']]],
  ['te: gzip', [...pseudo(), ['te', 'gzip']]],
  ['an upper-case name', [...pseudo(), ['A', 'b']]],
  ['a line feed in a value', [...pseudo(), ['a', 'b\nc']]],
  ['a space in a name', [...pseudo(), ['a b', 'c']]],
];
for (const [name, pairs] of malformed)
  test(`a malformed request is reset: ${name}`, async () => {
    const peer = new RawPeer();
    await peer.frames();
    peer.send(head(1, both, ...pairs), ask(3));
    assert.deepEqual(await peer.frames(), ['rst 1 1']);
    assert.deepEqual(
      peer.streams.map(({ stream }) => stream.id),
      [3],
    );
  });

test('malformed trailers reset their stream', async () => {
  for (const [flags, pairs] of [
    [endHeaders, [['a', 'b']]],
    [both, [[':path', '/']]],
    [both, [['connection', 'close']]],
  ] as [number, [string, string][]][]) {
    const peer = new RawPeer();
    peer.send(post(1), head(1, flags, ...pairs));
    assert.equal((await peer.frames()).at(-1), 'rst 1 1');
    assert.deepEqual(peer.streams[0]?.events, ['reset 1 protocol']);
  }
});

test('malformed responses reset their stream, valid ones pass', async () => {
  for (const [flags, pairs] of [
    [both, [['a', 'b']]],
    [both, [[':status', '20']]],
    [both, [[':status', '101']]],
    [both, [[':status', '100']]],
    [
      endHeaders,
      [
        [':status', '103'],
        ['content-length', '0'],
      ],
    ],
    [
      both,
      [
        [':status', '200'],
        [':path', '/'],
      ],
    ],
    [
      both,
      [
        [':status', '200'],
        ['connection', 'close'],
      ],
    ],
  ] as [number, [string, string][]][]) {
    const peer = new RawPeer('client');
    const { events } = peer.request();
    peer.send(head(1, flags, ...pairs));
    assert.deepEqual(events, ['reset 1 protocol'], JSON.stringify(pairs));
    assert.equal((await peer.frames()).at(-1), 'rst 1 1');
  }
  const peer = new RawPeer('client');
  const { events } = peer.request();
  peer.send(head(1, endHeaders, [':status', '103']), head(1, endHeaders, [':status', '200']));
  peer.send(data(1, 3), head(1, both, ['grpc-status', '0']));
  assert.deepEqual(events, ['interim 103', 'head 200', 'data 3', 'end grpc-status,0']);
});

test('a client: no stream of the server, no response to what was not asked, no DATA before the head', async () => {
  for (const frames of [
    [head(2, both, [':status', '200'])],
    [head(1, both, [':status', '200'])],
    [data(1, 1)],
  ]) {
    const peer = new RawPeer('client');
    peer.send(...frames);
    await peer.frames();
    assert.equal(peer.end?.kind, 'protocol');
  }
  const peer = new RawPeer('client');
  const { events } = peer.request();
  peer.send(data(1, 1));
  assert.deepEqual(events, ['reset 1 protocol']);
});

test('what crosses a reset of ours is ignored, and HPACK goes on', async () => {
  const peer = new RawPeer();
  peer.send(post(1));
  peer.streams[0]?.stream.reset(8);
  await peer.frames();
  const insert = Buffer.concat([
    Buffer.from([0x40, 1]),
    Buffer.from('x'),
    Buffer.from([1]),
    Buffer.from('y'),
  ]);
  peer.send(data(1, 100), windowUpdate(1, 5), rst(1, 8), frame(frameType.headers, both, 1, insert));
  peer.send(frame(frameType.headers, both, 3, Buffer.concat([block(...pseudo()), Buffer.from([0xbe])])));
  assert.deepEqual(await peer.frames(), []);
  assert.deepEqual(peer.streams[0]?.events, []);
  assert.deepEqual(peer.streams[1]?.fields.slice(-2), ['x', 'y']);
});

test('padding, priority and CONTINUATION are no part of a block; unknown frames are skipped', async () => {
  const peer = new RawPeer();
  const whole = block(...pseudo('/p'));
  peer.send(
    frame(
      frameType.headers,
      8 | 0x20,
      1,
      Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 7]), whole.subarray(0, 9), Buffer.alloc(3)]),
    ),
    frame(frameType.continuation, 0, 1, whole.subarray(9, 20)),
    frame(frameType.continuation, endHeaders, 1, whole.subarray(20)),
    frame(0x99, 255, 1, Buffer.alloc(1000)),
    frame(frameType.data, 8, 1, Buffer.from([2, 65, 66, 67, 0, 0])),
    frame(frameType.data, 8 | endStream, 1, Buffer.from([0])),
    settings,
  );
  assert.equal(peer.streams[0]?.fields[5], '/p');
  assert.deepEqual(peer.streams[0]?.events, ['data 3', 'end']);
  assert.equal(peer.connection.isClosed, false);
});

test("a head beyond the peer's SETTINGS_MAX_HEADER_LIST_SIZE is not sent", async () => {
  const peer = new RawPeer('client');
  peer.send(setting(6, 200));
  await peer.frames();
  const { events } = peer.request([...get, 'a', 'b'.repeat(200)]);
  assert.deepEqual(events, [], 'not within the call');
  assert.deepEqual(await peer.frames(), []);
  assert.deepEqual(events, ['reset 2 protocol unprocessed']);
  assert.equal(peer.request().stream.id, 3);
  assert.match((await peer.frames()).join(), /^headers 3 end/);
});
