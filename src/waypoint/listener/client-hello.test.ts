import assert from 'node:assert/strict';
import net from 'node:net';
import { test, type TestContext } from 'node:test';
import tls from 'node:tls';
import { rawUpstream, route, startWaypoint, backend as backendOf } from '../../../test/support/waypoint.js';
import type { Route, RouteMatch } from '../../model/route.js';
import {
  extension,
  helloExtensions,
  helloFor,
  helloMessage,
  inRecords,
  serverNames,
  tlsRecord,
} from '../../../test/support/client-hello.js';
import { fuzz } from '../../../test/support/fuzz.js';
import { clientHelloOf } from './client-hello.js';

/** The name that routes are chosen by; undefined: there is none. */
function sniOf(bytes: Buffer): string | 'more' | undefined {
  const hello = clientHelloOf(bytes);
  return hello === 'more' ? hello : hello?.sni || undefined;
}

/** The name that policies are evaluated with. */
function serverNameOf(bytes: Buffer): string | undefined {
  const hello = clientHelloOf(bytes);
  assert.notEqual(hello, 'more');
  return hello === 'more' ? undefined : hello?.serverName;
}

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

test('policies get a name only if every reader of the ClientHello finds the same one', () => {
  const of = (...extensions: Buffer[]): string | undefined =>
    serverNameOf(inRecords(helloMessage(extensions)));
  const name = serverNames(['a.test']);
  const other = extension(0xabcd, Buffer.from('x'));
  assert.equal(of(other, name, other), 'a.test');
  assert.equal(serverNameOf(helloFor('A.Test')), 'a.test');
  assert.equal(serverNameOf(inRecords(helloMessage([name]), 1)), undefined, 'too many records');
  assert.equal(serverNameOf(inRecords(helloMessage([name]), 10)), 'a.test');
  const hidden: Readonly<Record<string, string | undefined>> = {
    'no name': of(other),
    'two names': of(serverNames(['a.test', 'b.test'])),
    'the same name twice': of(serverNames(['a.test', 'a.test'])),
    'two extensions': of(name, serverNames(['b.test'])),
    'a name of another type': of(serverNames(['a.test'], 1)),
    'an empty name': of(serverNames([''])),
    'a final dot': of(serverNames(['a.test.'])),
    NUL: of(serverNames(['a.test\0.b.test'])),
    'no ASCII': of(serverNames(['\xe4.test'])),
    'a long name': of(serverNames(['a'.repeat(256)])),
    'an encrypted ClientHello': of(name, extension(helloExtensions.encryptedClientHello, Buffer.from('x'))),
    'an extension with more than its list': of(
      Buffer.concat([Buffer.from([0, 0, 0, 12]), name.subarray(4), Buffer.from('x')]),
    ),
    'bytes behind the extensions': serverNameOf(inRecords(helloMessage([name], Buffer.from('x')))),
    'a further message in the record': serverNameOf(
      tlsRecord(0x16, Buffer.concat([helloMessage([name]), helloMessage([serverNames(['b.test'])])])),
    ),
    'a ClientHello of 20 KiB': serverNameOf(
      inRecords(helloMessage([name, extension(21, Buffer.alloc(20_480))])),
    ),
    'plain HTTP': serverNameOf(Buffer.from('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n')),
    'SSL 2': serverNameOf(Buffer.from([0x80, 0x2e, 1, 3, 1])),
  };
  for (const [what, found] of Object.entries(hidden)) assert.equal(found, undefined, what);
});

test('no bytes make the decoder throw, and a name is one of DNS in lower case', () => {
  const seeds = [helloFor('api.example.com'), inRecords(helloMessage([serverNames(['a.test'])]), 20)];
  fuzz(seeds, (bytes) => {
    const hello = clientHelloOf(Buffer.from(bytes));
    if (hello === undefined || hello === 'more' || hello.serverName === undefined) return;
    assert.match(hello.serverName, /^[a-z0-9._-]*[a-z0-9_-]$/);
    assert.equal(hello.sni, hello.serverName);
  });
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
