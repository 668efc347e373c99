/** Servers that respond before the upload's end, and the waypoint's own responses to uploads: their clients always read them. */
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import type { Duplex } from 'node:stream';
import { test, type TestContext } from 'node:test';
import {
  dialed,
  earlyServer,
  listening,
  outcomes,
  sizes,
  upload,
} from '../../../test/support/early-response.js';
import { connected, startHbone, svidOf } from '../../../test/support/hbone.js';
import { anyRequest, id, key, policy } from '../../../test/support/mesh.js';
import {
  eventually,
  http2Upstream,
  startWaypoint,
  type TestWaypoint,
  type WaypointOptions,
} from '../../../test/support/waypoint.js';
import { relay } from '../../hbone/relay.js';
import { TunnelPool } from '../../hbone/pool.js';
import { parseIp } from '../../model/address.js';
import { clientOf } from '../listener/client.js';
import { serveConnection } from '../listener/connection.js';

/** A connection to a port through a tunnel, as a node opens it. */
async function tunnelTo(
  t: TestContext,
  onTunnel: (accept: () => Duplex) => void,
): Promise<() => Promise<Duplex>> {
  const { port } = await startHbone(t, id('db'), (tunnel) => onTunnel(() => tunnel.accept()));
  const pool = new TunnelPool();
  t.after(() => pool.close());
  const svid = svidOf(id('web'));
  return async () =>
    (
      await pool.open({
        svid,
        expected: [id('db')],
        destination: { ip: parseIp('127.0.0.1'), port },
        authority: '10.0.0.1:80',
        source: 'pod',
        headers: {},
        connect: () => connected(port),
      })
    ).stream;
}

interface Mesh {
  readonly port: number;
  readonly waypoint: TestWaypoint;
}
type Build = (t: TestContext, server: number, options?: Partial<WaypointOptions>) => Promise<Mesh>;

/** Sockets on both sides of the waypoint. */
const plain: Build = async (t, server, options = {}) => {
  const waypoint = await startWaypoint(t, { backends: { api: [server] }, ...options });
  return { port: waypoint.port, waypoint };
};
/** Client's node, waypoint, endpoint's node: a tunnel on both sides of the waypoint. */
const meshed: Build = async (t, server, options = {}) => {
  const toEndpoint = await tunnelTo(t, (accept) => void dialed(server).then((app) => relay(app, accept())));
  const waypoint = await startWaypoint(t, {
    backends: { api: [server] },
    dial: () => toEndpoint,
    ...options,
  });
  const { context } = waypoint;
  const service = context.state.view.service(key('api'));
  assert.ok(service);
  const toWaypoint = await tunnelTo(t, (accept) => {
    const client = clientOf(id('web'), { ip: parseIp('127.0.0.1'), port: 1 });
    const address = { ip: parseIp('10.96.0.1'), port: 80 };
    serveConnection(context, accept, client, { kind: 'service', service, port: 80, dialed: address });
  });
  const port = await listening(
    t,
    (socket) => void toWaypoint().then((stream) => relay(socket, stream)),
    true,
  );
  return { port, waypoint };
};
const builds = { plain, meshed };
/** Repetitions of each case: enough that a race of one in ten shows. */
const timesOf = (size: number): number => (size > 1_000_000 ? 10 : 40);
const statusOf = (text: string): string => text.split('\r\n', 1)[0] ?? '';
/** Responses with a length, or in chunks. */
function isWhole(text: string): boolean {
  const at = text.indexOf('\r\n\r\n');
  if (at < 0) return false;
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(text.slice(0, at + 2))?.[1];
  return length === undefined ? text.endsWith('\r\n0\r\n\r\n') : text.length >= at + 4 + Number(length);
}
const tooLarge = 'HTTP/1.1 413 Payload Too Large';

interface Got {
  readonly status: number;
  readonly body: string;
}
/** An upload over HTTP/2, to the end of its response. */
function upload2(t: TestContext, session: http2.ClientHttp2Session, bytes: number): Promise<Got> {
  return new Promise((resolve) => {
    const stream = session.request({ ':method': 'POST', ':path': '/', ':authority': 'api.shop' });
    let status = 0;
    let body = '';
    stream.on('error', () => undefined);
    stream.on('response', (headers) => (status = Number(headers[':status'])));
    stream.on('data', (part: Buffer) => (body += part.toString('latin1')));
    // Node's own client delays 'close' until writes end that nobody reads any more.
    for (const end of ['end', 'close']) stream.on(end, () => resolve({ status, body }));
    const block = Buffer.alloc(1 << 16, 'u');
    let sent = 0;
    const more = (): void => {
      while (sent < bytes && !stream.destroyed && !stream.writableEnded) {
        const piece = block.subarray(0, Math.min(block.length, bytes - sent));
        sent += piece.length;
        if (!stream.write(piece)) return;
      }
      if (!stream.destroyed && !stream.writableEnded) stream.end();
    };
    stream.on('drain', more);
    more();
  });
}
function session2(t: TestContext, port: number): http2.ClientHttp2Session {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.on('error', () => undefined);
  t.after(() => session.destroy());
  return session;
}

for (const [name, build] of Object.entries(builds)) {
  for (const close of ['at once', 'unread'] as const) {
    test(`HTTP/1: an endpoint's response before the upload's end, ${name}, closed ${close}`, async (t) => {
      const { port, waypoint } = await build(t, await earlyServer(t, close));
      for (const size of sizes) {
        const seen = await outcomes(timesOf(size), async () => {
          const { text } = await upload(port, size, { isWhole });
          return `${statusOf(text)} ${text.endsWith('\r\n\r\ntoo large\n')}`;
        });
        assert.deepEqual(seen, { [`${tooLarge} true`]: timesOf(size) }, `${size} bytes`);
      }
      await eventually(() => waypoint.context.exchanges.size === 0, 'no exchange is left');
    });

    test(`HTTP/2 to HTTP/1: the same, ${name}, closed ${close}`, async (t) => {
      const { port } = await build(t, await earlyServer(t, close), { protocol: 'http1' });
      const session = session2(t, port);
      for (const size of sizes) {
        const seen = await outcomes(timesOf(size), async () =>
          JSON.stringify(await upload2(t, session, size)),
        );
        assert.deepEqual(seen, { '{"status":413,"body":"too large\\n"}': timesOf(size) }, `${size} bytes`);
      }
    });
  }

  test(`an endpoint of HTTP/2 that ends its response and resets the upload without an error, ${name}`, async (t) => {
    const body = 'too large\n'.repeat(2000);
    const { port: server } = await http2Upstream(t, (stream) => {
      stream.respond({ ':status': 413 });
      stream.end(body);
      stream.close(http2.constants.NGHTTP2_NO_ERROR);
    });
    const { port } = await build(t, server, { protocol: 'http2' });
    const session = session2(t, port);
    for (const size of sizes) {
      const seen = await outcomes(timesOf(size), async () => {
        const got = await upload2(t, session, size);
        return `${got.status} ${got.body === body}`;
      });
      assert.deepEqual(seen, { '413 true': timesOf(size) }, `HTTP/2, ${size} bytes`);
      const seen1 = await outcomes(timesOf(size), async () => {
        const { text } = await upload(port, size, { isWhole });
        return `${statusOf(text)} ${text.includes('too large\n')}`;
      });
      assert.deepEqual(seen1, { [`${tooLarge} true`]: timesOf(size) }, `HTTP/1, ${size} bytes`);
    }
  });

  test(`the waypoint's own response to an upload, by HTTP/1 and HTTP/2, ${name}`, async (t) => {
    const deny = policy('no-posts', 'deny', { http: { ...anyRequest, methods: ['POST'] } });
    const { port } = await build(t, await earlyServer(t, 'at once'), { policies: [deny] });
    const session = session2(t, port);
    for (const size of sizes) {
      const seen = await outcomes(timesOf(size), async () =>
        statusOf((await upload(port, size, { isWhole })).text),
      );
      assert.deepEqual(seen, { 'HTTP/1.1 403 Forbidden': timesOf(size) }, `HTTP/1, ${size} bytes`);
      const seen2 = await outcomes(timesOf(size), async () => `${(await upload2(t, session, size)).status}`);
      assert.deepEqual(seen2, { '403': timesOf(size) }, `HTTP/2, ${size} bytes`);
    }
  });
}
