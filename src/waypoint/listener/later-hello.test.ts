import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import tls from 'node:tls';
import {
  helloFor,
  helloMessage,
  inRecords,
  serverNames,
  tlsRecord,
} from '../../../test/support/client-hello.js';
import { fuzz } from '../../../test/support/fuzz.js';
import { serverCertificate } from '../../../test/support/server-certificate.js';
import { rawUpstream } from '../../../test/support/waypoint.js';
import { clientHelloOf } from './client-hello.js';
import { LaterHello } from './later-hello.js';

const ccs = tlsRecord(0x14, Buffer.from([1]));
const data = tlsRecord(0x17, Buffer.from('data'));
const first = helloFor('a.test');

function watch(bytes: Buffer): LaterHello {
  const hello = clientHelloOf(bytes);
  assert.ok(hello !== undefined && hello !== 'more' && hello.serverName !== undefined);
  return new LaterHello(bytes, hello.serverName);
}
/** Why bytes behind the ClientHello are refused, in parts of some bytes. */
function refusal(begin: Buffer, rest: Buffer, size = rest.length): string | undefined {
  const later = watch(begin);
  for (let at = 0; at < rest.length; at += size) {
    const why = later.check(rest.subarray(at, at + size));
    if (why !== undefined) return why;
  }
  return undefined;
}

test('a second ClientHello with another name, or without a readable one, is refused, however it is sent', () => {
  const other = helloMessage([serverNames(['b.test'])]);
  const rest: Readonly<Record<string, Buffer>> = {
    'at once': inRecords(other),
    'behind a ChangeCipherSpec': Buffer.concat([ccs, inRecords(other)]),
    'behind an empty record': Buffer.concat([tlsRecord(0x16, Buffer.alloc(0)), inRecords(other)]),
    'behind data': Buffer.concat([ccs, data, data, inRecords(other)]),
    'behind an alert': Buffer.concat([tlsRecord(0x15, Buffer.from([1, 90])), inRecords(other)]),
    'in records of one byte': inRecords(other, 1),
    'in small records': inRecords(other, 30),
    'without a name': inRecords(helloMessage([])),
    'with two names': helloFor('a.test', 'b.test'),
    'with a version that OpenSSL accepts': inRecords(
      Buffer.concat([other.subarray(0, 4), Buffer.from([4, 3]), other.subarray(6)]),
    ),
    'as long as OpenSSL accepts': inRecords(
      Buffer.concat([
        Buffer.from([1, 2, 1, 0x44]),
        other.subarray(4),
        Buffer.alloc(131_396 + 4 - other.length),
      ]),
    ),
    'in a record with the second': tlsRecord(
      0x16,
      Buffer.concat([helloMessage([serverNames(['a.test'])]), other]),
    ),
  };
  for (const [what, bytes] of Object.entries(rest))
    for (const size of [1, 7, bytes.length])
      assert.match(String(refusal(first, bytes, size)), /second ClientHello/, `${what}, ${size}`);
  assert.match(String(watch(Buffer.concat([first, inRecords(other)])).check(Buffer.alloc(0))), /second/);
});

test('a second ClientHello with the same name passes, and what is encrypted is not looked at', () => {
  const same = Buffer.concat([ccs, first, data, data]);
  const encrypted = tlsRecord(0x16, helloMessage([serverNames(['b.test'])]));
  for (const size of [1, 7, 10_000]) {
    assert.equal(refusal(first, same, size), undefined);
    // ClientKeyExchange of TLS 1.2; what follows is encrypted.
    assert.equal(
      refusal(first, Buffer.concat([tlsRecord(0x16, Buffer.from([16, 0, 0, 1, 1])), ccs, encrypted]), size),
      undefined,
    );
  }
});

test('a third ClientHello is refused, whatever its name', () => {
  for (const third of [
    first,
    inRecords(helloMessage([serverNames(['b.test'])])),
    inRecords(helloMessage([]), 1),
  ])
    for (const size of [1, 7, 10_000])
      assert.equal(refusal(first, Buffer.concat([ccs, first, data, third]), size), 'a third ClientHello');
});

test('no bytes make the check throw', () => {
  const seeds = [ccs, first, Buffer.concat([ccs, inRecords(helloMessage([serverNames(['a.test'])]), 9)])];
  fuzz(seeds, (bytes) => {
    const later = watch(first);
    later.check(Buffer.from(bytes));
    later.check(Buffer.from(bytes));
  });
});

test('a real client that has to send a second ClientHello passes', async (t) => {
  const { ca, key, cert } = serverCertificate('a.test');
  const server = tls.createServer({ key, cert, ecdhCurve: 'P-521', minVersion: 'TLSv1.3' }, (socket) =>
    socket.end('hello'),
  );
  t.after(() => server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as net.AddressInfo;
  const refused: string[] = [];
  let hellos = 0;
  const relay = await rawUpstream(t, (socket) => {
    const peer = net.connect(port, '127.0.0.1');
    let later: LaterHello | undefined;
    socket.on('data', (bytes: Buffer) => {
      if (bytes.includes('a.test')) hellos++;
      if (!later) later = watch(bytes);
      else refused.push(...[later.check(bytes)].filter((why) => why !== undefined));
      peer.write(bytes);
    });
    peer.on('data', (bytes: Buffer) => socket.write(bytes));
    peer.on('end', () => socket.end());
    for (const one of [socket, peer]) one.on('error', () => undefined);
  });
  const client = tls.connect({
    port: relay,
    host: '127.0.0.1',
    servername: 'a.test',
    ca,
    ecdhCurve: 'P-256:P-521',
  });
  t.after(() => client.destroy());
  const [got] = (await once(client, 'data')) as [Buffer];
  assert.equal(got.toString(), 'hello');
  assert.deepEqual([hellos, refused], [2, []]);
});
