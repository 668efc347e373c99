import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import tls from 'node:tls';
import { eventually } from '../../test/support/eventually.js';
import { systemClock } from '../../src/base/clock.js';
import { DiscoveryClient } from '../../src/discovery/client.js';
import { typeUrls } from '../../src/discovery/types.js';
import { parseIp } from '../../src/model/address.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { CertificateAuthority, serverCertificateDueMs } from './ca.js';
import { Resources } from '../serve/resources.js';
import { ControlServer } from '../serve/server.js';

const state = mkdtempSync(join(tmpdir(), 'weft-presented-'));
const closers: (() => void)[] = [() => rmSync(state, { recursive: true })];
after(() => closers.reverse().forEach((close) => close()));

async function shown(target: string, ca: string): Promise<string> {
  const [host = '', port] = target.split(':');
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host, port: Number(port), ca, ALPNProtocols: ['h2'] });
    socket.on('secureConnect', () => {
      resolve(socket.getPeerCertificate().serialNumber);
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

test('the serving certificate is replaced without ending a stream, and is due after 3.5 days', async () => {
  const ca = new CertificateAuthority(state, parseTrustDomain('cluster.local'));
  const make = () => ca.serverCertificate([parseIp('127.0.0.1')], ['weft']);
  const server = new ControlServer(
    {
      listen: '127.0.0.1:0',
      certificate: make(),
      ca,
      callerOfToken: () => Promise.resolve('n1'),
      mayRequestCertificate: () => false,
      certTtlS: undefined,
      log: { info: () => undefined, warn: () => undefined },
    },
    new Resources(),
  );
  const target = `127.0.0.1:${await server.start()}`;
  closers.push(() => server.stop());
  const states: string[] = [];
  const client = new DiscoveryClient({
    target,
    rootPem: () => ca.roots,
    token: () => 'x',
    nodeId: 'x',
    nodeName: 'n1',
    subscriptions: [
      {
        typeUrl: typeUrls.trust,
        decode: () => ({ ok: true, value: () => undefined }),
        removed: () => undefined,
      },
    ],
    onChange: () => undefined,
    onSynced: () => undefined,
    onState: (now) => states.push(now),
    onRefused: () => undefined,
    clock: systemClock,
  });
  closers.push(() => client.stop());
  client.start();
  await eventually(() => states.length > 0, 'the client is connected');
  const first = await shown(target, ca.roots);
  server.present(make());
  const second = await shown(target, ca.roots);
  assert.notEqual(second, first);
  assert.deepEqual(states, ['connected'], 'the stream continues');
  assert.equal(server.streams, 1);
  // It is renewed at half of its lifetime.
  assert.equal(serverCertificateDueMs, 3.5 * 86_400_000);
  // The same holds for a new root and signer: a client that trusts only the new root can connect.
  ca.rotate('begin');
  ca.rotate('switch');
  server.present(make());
  ca.rotate('finish');
  await shown(target, ca.roots);
  assert.deepEqual(states, ['connected']);
});
