/**
 * Row 7: a compromised waypoint, with its certificate and its configuration. It may affect the traffic of what it serves; toward all else it
 * is itself.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { planInboundTunnel } from '../../daemonset/proxy/plan.js';
import { parseIp } from '../../src/model/address.js';
import { MeshState } from '../../src/state/store.js';
import { pod as podOf, policy, workload } from '../support/mesh.js';
import {
  echoing,
  identity,
  request,
  serviceKey,
  serviceOf,
  status,
  TestMesh,
  uidOf,
  waypointRef,
} from './support/mesh.js';

const teller = identity('bank', 'teller');
const tellerIp = '127.0.31.7';
const taken = { ip: '127.0.32.9', identity: identity('shop', 'gate') };
const bank = { ip: '127.0.31.9', identity: identity('bank', 'gate') };
const vault = { ip: '127.0.31.1', identity: identity('bank', 'vault') };
const shop = { ip: '127.0.32.1', identity: identity('shop', 'api') };
const claims = { 'weft-source-identity': teller, forwarded: `for="${tellerIp}:1234"` };
const onlyTeller = (namespace: string) =>
  policy(
    'p',
    'allow',
    { principals: [{ kind: 'exact', value: teller.slice('spiffe://'.length) }] },
    { namespace },
  );

/** The shop's waypoint is compromised. It serves the shop's `api`, at one of the pod's ports. */
async function scene(t: TestContext) {
  const mesh = new TestMesh(t);
  await mesh.waypoint('shop', 'gate', taken.ip);
  const banks = await mesh.waypoint('bank', 'gate', bank.ip);
  const served = await mesh.pod('shop', 'api', shop.ip, echoing('api'), ['api']);
  const sealed = await mesh.pod('bank', 'vault', vault.ip, echoing('vault'), ['vault']);
  const other = await mesh.pod('shop', 'other', '127.0.32.2', echoing('other'));
  const api = serviceOf('shop', 'api', '10.96.32.1', served.port, { waypoint: waypointRef('shop', 'gate') });
  mesh.apply({
    services: [api, serviceOf('bank', 'vault', '10.96.31.1', sealed.port)],
    policies: [onlyTeller('shop'), { ...onlyTeller('bank'), key: 'bank/p' as never }],
  });
  const claim = (to: { ip: string; identity: typeof teller }, port: number) =>
    mesh.tunnel(taken.identity, taken.ip, to, `${to.ip}:${port}`, claims);
  return { mesh, banks, served, sealed, other, api, claim };
}

test('a waypoint speaks for clients toward the workloads that it serves', async (t) => {
  const { served, claim } = await scene(t);
  const stream = await claim(shop, served.port);
  assert.match(await request(stream), /api got/);
  stream.destroy();
  for (let i = 0; i < 100 && served.records.length === 0; i++)
    await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(served.records.at(-1)?.source.identity, teller);
});

test('a waypoint does not speak for clients toward workloads that it does not serve', async (t) => {
  const { sealed, other, claim } = await scene(t);
  for (const [to, where] of [
    [vault, sealed],
    // Nor in its own namespace.
    [{ ip: '127.0.32.2', identity: identity('shop', 'other') }, other],
  ] as const) {
    await assert.rejects(claim(to, where.port), { code: 'WEFT_TUNNEL_REFUSED', message: /401/ });
    const record = where.records.at(-1);
    assert.equal(record?.code, 'WEFT_DENIED');
    assert.equal(record?.source.identity, taken.identity);
    assert.match(record?.source.address ?? '', new RegExp(`^${taken.ip}:`));
  }
});

test('a waypoint does not speak for clients toward another waypoint', async (t) => {
  const { mesh, banks, sealed } = await scene(t);
  mesh.apply({
    services: [
      serviceOf('bank', 'vault', '10.96.31.1', sealed.port, { waypoint: waypointRef('bank', 'gate') }),
    ],
  });
  const stream = await mesh.tunnel(taken.identity, taken.ip, bank, '10.96.31.1:80', claims);
  assert.equal(status(await request(stream)), 403);
  assert.equal(banks.records.at(-1)?.client.identity, taken.identity);
  assert.equal(banks.records.at(-1)?.client.address.ip, taken.ip);
  assert.deepEqual(sealed.records, []);
});

test('a waypoint does not go around the waypoint of what it does not serve', async (t) => {
  const { mesh, sealed, claim } = await scene(t);
  mesh.apply({
    services: [
      serviceOf('bank', 'vault', '10.96.31.1', sealed.port, { waypoint: waypointRef('bank', 'gate') }),
    ],
  });
  await assert.rejects(claim(vault, sealed.port), { message: /401/ });
  assert.equal(sealed.records.at(-1)?.code, 'WEFT_AROUND_WAYPOINT');
});

test(
  'a waypoint does not go on speaking for clients once it serves the workload no more',
  { timeout: 60_000 },
  async (t) => {
    for (const change of ['another waypoint', 'none', 'no Service'] as const) {
      const { mesh, served, api, claim } = await scene(t);
      const stream = await claim(shop, served.port);
      assert.match(await request(stream), /api got/);
      const { waypoint: _, ...without } = api;
      const ended = new Promise<void>((resolve) => stream.once('close', () => resolve()));
      stream.resume();
      mesh.apply(
        change === 'no Service'
          ? { removed: [api.key] }
          : { services: [change === 'none' ? without : { ...api, waypoint: waypointRef('bank', 'gate') }] },
      );
      await ended;
      await assert.rejects(claim(shop, served.port), { message: /401/ }, change);
    }
  },
);

test('a waypoint does not speak for clients at ports that its Service does not name, nor under a name like its own', () => {
  const view = new MeshState();
  const one = workload('api', '10.0.0.1', 'node-1', {
    services: new Map([
      [serviceKey('shop', 'api'), [{ servicePort: 80, targetPort: 8080, appProtocol: 'unknown' }]],
    ]),
  });
  const gate = (name: string, more = {}) =>
    workload(name, '10.0.0.9', 'node-1', {
      uid: uidOf('shop', name),
      identity: identity('shop', name),
      nativeTunnel: true,
      services: new Map([[serviceKey('shop', 'gate'), []]]),
      ...more,
    });
  view.apply({
    services: [
      serviceOf('shop', 'api', '10.96.0.1', 8080, { waypoint: waypointRef('shop', 'gate') }),
      serviceOf('shop', 'gate', '10.96.0.9', 15008),
    ],
    // Pods that have the waypoint's labels, so that its Service selects them: of another account, of another kind.
    workloads: [
      one,
      gate('gate'),
      gate('impostor'),
      gate('gate-2', { nativeTunnel: false, serviceAccount: 'gate-2' }),
    ],
    policies: [onlyTeller('shop')],
  });
  const as = (peer: typeof teller, port: number) =>
    planInboundTunnel(view, {
      pod: podOf('api', '10.0.0.1'),
      authority: { ip: parseIp('10.0.0.1'), port },
      local: parseIp('10.0.0.1'),
      remote: parseIp('10.0.0.9'),
      peer,
      client: { identity: teller, ip: parseIp(tellerIp) },
    });
  const plan = as(identity('shop', 'gate'), 8080);
  assert.equal(plan.kind, 'deliver');
  assert.equal(plan.facts?.identity, teller);
  for (const [peer, port, code] of [
    [identity('shop', 'gate'), 9090, 'WEFT_DENIED'],
    [identity('shop', 'impostor'), 8080, 'WEFT_AROUND_WAYPOINT'],
    [identity('shop', 'gate-2'), 8080, 'WEFT_AROUND_WAYPOINT'],
    [identity('bank', 'gate'), 8080, 'WEFT_AROUND_WAYPOINT'],
  ] as const) {
    const refusal = as(peer, port);
    assert.equal(refusal.kind, 'refuse', `${peer} ${port}`);
    if (refusal.kind === 'refuse') assert.equal(refusal.code, code);
    if (refusal.facts) assert.equal(refusal.facts.identity, peer);
  }
});
