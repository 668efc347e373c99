import assert from 'node:assert/strict';
import type http2 from 'node:http2';
import { test } from 'node:test';
import { closeOnceSent } from './close-stream.js';

test('streams with unread responses share one timer and close once the responses are sent', async () => {
  let looks = 0;
  let closed = 0;
  let outboundQueueSize = 1;
  const session = {
    destroyed: false,
    get state() {
      looks++;
      return { outboundQueueSize };
    },
  };
  for (let i = 0; i < 200; i++) {
    const stream = { session, destroyed: false, closed: false, close: () => closed++ };
    closeOnceSent(stream as unknown as http2.ServerHttp2Stream);
  }
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.ok(looks > 0 && looks <= 10, `${looks} looks in half a second`);
  assert.equal(closed, 0);
  outboundQueueSize = 0;
  await new Promise((resolve) => setTimeout(resolve, 400));
  assert.equal(closed, 200);
});
