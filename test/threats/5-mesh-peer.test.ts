/**
 * Row 5 of docs/security.md: a mesh peer with a valid certificate of another identity, which writes its own tunnels and HTTP/2. It may do
 * only what policy allows that identity.
 */
import assert from 'node:assert/strict';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { test, type TestContext } from 'node:test';
import { parseCidr } from '../../src/model/address.js';
import type { MeshUpdate } from '../../src/state/store.js';
import { eventually } from '../support/eventually.js';
import { policy } from '../support/mesh.js';
import {
  echoing,
  identity,
  request,
  serviceKey,
  serviceOf,
  status,
  TestMesh,
  waypointRef,
} from './support/mesh.js';

const evil = identity('evil', 'peer');
const evilIp = '127.0.22.1';
const teller = identity('bank', 'teller');
const tellerIp = '127.0.21.7';
const gate = { ip: '127.0.21.9', identity: identity('bank', 'gate') };
const api = { ip: '127.0.21.1', identity: identity('bank', 'api') };
const guarded = { ip: '127.0.21.2', identity: identity('bank', 'guarded') };
const anybody = { principals: [{ kind: 'presence' as const }] };
const principal = (id: string) => ({ kind: 'exact' as const, value: id.slice('spiffe://'.length) });
/** The documented time in which a policy ends the streams that it closes (docs/limits.md). */
const statedMs = 1_000;

/** Headers that a peer can write into a tunnel to impersonate the teller. */
const claims = {
  'weft-source-identity': teller,
  forwarded: `for="${tellerIp}:1234"`,
  baggage: 'k8s.namespace.name=bank,k8s.pod.name=teller',
  'x-forwarded-for': tellerIp,
  'x-forwarded-client-cert': `URI=${teller}`,
};

/** `api` has only a node in front of it, `guarded` a Service with a waypoint. */
async function scene(t: TestContext) {
  const mesh = new TestMesh(t);
  const waypoint = await mesh.waypoint('bank', 'gate', gate.ip);
  const plain = await mesh.pod('bank', 'api', api.ip, echoing('api'));
  const behind = await mesh.pod('bank', 'guarded', guarded.ip, echoing('guarded'), ['guarded']);
  mesh.apply({
    services: [
      serviceOf('bank', 'guarded', '10.96.21.2', behind.port, { waypoint: waypointRef('bank', 'gate') }),
      serviceOf('bank', 'open', '10.96.21.1', plain.port),
    ],
  });
  const toApi = (as = evil, from = evilIp, headers = {}) =>
    mesh.tunnel(as, from, api, `${api.ip}:${plain.port}`, headers);
  const toGuarded = (as = evil, from = evilIp, headers = {}) =>
    mesh.tunnel(as, from, gate, '10.96.21.2:80', headers);
  return { mesh, waypoint, plain, behind, toApi, toGuarded };
}
const ofBank = { namespace: 'bank' };
const onGuarded = { namespace: 'bank', services: [serviceKey('bank', 'guarded')] };

test('neither a node nor a waypoint accepts the client identity that a peer states', async (t) => {
  const { mesh, plain, behind, toApi, toGuarded } = await scene(t);
  mesh.apply({ policies: [policy('p', 'allow', { principals: [principal(teller)] }, ofBank)] });
  // The holder of the certificate is allowed.
  const good = await toApi(teller, tellerIp);
  assert.match(await request(good), /api got/);
  good.destroy();
  await assert.rejects(toApi(evil, evilIp, claims), { code: 'WEFT_TUNNEL_REFUSED', message: /401/ });
  const record = plain.records.at(-1);
  assert.equal(record?.code, 'WEFT_DENIED');
  assert.equal(record?.source.identity, evil);
  assert.match(record?.source.address ?? '', new RegExp(`^${evilIp}:`));
  const headers = Object.entries(claims).map(([name, value]) => `${name}: ${value}`);
  const answer = await request(await toGuarded(evil, evilIp, claims), '/', headers);
  assert.equal(status(answer), 403);
  // Headers in the request, a tunnel around the waypoint and the pod's own address do not help either.
  await assert.rejects(mesh.tunnel(evil, evilIp, guarded, `${guarded.ip}:${behind.port}`, claims), {
    message: /401/,
  });
  const own = await mesh.tunnel(evil, evilIp, gate, `${guarded.ip}:${behind.port}`, claims);
  assert.equal(status(await request(own, '/', headers)), 403);
});

test('the headers by which an endpoint identifies its client are written by the waypoint', async (t) => {
  const { behind, toGuarded } = await scene(t);
  const headers = Object.entries(claims).map(([name, value]) => `${name}: ${value}`);
  const stream = await toGuarded(evil, evilIp, claims);
  const answer = await request(stream, '/', headers);
  assert.match(answer, /guarded got/);
  assert.match(answer, new RegExp(`x-forwarded-client-cert: URI=${evil}`));
  assert.doesNotMatch(answer, new RegExp(`x-forwarded-client-cert: URI=${teller}`));
  // The mesh appends the last element of the list; the elements before it are the client's, as with any proxy.
  assert.match(answer, new RegExp(`x-forwarded-for: ${tellerIp}, ${evilIp}\r?\n`));
  stream.destroy();
  await eventually(() => behind.records.length > 0, 'its record');
  for (const { source } of behind.records) {
    assert.equal(source.identity, evil);
    assert.match(source.address, new RegExp(`^${evilIp}:`));
  }
});

test('the source address that a peer states is not trusted', async (t) => {
  const { mesh, toApi, toGuarded } = await scene(t);
  mesh.apply({ policies: [policy('p', 'allow', { sourceIps: [parseCidr(`${tellerIp}/32`)] }, ofBank)] });
  await assert.rejects(toApi(evil, evilIp, claims), { message: /401/ });
  assert.equal(status(await request(await toGuarded(evil, evilIp, claims))), 403);
  mesh.apply({
    policies: [policy('p', 'deny', { sourceIps: [parseCidr(`${evilIp}/32`)] }, ofBank)],
  });
  await assert.rejects(toApi(evil, evilIp, claims), { message: /401/ });
  assert.equal(status(await request(await toGuarded(evil, evilIp, claims))), 403);
});

test("a peer reaches only the authority's own ports and addresses", async (t) => {
  const { mesh, plain, behind, waypoint } = await scene(t);
  const refused = async (to: { ip: string; identity: typeof evil }, authority: string, code: number) =>
    assert.rejects(mesh.tunnel(evil, evilIp, to, authority), { message: new RegExp(`${code}`) }, authority);
  const admin = net.createServer((socket) => void socket.end('admin'));
  await new Promise<void>((resolve) => admin.listen(0, '127.0.0.1', resolve));
  t.after(() => admin.close());
  const adminPort = (admin.address() as net.AddressInfo).port;
  // Refused by a node: another pod, the machine itself, the internet, a name, the agent's own ports.
  await refused(api, `${guarded.ip}:${behind.port}`, 400);
  await refused(api, `127.0.0.1:${adminPort}`, 400);
  await refused(api, '192.0.2.1:443', 400);
  await refused(api, 'localhost:80', 400);
  await refused(api, `[::ffff:127.0.0.1]:${adminPort}`, 400);
  for (const own of [15001, 15006, 15008, 15053]) await refused(api, `${api.ip}:${own}`, 503);
  // Refused by a waypoint: any destination that it does not serve. It is not an open proxy.
  await refused(gate, `127.0.0.1:${adminPort}`, 404);
  await refused(gate, '10.96.21.1:80', 404);
  await refused(gate, '10.96.21.2:81', 404);
  await refused(gate, `${api.ip}:${plain.port}`, 404);
  await refused(gate, `${guarded.ip}:1`, 404);
  await refused(gate, `${gate.ip}:15008`, 404);
  await refused(gate, '192.0.2.1:443', 404);
  assert.deepEqual(new Set(waypoint.refused), new Set(['WEFT_NOT_SERVED']));
});

/** Milliseconds from the call until the stream ends. */
const lasted = (stream: Duplex, call: () => void): Promise<number> =>
  new Promise((resolve, reject) => {
    const began = performance.now();
    const timer = setTimeout(() => reject(new Error('it lives on')), 10_000);
    stream.once('close', () => {
      clearTimeout(timer);
      resolve(performance.now() - began);
    });
    stream.resume();
    call();
  });

const closing: readonly (readonly [string, MeshUpdate, 'api' | 'guarded' | 'both'])[] = [
  [
    'a policy of its namespace',
    { policies: [policy('p', 'deny', { principals: [principal(evil)] }, ofBank)] },
    'both',
  ],
  ['a policy of the whole mesh', { policies: [policy('p', 'deny', anybody, { scope: 'global' })] }, 'both'],
  [
    'an ALLOW for others',
    { policies: [policy('p', 'allow', { principals: [principal(teller)] }, ofBank)] },
    'both',
  ],
  ['a policy of the Service', { policies: [policy('p', 'deny', anybody, onGuarded)] }, 'guarded'],
];
for (const [what, update, ends] of closing) {
  test(`a peer's open tunnels do not survive ${what}`, async (t) => {
    const { mesh, toApi, toGuarded } = await scene(t);
    const direct = await toApi();
    assert.match(await request(direct), /api got/);
    const bytes = await toGuarded();
    // Data that is not HTTP is relayed as bytes.
    bytes.write('\x00\x01\x02 not HTTP');
    const slow = await toGuarded();
    slow.write('POST /hold HTTP/1.1\r\nhost: api\r\ncontent-length: 1000\r\n\r\nhalf');
    await new Promise((resolve) => setTimeout(resolve, 200));
    const closed = ends === 'both' ? [direct, bytes] : [bytes];
    const times: Promise<number>[] = closed.map((stream) => lasted(stream, () => undefined));
    const answer = new Promise<string>((resolve) => {
      const began = performance.now();
      slow.once('data', (data: Buffer) => {
        times.push(Promise.resolve(performance.now() - began));
        resolve(data.toString('latin1'));
      });
    });
    mesh.apply(update);
    // If the response has not begun, the client receives the reason.
    assert.equal(status(await answer), 403);
    for (const ms of await Promise.all(times)) assert.ok(ms < statedMs, `${ms} ms`);
    if (ends !== 'both') assert.equal(direct.destroyed, false);
    direct.destroy();
    slow.destroy();
  });
}
