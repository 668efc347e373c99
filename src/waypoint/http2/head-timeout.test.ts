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
import { Http2ServerConnection } from './server.js';
import { transportOf } from './transport.js';

const openHeaders = frame(frameType.headers, 0, 3, block(...pseudo()));

test('a header block that does not end runs into the head timeout', async (t) => {
  for (const half of [openHeaders, request(11, ...pseudo()).subarray(0, -1)]) {
    const [client, server] = duplexPair();
    const refused: string[] = [];
    let [requests, closed] = [0, 0];
    const connection = new Http2ServerConnection(transportOf(server), {
      limits: { ...defaultLimits, headTimeoutMsMax: 150 },
      mergeSlashes: true,
      onRequest: (one) => {
        requests++;
        one.respond({ status: 200, headers: [] }, false);
      },
      onRefused: (status, why) => refused.push(`${status} ${why}`),
      onFlood: () => assert.fail(),
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
