/**
 * Row 7 of docs/security.md: a compromised waypoint, with its certificate and its configuration. It may affect the traffic of the
 * workloads that it serves. Toward all others it has only its own identity.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { planInboundTunnel, planOutbound } from '../../src/path/choose-path.js';
import { parseIp } from '../../src/model/address.js';
import { MeshState } from '../../src/state/store.js';
import { eventually } from '../support/eventually.js';
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
import type { MeshObject } from '../../control/objects/objects.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import type { ServiceKey } from '../../src/model/workload.js';
import { WaypointState } from '../../src/waypoint/state/waypoint-state.js';
import {
  at,
  compiled,
  namespaceObject,
  nodePodOf,
  podObject,
  runningWaypoint,
  serviceObject,
  updateOf,
  viewOf,
} from './support/compiled.js';

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

test('the workloads that a waypoint serves accept the client identity that it states', async (t) => {
  const { served, claim } = await scene(t);
  const stream = await claim(shop, served.port);
  assert.match(await request(stream), /api got/);
  stream.destroy();
  await eventually(() => served.records.length > 0, 'its record');
  assert.equal(served.records.at(-1)?.source.identity, teller);
});

test('workloads that a waypoint does not serve do not accept the client identity that it states', async (t) => {
  const { sealed, other, claim } = await scene(t);
  for (const [to, where] of [
    [vault, sealed],
    // Not in the waypoint's own namespace either.
    [{ ip: '127.0.32.2', identity: identity('shop', 'other') }, other],
  ] as const) {
    await assert.rejects(claim(to, where.port), { code: 'WEFT_TUNNEL_REFUSED', message: /401/ });
    const record = where.records.at(-1);
    assert.equal(record?.code, 'WEFT_DENIED');
    assert.equal(record?.source.identity, taken.identity);
    assert.match(record?.source.address ?? '', new RegExp(`^${taken.ip}:`));
  }
});

test('another waypoint does not accept the client identity that a waypoint states', async (t) => {
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

test('a waypoint cannot bypass the waypoint of a workload that it does not serve', async (t) => {
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
  'a workload stops accepting client identities from a waypoint that no longer serves it',
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

test("client identities are accepted only at ports of the waypoint's Service, and not from pods with similar names", () => {
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
    // Pods with the waypoint's labels, so that its Service selects them: with another service account, of another kind.
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
  assert.equal(plan.attributes?.identity, teller);
  for (const [peer, port, code] of [
    [identity('shop', 'gate'), 9090, 'WEFT_DENIED'],
    [identity('shop', 'impostor'), 8080, 'WEFT_AROUND_WAYPOINT'],
    [identity('shop', 'gate-2'), 8080, 'WEFT_AROUND_WAYPOINT'],
    [identity('bank', 'gate'), 8080, 'WEFT_AROUND_WAYPOINT'],
  ] as const) {
    const refusal = as(peer, port);
    assert.equal(refusal.kind, 'refuse', `${peer} ${port}`);
    if (refusal.kind === 'refuse') assert.equal(refusal.code, code);
    if (refusal.attributes) assert.equal(refusal.attributes.identity, peer);
  }
});

const id = (namespace: string, account: string) =>
  parseSpiffeId(`spiffe://cluster.local/ns/${namespace}/sa/${account}`);
const infra = (from?: string) =>
  runningWaypoint('infra', 'wp', { service: '10.96.1.1', pod: '10.0.1.1' }, from);
const throughInfra = { 'weft.dev/waypoint': 'wp', 'weft.dev/waypoint-namespace': 'infra' };
const tenants = [
  namespaceObject('infra'),
  namespaceObject('shop'),
  namespaceObject('bank'),
  podObject('shop', 'api', '10.0.2.1', { node: 'n2' }),
  podObject('bank', 'vault', '10.0.2.2', { node: 'n2' }),
  podObject('bank', 'teller', '10.0.2.3'),
  serviceObject('bank', 'vault', '10.96.2.2'),
];

/** The plan of the node of `namespace/name` for a tunnel in which the waypoint states a client identity. */
const speaksFor = (objects: readonly MeshObject[], namespace: string, name: string, ip: string) => {
  const compiler = compiled(...objects);
  return planInboundTunnel(viewOf(compiler), {
    pod: nodePodOf(compiler, namespace, name),
    authority: at(ip, 8080),
    local: at(ip, 0).ip,
    remote: at('10.0.1.1', 0).ip,
    peer: id('infra', 'wp'),
    client: { identity: id('bank', 'teller'), ip: at('10.0.2.3', 0).ip },
  });
};

test("a workload that a waypoint does not serve sees the waypoint's own identity, not the stated client", () => {
  const plan = speaksFor(
    [...infra('All'), ...tenants, serviceObject('shop', 'api', '10.96.2.1', { labels: throughInfra })],
    'bank',
    'vault',
    '10.0.2.2',
  );
  assert.ok(plan.kind === 'deliver');
  assert.equal(plan.attributes.identity, id('infra', 'wp'));
  assert.equal(plan.attributes.http, undefined);
});

test('only Services that the Gateway admits accept client identities from its waypoint, not those that merely name it', () => {
  const named = serviceObject('shop', 'api', '10.96.2.1', { labels: throughInfra });
  const admitted = speaksFor([...infra('All'), ...tenants, named], 'shop', 'api', '10.0.2.1');
  assert.ok(admitted.kind === 'deliver');
  assert.equal(admitted.attributes.identity, id('bank', 'teller'));
  for (const from of [undefined, 'Same', 'Unknown']) {
    const refused = speaksFor([...infra(from), ...tenants, named], 'shop', 'api', '10.0.2.1');
    assert.ok(refused.kind === 'refuse', from);
    assert.equal(refused.code, 'WEFT_AROUND_WAYPOINT');
  }
});

test('a waypoint gets only its own certificate, and none once its Gateway is deleted', () => {
  const compiler = compiled(...infra('All'), ...tenants);
  const mayAsk = (identity: string): boolean => compiler.mayRequestCertificate('waypoint:infra/wp', identity);
  assert.ok(mayAsk(id('infra', 'wp')));
  for (const other of [id('bank', 'teller'), id('shop', 'wp'), id('infra', 'default'), id('infra', 'wp-0')])
    assert.ok(!mayAsk(other), other);
  assert.ok(!mayAsk('spiffe://other.domain/ns/infra/sa/wp'));
  assert.ok(!compiled(...tenants).mayRequestCertificate('waypoint:infra/wp', id('infra', 'wp')));
});

test('a waypoint forwards only to Services that name it and that its Gateway admits: it is not an open proxy', () => {
  const serves = (from: string | undefined, labels: Readonly<Record<string, string>>): boolean => {
    const state = new WaypointState('n1', 'infra/wp.infra.svc.cluster.local' as ServiceKey);
    const api = serviceObject('shop', 'api', '10.96.2.1', { labels });
    state.apply({ mesh: updateOf(compiled(...infra(from), ...tenants, api)) });
    const service = state.view.service('shop/api.shop.svc.cluster.local' as ServiceKey);
    const workload = state.view.workloadByAddress(at('10.0.2.1', 0).ip, undefined);
    assert.ok(service && workload);
    const [byService, byPod] = [
      state.serves(service, undefined, 80),
      state.serves(undefined, workload, 8080),
    ];
    assert.equal(byService, byPod);
    return byService;
  };
  assert.equal(serves('All', throughInfra), true);
  assert.equal(serves('Same', throughInfra), false);
  assert.equal(serves(undefined, throughInfra), false);
  assert.equal(serves('All', {}), false);
  assert.equal(serves('All', { 'weft.dev/waypoint': 'wp' }), false);
});

test('a client cannot reach a Service whose waypoint does not admit it, through the waypoint or around it', () => {
  const plan = (from?: string) => {
    const compiler = compiled(
      ...infra(from),
      ...tenants,
      serviceObject('shop', 'api', '10.96.2.1', { labels: throughInfra }),
    );
    return ['10.96.2.1:80', '10.0.2.1:8080'].map((address) => {
      const [ip = '', port] = address.split(':');
      const outbound = planOutbound(viewOf(compiler), {
        source: nodePodOf(compiler, 'bank', 'teller'),
        sourceIp: at('10.0.2.3', 0).ip,
        dialed: at(ip, Number(port)),
        node: 'n1',
        locality: () => 'elsewhere',
        random: 0,
      });
      return outbound.kind === 'refuse' ? outbound.code : `${outbound.kind} ${outbound.why}`;
    });
  };
  assert.deepEqual(plan('All'), ['hbone destination-has-waypoint', 'hbone destination-has-waypoint']);
  assert.deepEqual(plan('Same'), ['WEFT_WAYPOINT_NOT_ALLOWED', 'WEFT_WAYPOINT_NOT_ALLOWED']);
  assert.deepEqual(plan(), ['WEFT_WAYPOINT_NOT_ALLOWED', 'WEFT_WAYPOINT_NOT_ALLOWED']);
});
