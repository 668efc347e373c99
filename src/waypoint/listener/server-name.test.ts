/** Rules on TLS server names at connections that are relayed, with real TLS clients and servers. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import tls from 'node:tls';
import { key as serviceKey, policy } from '../../../test/support/mesh.js';
import { serverCertificate } from '../../../test/support/server-certificate.js';
import {
  backend,
  eventually,
  RawClient,
  route,
  rawUpstream,
  startWaypoint,
} from '../../../test/support/waypoint.js';
import type { TlsMatch } from '../../model/policy.js';

const names = (...of: string[]): TlsMatch => ({
  serverNames: of.map((value) => ({ kind: 'exact', value })),
  notServerNames: [],
});
const { ca, key, cert } = serverCertificate('a.test', 'b.test');

async function tlsUpstream(t: TestContext): Promise<number> {
  const server = tls.createServer({ key, cert }, (socket) => {
    socket.on('error', () => undefined);
    socket.write(`for ${String(socket.servername)}`);
  });
  t.after(() => server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return (server.address() as AddressInfo).port;
}

/** A client that has read what the server says. */
async function connected(t: TestContext, port: number, servername: string): Promise<tls.TLSSocket> {
  const client = tls.connect({ host: '127.0.0.1', port, servername, ca });
  t.after(() => client.destroy());
  client.on('error', () => undefined);
  const [got] = (await once(client, 'data')) as [Buffer];
  assert.equal(got.toString(), `for ${servername}`);
  return client;
}
const closed = (client: tls.TLSSocket): Promise<void> =>
  new Promise((resolve) => client.once('close', () => resolve()));
/** Resolves when the client has been reset. */
const isReset = async (t: TestContext, port: number, servername: string): Promise<void> => {
  const client = tls.connect({ host: '127.0.0.1', port, servername, ca });
  t.after(() => client.destroy());
  const [error] = (await once(client, 'error')) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ECONNRESET');
};

test('an allowed name passes end to end; another one is reset, and the reason names policy, rule and name', async (t) => {
  const waypoint = await startWaypoint(t, {
    backends: { api: [await tlsUpstream(t)] },
    policies: [
      policy('allowed', 'allow', { tls: names('a.test') }),
      policy('denied', 'deny', { tls: names('c.test') }),
    ],
  });
  await connected(t, waypoint.port, 'a.test');
  await isReset(t, waypoint.port, 'b.test');
  await isReset(t, waypoint.port, 'c.test');
  assert.deepEqual(waypoint.relayed, [
    undefined,
    'no rule of shop/allowed allows it; TLS server name: b.test',
    'policy shop/denied rule 0 denies it; TLS server name: c.test',
  ]);
});

test('a route by server name and a rule on it both hold: the rule is that of the Service that the route chooses', async (t) => {
  const match = { headers: [{ kind: 'regex' as const, name: ':authority', value: 'b\\.test' }], query: [] };
  const waypoint = await startWaypoint(t, {
    backends: { api: [await tlsUpstream(t)], other: [await tlsUpstream(t)] },
    protocol: 'tls',
    routes: [
      {
        ...route(
          'r',
          [
            { matches: [match], backends: [backend('other')] },
            { matches: [], backends: [backend('api')] },
          ],
          { kind: 'tls' },
        ),
        ordered: true,
      },
    ],
    policies: [policy('p', 'deny', { tls: names('b.test') }, { services: [serviceKey('other')] })],
  });
  await connected(t, waypoint.port, 'a.test');
  await isReset(t, waypoint.port, 'b.test');
  waypoint.apply({
    mesh: { policies: [policy('p', 'deny', { tls: names('a.test') }, { services: [serviceKey('other')] })] },
  });
  await connected(t, waypoint.port, 'b.test');
  await connected(t, waypoint.port, 'a.test');
});

test('a change of the rule ends connections whose name it no longer allows, and leaves others', async (t) => {
  const waypoint = await startWaypoint(t, {
    backends: { api: [await tlsUpstream(t)] },
    policies: [policy('p', 'allow', { tls: names('a.test', 'b.test') })],
  });
  const [stays, ends] = [
    await connected(t, waypoint.port, 'a.test'),
    await connected(t, waypoint.port, 'b.test'),
  ];
  const ended = closed(ends);
  waypoint.apply({ mesh: { policies: [policy('p', 'allow', { tls: names('a.test') })] } });
  await ended;
  await eventually(() => waypoint.context.connections.size === 1, 'one connection is left');
  assert.equal(stays.destroyed, false);
});

test('a rule that comes after the connection ends it, since its name was not read', async (t) => {
  const waypoint = await startWaypoint(t, { backends: { api: [await tlsUpstream(t)] } });
  const client = await connected(t, waypoint.port, 'a.test');
  const ended = closed(client);
  waypoint.apply({ mesh: { policies: [policy('p', 'allow', { tls: names('a.test') })] } });
  await ended;
  await connected(t, waypoint.port, 'a.test');
});

test('nobody waits for a ClientHello at ports that no such rule is for', async (t) => {
  const port = await rawUpstream(t, (socket) => socket.write('220 the server speaks first'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [port] },
    protocol: 'tcp',
    // A wait for the client's bytes would outlast the test.
    limits: { detectTimeoutMsMax: 3_600_000 },
    policies: [
      policy('p', 'deny', { destinationPorts: [port === 443 ? 444 : 443], tls: names('a.test') }),
      policy('q', 'deny', { tls: names('a.test') }, { namespace: 'elsewhere' }),
    ],
  });
  const client = await RawClient.open(waypoint.port);
  await client.until((text) => text === '220 the server speaks first', 'the server speaks');
  client.socket.destroy();
});

test('a silent client is refused after the time for detection, and a server that speaks first is not reached', async (t) => {
  const port = await rawUpstream(t, (socket) => socket.write('220'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [port] },
    protocol: 'tcp',
    limits: { detectTimeoutMsMax: 100 },
    policies: [policy('p', 'deny', { tls: names('a.test') })],
  });
  const client = await RawClient.open(waypoint.port);
  await client.untilClosed();
  assert.equal(client.text, '');
  assert.match(String(waypoint.relayed[0]), /none was read$/);
});

test('a rule in audit mode refuses nothing', async (t) => {
  const waypoint = await startWaypoint(t, {
    backends: { api: [await tlsUpstream(t)] },
    policies: [policy('p', 'deny', { tls: names('a.test') }, { dryRun: true })],
  });
  await connected(t, waypoint.port, 'a.test');
  assert.deepEqual(waypoint.audited, ['shop/p']);
});
