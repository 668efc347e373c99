import assert from 'node:assert/strict';
import { duplexPair } from 'node:stream';
import { test } from 'node:test';
import {
  block,
  endHeaders,
  endStream,
  frame,
  frameType,
  preface,
  pseudo,
  request,
  settings,
  settingsAck,
} from '../../../test/support/http2-frames.js';
import { eventually } from '../../../test/support/waypoint.js';
import { defaultLimits } from '../limits.js';
import { FrameReader } from './frames.js';
import { Http2ServerConnection } from './server.js';

const data = frame(frameType.data, 0, 1, Buffer.from('some bytes'));
const openHeaders = frame(frameType.headers, 0, 3, block(...pseudo()));
const more = (flags: number): Buffer => frame(frameType.continuation, flags, 3, block(['a', 'b']));

test('a header block is open from its first byte to its last, however it is split', () => {
  const parts: [bytes: Buffer, inBlock: boolean][] = [
    [preface, false],
    [settings, false],
    [request(1, ...pseudo()), false],
    [openHeaders, true],
    [more(0), true],
    [more(endHeaders), false],
    [data, false],
    [frame(frameType.headers, endHeaders, 5, block(...pseudo())).subarray(0, -1), true],
  ];
  for (const size of [1, 2, 7, 9, 10, 1_000]) {
    const reader = new FrameReader();
    for (const [bytes, inBlock] of parts) {
      for (let at = 0; at < bytes.length; at += size) reader.read(bytes.subarray(at, at + size));
      assert.equal(reader.inBlock, inBlock);
    }
  }
  const whole = new FrameReader();
  whole.read(Buffer.concat(parts.map(([bytes]) => bytes)));
  assert.equal(whole.inBlock, true);
});

test('a header block that does not end runs into the head timeout', async (t) => {
  for (const half of [openHeaders, request(11, ...pseudo()).subarray(0, -1)]) {
    const [client, server] = duplexPair();
    const refused: string[] = [];
    let [requests, closed] = [0, 0];
    const connection = new Http2ServerConnection(server, {
      limits: { ...defaultLimits, headTimeoutMsMax: 150 },
      mergeSlashes: true,
      onRequest: (one) => {
        requests++;
        one.respond({ status: 200, headers: [] }, false);
      },
      onRefused: (status, why) => refused.push(`${status} ${why}`),
      onClosed: () => closed++,
    });
    t.after(() => connection.destroy());
    client.on('data', () => undefined);
    client.write(Buffer.concat([preface, settings, settingsAck]));
    for (const stream of [5, 7, 9]) {
      client.write(frame(frameType.headers, endHeaders | endStream, stream, block(...pseudo())));
      await eventually(() => requests === (stream - 3) / 2, 'a complete request is served');
    }
    assert.equal(closed, 0);
    client.write(half.equals(openHeaders) ? frame(frameType.headers, 0, 11, block(...pseudo())) : half);
    await eventually(() => closed === 1, 'the connection ends');
    assert.deepEqual(refused, ["408 a request's head did not arrive in time"]);
    assert.equal(requests, 3);
  }
});
