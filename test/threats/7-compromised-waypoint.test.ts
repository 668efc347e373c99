/** THREATS.md, row 7: a compromised waypoint has its certificate and its configuration; it may affect the traffic of what it serves. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MeshObject } from '../../control/compile/objects.js';
import { planInboundTunnel, planOutbound } from '../../daemonset/proxy/plan.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import type { ServiceKey } from '../../src/model/workload.js';
import { WaypointState } from '../../src/waypoint/state.js';
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

const id = (namespace: string, account: string) =>
  parseSpiffeId(`spiffe://cluster.local/ns/${namespace}/sa/${account}`);
const infra = (from?: string) =>
  runningWaypoint('infra', 'wp', { service: '10.96.1.1', pod: '10.0.1.1' }, from);
const throughInfra = { 'weft.dev/waypoint': 'wp', 'weft.dev/waypoint-namespace': 'infra' };
const shop = [
  namespaceObject('infra'),
  namespaceObject('shop'),
  namespaceObject('bank'),
  podObject('shop', 'api', '10.0.2.1', { node: 'n2' }),
  podObject('bank', 'vault', '10.0.2.2', { node: 'n2' }),
  podObject('bank', 'teller', '10.0.2.3'),
  serviceObject('bank', 'vault', '10.96.2.2'),
];

/** What the node of `namespace/name` makes of the waypoint's word about its client. */
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

test('a waypoint is not believed about its client by a workload that it does not serve: that sees the waypoint itself', () => {
  const plan = speaksFor(
    [...infra('All'), ...shop, serviceObject('shop', 'api', '10.96.2.1', { labels: throughInfra })],
    'bank',
    'vault',
    '10.0.2.2',
  );
  assert.ok(plan.kind === 'deliver');
  assert.equal(plan.facts.identity, id('infra', 'wp'));
  assert.equal(plan.facts.http, undefined);
});

test('a waypoint is believed about its client by what its Gateway admits, and by nobody that names it without that', () => {
  const named = serviceObject('shop', 'api', '10.96.2.1', { labels: throughInfra });
  const admitted = speaksFor([...infra('All'), ...shop, named], 'shop', 'api', '10.0.2.1');
  assert.ok(admitted.kind === 'deliver');
  assert.equal(admitted.facts.identity, id('bank', 'teller'));
  for (const from of [undefined, 'Same', 'Unknown']) {
    const refused = speaksFor([...infra(from), ...shop, named], 'shop', 'api', '10.0.2.1');
    assert.ok(refused.kind === 'refuse', from);
    assert.equal(refused.code, 'WEFT_AROUND_WAYPOINT');
  }
});

test('a waypoint gets no certificate but its own, and none once its Gateway is gone', () => {
  const compiler = compiled(...infra('All'), ...shop);
  const mayAsk = (identity: string): boolean => compiler.mayAsk('waypoint:infra/wp', identity);
  assert.ok(mayAsk(id('infra', 'wp')));
  for (const other of [id('bank', 'teller'), id('shop', 'wp'), id('infra', 'default'), id('infra', 'wp-0')])
    assert.ok(!mayAsk(other), other);
  assert.ok(!mayAsk('spiffe://other.domain/ns/infra/sa/wp'));
  assert.ok(!compiled(...shop).mayAsk('waypoint:infra/wp', id('infra', 'wp')));
});

test('an honest waypoint carries nothing to what does not name it, or what its Gateway does not admit: it is no open proxy', () => {
  const serves = (from: string | undefined, labels: Readonly<Record<string, string>>): boolean => {
    const state = new WaypointState('n1', 'infra/wp.infra.svc.cluster.local' as ServiceKey);
    const api = serviceObject('shop', 'api', '10.96.2.1', { labels });
    state.apply({ mesh: updateOf(compiled(...infra(from), ...shop, api)) });
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

test('a client reaches a Service of a waypoint that does not admit it neither through the waypoint nor around it', () => {
  const plan = (from?: string) => {
    const compiler = compiled(
      ...infra(from),
      ...shop,
      serviceObject('shop', 'api', '10.96.2.1', { labels: throughInfra }),
    );
    return ['10.96.2.1:80', '10.0.2.1:8080'].map((address) => {
      const [ip = '', port] = address.split(':');
      const outbound = planOutbound(viewOf(compiler), {
        source: nodePodOf(compiler, 'bank', 'teller'),
        sourceIp: at('10.0.2.3', 0).ip,
        dialled: at(ip, Number(port)),
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
