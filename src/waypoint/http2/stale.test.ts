import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask2, connect, frameUpstream } from '../../../test/support/http2-client.js';
import { block, endHeaders, endStream, frame, frameType, u32 } from '../../../test/support/http2-frames.js';
import { eventually, startWaypoint } from '../../../test/support/waypoint.js';
import { failureOf } from './failure.js';

const ok = (stream: number): Buffer =>
  frame(frameType.headers, endHeaders | endStream, stream, block([':status', '200']));
const goaway = (lastStream: number, code: number): Buffer =>
  frame(frameType.goaway, 0, 0, Buffer.concat([u32(lastStream), u32(code)]));

test('the failure of a stream that was closed early', () => {
  const quiet = { isQuiet: true, used: true };
  const cut = { code: 8, by: 'connection', isUnprocessed: false, why: 'closed' } as const;
  const reset = { ...cut, code: 5, by: 'peer' } as const;
  const refused = { ...reset, code: 7, isUnprocessed: true } as const;
  assert.equal(
    failureOf({ ...cut, isUnprocessed: true }, quiet).kind,
    'refused',
    'never sent, or above GOAWAY',
  );
  assert.equal(failureOf(refused, quiet).kind, 'refused', 'REFUSED_STREAM');
  assert.equal(failureOf({ ...cut, isUnprocessed: true }, { ...quiet, isQuiet: false }).kind, 'reset');
  assert.equal(failureOf(cut, quiet).kind, 'stale');
  assert.equal(failureOf(cut, { isQuiet: true, used: false }).kind, 'reset');
  assert.equal(failureOf(cut, { isQuiet: false, used: true }).kind, 'reset');
  assert.equal(failureOf(reset, quiet).kind, 'reset', 'the endpoint reset the stream, not the connection');
  assert.equal(failureOf({ ...cut, by: 'protocol' }, quiet).kind, 'protocol');
});

test('a request on a reused connection that ends is retried, unless it may have been executed', async (t) => {
  /** What the endpoint does with the second request of a connection. */
  const ends: Record<
    string,
    { readonly bytes?: Buffer; readonly cut?: 'end' | 'reset'; readonly post: number }
  > = {
    closed: { cut: 'end', post: 503 },
    reset: { cut: 'reset', post: 503 },
    'GOAWAY below, without an error': { bytes: goaway(1, 0), post: 200 },
    'GOAWAY below, with an error': { bytes: goaway(1, 2), post: 200 },
    'GOAWAY below, and closed': { bytes: goaway(1, 0), cut: 'end', post: 200 },
    'GOAWAY that covers it, and closed': { bytes: goaway(3, 0), cut: 'end', post: 503 },
    REFUSED_STREAM: { bytes: frame(frameType.rst, 0, 3, u32(7)), post: 200 },
  };
  for (const [name, { bytes, cut, post }] of Object.entries(ends)) {
    let seen = 0;
    const port = await frameUpstream(t, (stream, socket) => {
      seen++;
      if (stream === 1) return ok(stream);
      if (cut === 'end') setImmediate(() => socket.destroy());
      if (cut === 'reset') setImmediate(() => socket.resetAndDestroy());
      return bytes ?? Buffer.alloc(0);
    });
    const waypoint = await startWaypoint(t, { backends: { api: [port] }, protocol: 'http2' });
    const session = connect(t, waypoint.port);
    const asked = async (): Promise<number> => {
      assert.equal((await ask2(session, { ':path': '/first' })).status, 200);
      const { status } = await ask2(session, { ':path': '/' });
      await eventually(() => waypoint.context.exchanges.size === 0, 'no exchange is left');
      return status;
    };
    assert.equal(await asked(), 200, `${name}: GET`);
    // The retry's connection has served a request, so each case starts a new waypoint.
    const again = await startWaypoint(t, { backends: { api: [port] }, protocol: 'http2' });
    const second = connect(t, again.port);
    assert.equal((await ask2(second, { ':path': '/first' })).status, 200);
    const before = seen;
    const { status } = await ask2(second, { ':method': 'POST', ':path': '/' }, 'body');
    assert.equal(status, post, `${name}: POST`);
    assert.equal(seen - before, post === 200 ? 2 : 1, `${name}: number of POSTs`);
  }
});
