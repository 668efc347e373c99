/** The owners of addresses and host names as objects come and go, and the problems of objects that lose a claim. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../src/model/address.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { pickFields } from '../kinds/kinds.js';
import { parseManifests } from '../source/parse.js';
import { acceptedWrite } from '../../test/support/status-writes.js';
import { Compiler, compile } from './compile.js';
import { objectKey } from '../objects/object-key.js';
import { changesFrom } from '../registry/difference.js';
import type { MeshObject, NodeObject, PodObject, WorkloadObject } from '../objects/objects.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
const at = (second: number): string => `2026-01-01T00:00:0${second}Z`;

const pod = (namespace: string, ip: string, more: Partial<PodObject['status']> = {}): PodObject => ({
  kind: 'Pod',
  // The pod is younger than the claimant of its address: the age of a pod does not matter.
  metadata: { name: 'p', namespace, creationTimestamp: at(9) },
  spec: { nodeName: 'n1' },
  status: { podIPs: [{ ip }], ...more },
});
const node = (ip: string, annotations: Record<string, string> = {}): NodeObject => ({
  kind: 'Node',
  metadata: { name: 'n1', annotations },
  status: {
    addresses: [
      { type: 'InternalIP', address: ip },
      { type: 'Hostname', address: 'n1' },
    ],
  },
});
const workload = (
  namespace: string,
  name: string,
  ip: string,
  created = 1,
  spec: Partial<WorkloadObject['spec']> = {},
): WorkloadObject => ({
  kind: 'Workload',
  metadata: { name, namespace, creationTimestamp: at(created), generation: 1 },
  spec: { node: 'vm1', addresses: [ip], serviceAccount: name, netns: 'vm', ...spec },
});
const external = (
  namespace: string,
  name: string,
  addresses: readonly string[],
  created = 1,
  host?: string,
): MeshObject => ({
  kind: 'ExternalService',
  metadata: { name, namespace, creationTimestamp: at(created), generation: 1 },
  spec: { addresses, ports: [{ port: 443 }], ...(host === undefined ? {} : { host }) },
});
const namespace = (name: string, labels: Record<string, string>): MeshObject => ({
  kind: 'Namespace',
  metadata: { name, labels },
});

const accepted = (compiler: Compiler, object: MeshObject): string => {
  const problem = compiler.problemOf(object);
  return problem ? `${problem.reason}: ${problem.message}` : 'accepted';
};
/** The addresses in the resource of an ExternalService, and the clients for which they count. */
const addressesOf = (compiler: Compiler, key: string): string | undefined => {
  for (const one of compiler.all()) {
    if (one.kind !== 'service' || one.value.key !== key) continue;
    return `${one.value.addresses.map(({ ip }) => ip).join(' ')} for ${one.value.scope ?? 'all'}`;
  }
  return undefined;
};
const hasResource = (compiler: Compiler, kind: 'workload' | 'nodePod', name: string): boolean =>
  [...compiler.all()].some((one) => one.kind === kind && one.value.name === name);

test('a Workload whose address belongs to another object has no endpoint, no enrollment and no certificate', () => {
  const evil = workload('evil', 'trap', '10.0.0.1');
  const owners: readonly (readonly [MeshObject, string])[] = [
    [pod('bank', '10.0.0.1'), 'a Pod'],
    [pod('evil', '10.0.0.1'), 'Pod evil/p'],
    [pod('bank', '10.0.0.1', { conditions: [{ type: 'Ready', status: 'False' }] }), 'a Pod'],
    [node('10.0.0.1'), 'a Node'],
    [
      {
        kind: 'Service',
        metadata: { name: 's', namespace: 'bank' },
        spec: { clusterIPs: ['10.0.0.1'], ports: [{ port: 80 }] },
      },
      'a Service',
    ],
  ];
  for (const [owner, named] of owners) {
    const compiler = compile([evil, owner], settings);
    assert.equal(
      accepted(compiler, evil),
      `AddressConflict: address 10.0.0.1 belongs to ${named}; nothing of this object is in force`,
    );
    assert.ok(!hasResource(compiler, 'workload', 'trap') && !hasResource(compiler, 'nodePod', 'trap'), named);
    assert.ok(!compiler.mayRequestCertificate('vm1', 'spiffe://cluster.local/ns/evil/sa/trap'), named);
    // The claimant is in force once the owner is deleted, and not once it returns.
    compiler.apply(new Map([[objectKey(owner), undefined]]));
    assert.equal(accepted(compiler, evil), 'accepted');
    assert.ok(
      hasResource(compiler, 'nodePod', 'trap') &&
        compiler.mayRequestCertificate('vm1', 'spiffe://cluster.local/ns/evil/sa/trap'),
    );
    const { removed: withdrawn } = compiler.apply(new Map([[objectKey(owner), owner]]));
    assert.deepEqual(withdrawn.map(({ kind }) => kind).sort(), ['namespace', 'nodePod', 'workload']);
    assert.ok(!compiler.mayRequestCertificate('vm1', 'spiffe://cluster.local/ns/evil/sa/trap'), named);
  }
});

test('a pod that has ended no longer owns its address', () => {
  const machine = workload('shop', 'vm', '10.0.0.1');
  const compiler = compile([machine, pod('bank', '10.0.0.1', { phase: 'Succeeded' })], settings);
  assert.equal(accepted(compiler, machine), 'accepted');
  const running = pod('bank', '10.0.0.1', { phase: 'Running' });
  compiler.apply(new Map([[objectKey(running), running]]));
  assert.match(accepted(compiler, machine), /AddressConflict/);
});

test('of two Workloads of one namespace the older has the address; Workloads of two namespaces do not conflict, even on one machine', () => {
  const [older, younger] = [workload('shop', 'z', '10.9.0.1', 1), workload('shop', 'a', '10.9.0.1', 2)];
  const compiler = compile(
    [younger, older, workload('bank', 'own', '10.9.0.1', 3, { node: 'vm2' })],
    settings,
  );
  assert.equal(accepted(compiler, older), 'accepted');
  assert.match(accepted(compiler, younger), /belongs to Workload shop\/z/);
  const own = workload('bank', 'own', '10.9.0.1', 3, { node: 'vm2' });
  assert.equal(accepted(compiler, own), 'accepted');
  const moved = workload('bank', 'own', '10.9.0.1', 3);
  compiler.apply(new Map([[objectKey(own), moved]]));
  // A machine that is not a Node decides by itself which Workloads it accepts: a refused Workload must not block others.
  assert.equal(accepted(compiler, moved), 'accepted');
  compiler.apply(new Map([[objectKey(older), undefined]]));
  assert.equal(accepted(compiler, younger), 'accepted');
});

test('of two ExternalServices of one namespace the older has a claimed address or host; after its deletion the other has it', () => {
  for (const order of [0, 1]) {
    const objects = [
      external('shop', 'z', ['198.51.100.1', '198.51.100.2'], 1, 'pay.example.com'),
      external('shop', 'a', ['198.51.100.1', '198.51.100.3'], 2, 'other.example.com'),
      external('shop', 'b', ['198.51.100.4'], 2, 'pay.example.com'),
    ];
    const [older, byAddress, byHost] = objects as [MeshObject, MeshObject, MeshObject];
    const compiler = new Compiler(settings);
    for (const object of order === 0 ? objects : objects.reverse())
      compiler.apply(new Map([[objectKey(object), object]]));
    assert.equal(accepted(compiler, older), 'accepted');
    assert.match(
      accepted(compiler, byAddress),
      /^AddressConflict: address 198.51.100.1 belongs to ExternalService shop\/z; only/,
    );
    assert.match(
      accepted(compiler, byHost),
      /^HostConflict: host pay.example.com belongs to ExternalService shop\/z/,
    );
    assert.equal(addressesOf(compiler, 'shop/pay.example.com'), '198.51.100.1 198.51.100.2 for namespace');
    assert.equal(addressesOf(compiler, 'shop/other.example.com'), '198.51.100.3 for namespace');
    compiler.apply(new Map([[objectKey(older), undefined]]));
    assert.equal(accepted(compiler, byAddress), 'accepted');
    assert.equal(accepted(compiler, byHost), 'accepted');
    assert.equal(addressesOf(compiler, 'shop/other.example.com'), '198.51.100.1 198.51.100.3 for namespace');
    assert.equal(addressesOf(compiler, 'shop/pay.example.com'), '198.51.100.4 for namespace');
  }
});

test('an ExternalService cannot take the address of a Node, a pod (in the mesh or not), a Service, or a Workload of its namespace', () => {
  const own = external('shop', 'x', ['10.0.0.1', '198.51.100.1'], 0);
  for (const owner of [node('10.0.0.1'), pod('bank', '10.0.0.1'), workload('shop', 'vm', '10.0.0.1', 9)]) {
    const compiler = compile([own, owner], settings);
    assert.match(accepted(compiler, own), /^AddressConflict: address 10.0.0.1 belongs to/, owner.kind);
    assert.equal(addressesOf(compiler, 'shop/x.shop.external'), '198.51.100.1 for namespace');
    // The remaining address has no such endpoint, either.
    const endpoints = [...compiler.all()].flatMap((one) =>
      one.kind === 'workload' && one.value.uid.includes('/ExternalService/') ? one.value.addresses : [],
    );
    assert.deepEqual(endpoints, [parseIp('198.51.100.1')]);
  }
  const compiler = compile([own, workload('evil', 'trap', '10.0.0.1', 0)], settings);
  assert.equal(
    accepted(compiler, own),
    'accepted',
    'a Workload in another namespace does not take its address',
  );
});

test('an ExternalService counts in all namespaces only if its namespace is exported; of two such the older has the address', () => {
  const exported = namespace('shop', { 'weft.dev/export': 'enabled' });
  const mine = external('shop', 'pay', ['198.51.100.1'], 2, 'pay.example.com');
  const root = external('weft-system', 'pay', ['198.51.100.1'], 1, 'pay.example.net');
  const compiler = compile([mine, root, external('bank', 'pay', ['198.51.100.1'], 0)], settings);
  const addresses = (): unknown[] =>
    ['shop/pay.example.com', 'weft-system/pay.example.net', 'bank/pay.bank.external'].map((key) =>
      addressesOf(compiler, key),
    );
  assert.deepEqual(addresses(), [
    '198.51.100.1 for namespace',
    '198.51.100.1 for all',
    '198.51.100.1 for namespace',
  ]);
  compiler.apply(new Map([[objectKey(exported), exported]]));
  assert.deepEqual(addresses(), [' for all', '198.51.100.1 for all', '198.51.100.1 for namespace']);
  assert.match(accepted(compiler, mine), /belongs to an ExternalService; only/);
  compiler.apply(new Map([[objectKey(root), undefined]]));
  assert.deepEqual(addresses(), ['198.51.100.1 for all', undefined, '198.51.100.1 for namespace']);
  assert.equal(accepted(compiler, mine), 'accepted');
  // The root namespace is a setting.
  compiler.configure({ ...settings, rootNamespace: 'bank' });
  assert.equal(addresses()[2], '198.51.100.1 for all');
});

test('a Node of the cluster accepts Workloads only of the namespaces that its annotation names', () => {
  const object = workload('shop', 'vm', '10.9.0.1', 1, { node: 'n1' });
  const compiler = compile([object, node('10.88.0.1')], settings);
  assert.match(accepted(compiler, object), /^NodeNotAllowed: n1 is a Node of the cluster, whose annotation/);
  assert.ok(
    !compiler.mayRequestCertificate('n1', 'spiffe://cluster.local/ns/shop/sa/vm') &&
      !hasResource(compiler, 'nodePod', 'vm'),
  );
  const taking = (text: string): string => {
    const now = node('10.88.0.1', { 'weft.dev/workload-namespaces': text });
    compiler.apply(new Map([[objectKey(now), now]]));
    return accepted(compiler, object);
  };
  assert.match(taking('bank'), /NodeNotAllowed/);
  assert.equal(taking('bank, shop'), 'accepted');
  assert.match(taking('shops'), /NodeNotAllowed/);
  assert.equal(taking('*'), 'accepted');
  assert.ok(compiler.mayRequestCertificate('n1', 'spiffe://cluster.local/ns/shop/sa/vm'));
  assert.match(taking(''), /NodeNotAllowed/);
  // A Workload that is not accepted owns no address, either.
  const own = external('shop', 'x', ['10.9.0.1'], 5);
  compiler.apply(new Map([[objectKey(own), own]]));
  assert.equal(accepted(compiler, own), 'accepted');
  taking('*');
  assert.match(accepted(compiler, own), /belongs to Workload shop\/vm/);
});

test('on Kubernetes a pod’s author cannot choose its network namespace; a Workload’s is a name or an absolute path', () => {
  const raw = {
    metadata: {
      name: 'p',
      namespace: 'evil',
      annotations: { 'weft.dev/netns': '/proc/1/ns/net', 'weft.dev/splice': 'on' },
    },
    spec: { nodeName: 'n1' },
    status: { podIPs: [{ ip: '10.0.0.1' }] },
  };
  const read = pickFields('Pod', raw);
  assert.deepEqual(read?.metadata.annotations, { 'weft.dev/splice': 'on' });
  const errorCount = (netns: string): number =>
    parseManifests(
      'x',
      `apiVersion: weft.dev/v1alpha1\nkind: Workload\nmetadata: { name: w, namespace: a }\nspec: { node: vm1, addresses: [10.9.0.1], netns: ${JSON.stringify(netns)} }\n`,
    ).errors.length;
  for (const good of ['vm', 'vm-1.a', '/run/netns/vm', '/proc/12/ns/net', '/var/run/docker/netns/0a1b'])
    assert.equal(errorCount(good), 0, good);
  for (const bad of [
    '',
    '.',
    '..',
    '../x',
    'a/b',
    '/run/netns/../../x',
    '/run/netns/',
    '//x',
    '/.x',
    'a b',
    'a\n/b',
    'x'.repeat(1025),
  ])
    assert.ok(errorCount(bad) > 0, JSON.stringify(bad));
  // The compiler refuses it even if no schema was applied.
  assert.throws(
    () => compile([workload('a', 'w', '10.9.0.1', 1, { netns: '/a/../b' })], settings),
    /spec.netns/,
  );
});

test('an ownership conflict is reported on the losing object once', () => {
  const object = workload('evil', 'trap', '10.0.0.1');
  const compiler = compile([object, pod('bank', '10.0.0.1')], settings);
  const write = acceptedWrite(object, compiler.problemOf(object));
  const { conditions } = (write?.body as { status: { conditions: Record<string, unknown>[] } }).status;
  assert.equal(conditions[0]?.['status'], 'False');
  assert.equal(conditions[0]?.['reason'], 'AddressConflict');
  assert.equal(
    conditions[0]?.['message'],
    'address 10.0.0.1 belongs to a Pod; nothing of this object is in force',
  );
  const withStatus = { ...object, status: { conditions } } as unknown as MeshObject;
  assert.equal(acceptedWrite(withStatus, compiler.problemOf(object)), undefined);
  // A change of only the status changes no resource.
  assert.equal(changesFrom(compiler, [withStatus, pod('bank', '10.0.0.1')]).size, 1);
  compiler.apply(new Map([[objectKey(object), withStatus]]));
  assert.match(accepted(compiler, object), /AddressConflict/);
});

test('one more claim to an address that thousands of objects claim recompiles only that object, and so does its deletion', () => {
  const many = Array.from({ length: 3000 }, (_, i) => external('evil', `x-${i}`, ['198.51.100.1'], 2));
  const compiler = compile([...many, external('evil', 'first', ['198.51.100.1'], 1)], settings);
  const own = external('shop', 'pay', ['198.51.100.1'], 3, 'pay.example.com');
  const last = external('evil', 'last', ['198.51.100.1'], 4);
  for (const object of [own, last]) {
    const { updated } = compiler.apply(new Map([[objectKey(object), object]]));
    assert.ok(updated.length <= 3, `${updated.length} resources`);
    assert.ok(
      updated.every((one) => one.kind === 'service' || one.kind === 'workload' || one.kind === 'trust'),
    );
    const { updated: after } = compiler.apply(new Map([[objectKey(object), undefined]]));
    assert.ok(after.length <= 1, `${after.length} resources`);
  }
});
