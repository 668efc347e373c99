import assert from 'node:assert/strict';
import net from 'node:net';
import { test, type TestContext } from 'node:test';
import tls from 'node:tls';
import { rawUpstream, route, startWaypoint, backend as backendOf } from '../../../test/support/waypoint.js';
import type { Route, RouteMatch } from '../../model/route.js';
import { sniOf } from './client-hello.js';

/** The first bytes of a real TLS client. */
async function helloOf(t: TestContext, servername: string | undefined): Promise<Buffer> {
  return new Promise((resolve) => {
    void rawUpstream(t, (socket) => {
      socket.once('data', (bytes: Buffer) => {
        resolve(bytes);
        socket.destroy();
      });
    }).then((port) => {
      const client = tls.connect({
        host: '127.0.0.1',
        port,
        ...(servername === undefined ? {} : { servername }),
      });
      client.on('error', () => undefined);
    });
  });
}

test('the server name is read from the first bytes of a real client, however they are split', async (t) => {
  const hello = await helloOf(t, 'Api.Example.com');
  assert.equal(sniOf(hello), 'api.example.com');
  for (let length = 0; length < hello.length; length += 7)
    assert.equal(sniOf(hello.subarray(0, length)), 'more');
  assert.equal(sniOf(await helloOf(t, undefined)), undefined);
  // The same message in records of 50 bytes.
  const message = hello.subarray(5);
  const parts: Buffer[] = [];
  for (let at = 0; at < message.length; at += 50) {
    const part = message.subarray(at, at + 50);
    parts.push(Buffer.from([0x16, 3, 1, part.length >> 8, part.length & 0xff]), part);
  }
  assert.equal(sniOf(Buffer.concat(parts)), 'api.example.com');
});

test('bytes that are no ClientHello have no server name, and none of them throws', async (t) => {
  assert.equal(sniOf(Buffer.from('GET / HTTP/1.1\r\n')), undefined);
  assert.equal(sniOf(Buffer.from([0x16, 3, 1, 0, 0])), undefined);
  const hello = await helloOf(t, 'a.test');
  for (let at = 5; at < hello.length; at++) {
    const bad = Buffer.from(hello);
    bad[at] = 0xff;
    sniOf(bad);
  }
});

const tlsRoute = (...rules: readonly { readonly sni?: string; readonly backend: string }[]): Route => ({
  ...route(
    'r',
    rules.map(({ sni, backend }) => ({
      matches:
        sni === undefined
          ? []
          : [
              {
                headers: [{ kind: 'regex', name: ':authority', value: sni }],
                query: [],
              } satisfies RouteMatch,
            ],
      backends: [backendOf(backend)],
    })),
    { kind: 'tls' },
  ),
  ordered: true,
});

test('connections are routed by the server name, and the endpoint gets all bytes', async (t) => {
  const got: string[] = [];
  const upstream = (name: string): Promise<number> =>
    rawUpstream(t, (socket) => {
      socket.once('data', (bytes: Buffer) => {
        got.push(`${name} ${String(sniOf(bytes))}`);
        socket.destroy();
      });
    });
  const { port } = await startWaypoint(t, {
    backends: {
      api: [await upstream('api')],
      one: [await upstream('one')],
      other: [await upstream('other')],
    },
    protocol: 'tls',
    routes: [tlsRoute({ sni: 'one\\.test', backend: 'one' }, { sni: '.+\\.other\\.test', backend: 'other' })],
  });
  const connect = (servername: string): Promise<void> =>
    new Promise((resolve) => {
      const client = tls.connect({ host: '127.0.0.1', port, servername });
      client.on('error', () => undefined);
      client.once('close', () => resolve());
    });
  await connect('one.test');
  await connect('a.other.test');
  await connect('unknown.test');
  assert.deepEqual(got, ['one one.test', 'other a.other.test']);
  // A client that sends nothing holds nobody up.
  const silent = net.connect(port, '127.0.0.1');
  silent.on('error', () => undefined);
  await connect('one.test');
  assert.equal(got.length, 3);
  silent.destroy();
});
