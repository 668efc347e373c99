/** Plans where another namespace refers to an address or a Service's pods that it does not own, or to an external name. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../model/address.js';
import { parseSpiffeId } from '../model/identity.js';
import type { Service } from '../model/service.js';
import type { Workload } from '../model/workload.js';
import type { MeshState } from '../state/store.js';
import {
  behind,
  id,
  pod,
  policy,
  replica,
  service,
  uid,
  waypointRef,
  workload,
} from '../../test/support/mesh.js';
import { meshOf, outboundTo, plainTo, tunnelTo } from '../../test/support/plans.js';
import { recheck } from './choose-path.js';

const onlyWeb = policy('only-web', 'allow', {
  serviceAccounts: [{ namespace: 'shop', serviceAccount: 'web' }],
});

const tunnel = (state: MeshState, peer = id('web'), client?: typeof peer) =>
  tunnelTo(state, {
    peer,
    ...(client ? { client: { identity: client, ip: parseIp('10.0.1.1') } } : {}),
  });
const outbound = (state: MeshState, ip: string, port: number, source = pod('web', '10.0.1.1')) =>
  outboundTo(state, ip, port, { source });

const evilKey = 'evil/trap.evil.svc.cluster.local' as Service['key'];
const evilWaypoint = {
  kind: 'hostname',
  service: 'evil/wp.evil.svc.cluster.local' as Service['key'],
  hbonePort: 15008,
} as const;
const evilIdentity = parseSpiffeId('spiffe://cluster.local/ns/evil/sa/wp');
/** A Service of another namespace at 10.96.6.6. Its endpoint is the address of the pod `far`, and its waypoint runs. */
const trap = (
  uidOf: string,
  more: Partial<Workload> = {},
): { workloads: Workload[]; services: Service[] } => ({
  workloads: [
    workload('trap', '10.0.2.1', 'n9', {
      uid: uidOf as Workload['uid'],
      namespace: 'evil',
      identity: parseSpiffeId('spiffe://cluster.local/ns/evil/sa/trap'),
      services: new Map([[evilKey, [{ servicePort: 80, targetPort: 8080, appProtocol: 'unknown' }]]]),
      ...more,
    }),
    workload('evil-wp', '10.0.2.66', 'n2', {
      namespace: 'evil',
      identity: evilIdentity,
      serviceAccount: 'wp',
      nativeTunnel: true,
      services: new Map([
        [evilWaypoint.service, [{ servicePort: 15008, targetPort: 15008, appProtocol: 'unknown' }]],
      ]),
    }),
  ],
  services: [
    service('trap', '10.96.6.6', 8080, {
      key: evilKey,
      namespace: 'evil',
      hostname: 'trap.evil.svc.cluster.local',
      waypoint: evilWaypoint,
      subjectAltNames: [evilIdentity],
    }),
  ],
});
const traps: Readonly<Record<string, ReturnType<typeof trap>>> = {
  'a slice': trap('Kubernetes/discovery.k8s.io/EndpointSlice/evil/trap/10.0.2.1', { tunnel: 'none' }),
  'a reference that says it takes tunnels': trap(
    'Kubernetes/networking.istio.io/ServiceEntry/evil/trap/10.0.2.1',
  ),
  'a Workload': trap('Kubernetes/weft.dev/Workload/evil/a'),
};

test('a Service of another namespace puts no waypoint before a pod that it names, whatever its source', () => {
  for (const [what, extra] of Object.entries(traps)) {
    for (const healthy of [true, false]) {
      const far = workload('far', '10.0.2.1', 'n2', { healthy, ...behind('far') });
      const [quiet, state] = [
        meshOf({ workloads: [far] }),
        meshOf({ ...extra, workloads: [far, ...extra.workloads] }),
      ];
      assert.deepEqual(outbound(state, '10.0.2.1', 8080), outbound(quiet, '10.0.2.1', 8080), what);
      assert.deepEqual(outbound(state, '10.96.0.2', 80), outbound(quiet, '10.96.0.2', 80), what);
      assert.deepEqual(tunnel(state), tunnel(quiet), what);
      assert.deepEqual(plainTo(state), plainTo(quiet), what);
      const attributes = {
        sourceIp: parseIp('10.0.1.1'),
        destinationIp: parseIp('10.0.2.1'),
        destinationPort: 8080,
      };
      assert.equal(recheck(state, uid('far'), { ...attributes, identity: id('web') }), undefined, what);
    }
  }
});

test('a waypoint of another namespace connects only on its own behalf', () => {
  for (const [what, extra] of Object.entries(traps)) {
    const claim = tunnel(meshOf({ ...extra, policies: [onlyWeb] }), evilIdentity, id('web'));
    assert.ok(claim.kind === 'refuse' && claim.code === 'WEFT_DENIED', what);
    assert.equal(claim.attributes?.identity, evilIdentity);
  }
});

test('a client that dials a Service of another namespace has chosen its waypoint; the pod still accepts only its own waypoint', () => {
  const extra = traps['a slice'];
  assert.ok(extra);
  const state = meshOf({
    workloads: [replica('wp', '10.0.2.9'), ...extra.workloads],
    services: [service('far', '10.96.0.2', 8080, { waypoint: waypointRef }), ...extra.services],
  });
  const chosen = outbound(state, '10.96.6.6', 80);
  assert.ok(chosen.kind === 'hbone' && chosen.next.ip === '10.0.2.66');
  assert.equal(chosen.workload.uid, uid('far'));
  const direct = outbound(state, '10.0.2.1', 8080);
  assert.ok(direct.kind === 'hbone' && direct.next.ip === '10.0.2.9');
  const closed = tunnel(state, evilIdentity);
  assert.ok(closed.kind === 'refuse' && closed.code === 'WEFT_AROUND_WAYPOINT');
  // Without a waypoint of its own, that Service leads to the pod's waypoint.
  const [named] = extra.services;
  assert.ok(named);
  const { waypoint: _none, ...bare } = named;
  state.apply({ services: [bare] });
  const through = outbound(state, '10.96.6.6', 80);
  assert.ok(through.kind === 'hbone' && through.next.ip === '10.0.2.9');
});

test('an endpoint at a pod’s address is that pod and only its identity counts, also if the endpoint claims to accept tunnels', () => {
  for (const [what, { workloads, services }] of Object.entries(traps)) {
    const [named] = services;
    assert.ok(named);
    const { waypoint: _none, ...bare } = named;
    const plan = outbound(meshOf({ workloads, services: [bare] }), '10.96.6.6', 80);
    assert.ok(plan.kind === 'hbone', what);
    assert.deepEqual([plan.workload.uid, plan.expected], [uid('far'), [id('far')]], what);
  }
});

test('the address of an ExternalService applies only in its own namespace', () => {
  const pay = service('pay', '198.51.100.1', 8443, {
    key: 'shop/pay.example.com' as Service['key'],
    hostname: 'pay.example.com',
    scope: 'namespace',
  });
  const state = meshOf({
    services: [pay],
    workloads: [
      workload('pay', '203.0.113.1', '', {
        uid: 'Kubernetes/weft.dev/ExternalService/shop/pay/203.0.113.1' as Workload['uid'],
        tunnel: 'none',
        services: new Map([[pay.key, pay.ports]]),
      }),
    ],
  });
  const own = outbound(state, '198.51.100.1', 80);
  assert.ok(own.kind === 'plain' && own.target.ip === '203.0.113.1');
  const elsewhere = pod('web', '10.0.1.1', { namespace: 'bank', outboundUnknown: 'refuse' });
  for (const [ip, port] of [
    ['198.51.100.1', 80],
    ['203.0.113.1', 8443],
  ] as const) {
    const other = outbound(state, ip, port, elsewhere);
    assert.ok(other.kind === 'refuse' && other.code === 'WEFT_DESTINATION_UNKNOWN', ip);
  }
});

test('pods on the host network share their node’s address: no plan names one, and no Service of one closes it', () => {
  const [one, other] = ['a', 'b'].map((name) =>
    workload(name, '10.9.0.7', 'n2', { hostNetwork: true, tunnel: 'none', ...behind('far') }),
  ) as [Workload, Workload];
  const state = meshOf({
    workloads: [one, other],
    services: [service('far', '10.96.0.2', 8080, { waypoint: waypointRef })],
  });
  const plan = outbound(state, '10.9.0.7', 8080);
  assert.deepEqual([plan.kind, plan.why], ['plain', 'destination-on-host-network']);
  assert.ok(plan.kind === 'plain' && plan.workload === undefined);
});

test('a host name that looks like a Service’s gives another namespace no claim to its address', () => {
  const before = outbound(meshOf(), '10.96.0.2', 80);
  for (const hostname of ['far.shop.svc.cluster.local', 'trap.example']) {
    const claim = service('far', '10.96.0.2', 80, {
      key: `evil/${hostname}` as Service['key'],
      namespace: 'evil',
      hostname,
      waypoint: evilWaypoint,
    });
    assert.deepEqual(outbound(meshOf({ services: [claim] }), '10.96.0.2', 80), before, hostname);
  }
});

test('an endpoint at the address of another namespace’s Workload keeps its identity, unless that Workload applies to all namespaces', () => {
  const endpoint = workload('db', '10.9.0.1', '', {
    uid: 'Kubernetes/discovery.k8s.io/EndpointSlice/shop/db/10.9.0.1' as Workload['uid'],
    tunnel: 'none',
    ...behind('db'),
  });
  const machine = (scope?: 'namespace'): Workload =>
    workload('vm', '10.9.0.1', 'vm1', {
      uid: 'Kubernetes/weft.dev/Workload/evil/vm' as Workload['uid'],
      namespace: 'evil',
      identity: evilIdentity,
      ...(scope ? { scope } : {}),
    });
  const plan = (one: Workload) =>
    outbound(meshOf({ workloads: [endpoint, one], services: [service('db', '10.96.0.5')] }), '10.96.0.5', 80);
  assert.deepEqual([plan(machine('namespace')).kind, plan(machine()).kind], ['plain', 'hbone']);
});

test('a waypoint’s tunnel ends when the waypoint no longer serves the port: its statement about the client is not trusted any more', () => {
  const served = service('far', '10.96.0.2', 8080, { waypoint: waypointRef });
  const state = meshOf({ workloads: [replica('wp', '10.0.2.9')], services: [served], policies: [onlyWeb] });
  const plan = tunnel(state, id('wp'), id('web'));
  assert.ok(plan.kind === 'deliver', plan.kind);
  assert.equal(recheck(state, uid('far'), plan.attributes, id('wp')), undefined);
  state.apply({ services: [service('far', '10.96.0.2')] });
  assert.match(recheck(state, uid('far'), plan.attributes, id('wp')) ?? '', /no longer served by a waypoint/);
});
