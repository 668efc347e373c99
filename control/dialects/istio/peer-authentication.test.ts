import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../../src/model/identity.js';
import { atPod, bank, bankPods, istio, type Asked } from '../../../test/support/istio-security.js';
import { compile } from '../../compile/compile.js';
import { objectKey } from '../../objects/object-key.js';
import { parseManifests } from '../../source/parse.js';

const plain = (more: Asked = {}): Asked => ({ from: 'none', ...more });
const peer = (spec: string, where: Parameters<typeof istio>[2] = {}): string =>
  istio('PeerAuthentication', spec, where);
const mode = (name: string): string => `{ mtls: { mode: ${name} } }`;
const ofApi = (rest: string): string => `{ selector: { matchLabels: { app: api } }, ${rest} }`;
const root = { namespace: 'weft-system' };

/** The pods that refuse plaintext at a port. */
function strictPods(manifests: readonly string[], port = 80): string[] {
  const mesh = bank(...manifests);
  return [
    ['bank', 'api'],
    ['bank', 'web'],
    ['shop', 'api'],
  ].flatMap(([namespace = '', name = '']) => {
    assert.equal(atPod(mesh, { port }, namespace, name).allowed, true, 'with an identity');
    return atPod(mesh, plain({ port }), namespace, name).allowed ? [] : [`${namespace}/${name}`];
  });
}
function problems(...manifests: readonly string[]): Record<string, string> {
  const objects = manifests.flatMap((text) => parseManifests('x', text).objects);
  const compiler = compile(objects, { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '' });
  return Object.fromEntries(
    objects.flatMap((object) => {
      const problem = compiler.problemOf(object);
      return problem ? [[objectKey(object), problem.reason]] : [];
    }),
  );
}

test('STRICT refuses plaintext: of a namespace, of the mesh, of a workload', () => {
  assert.deepEqual(strictPods([]), []);
  assert.deepEqual(strictPods([peer(mode('STRICT'))]), ['bank/api', 'bank/web']);
  assert.deepEqual(strictPods([peer(mode('STRICT'), root)]), ['bank/api', 'bank/web', 'shop/api']);
  assert.deepEqual(strictPods([peer(ofApi('mtls: { mode: STRICT }'))]), ['bank/api']);
  for (const name of ['PERMISSIVE', 'DISABLE', 'UNSET'])
    assert.deepEqual(strictPods([peer(mode(name))]), [], name);
  for (const spec of ['', '{}', '{ mtls: {} }']) assert.deepEqual(strictPods([peer(spec)]), [], spec);
});

test('the narrower object wins, and UNSET inherits from the wider one', () => {
  const mesh = peer(mode('STRICT'), root);
  assert.deepEqual(strictPods([mesh, peer(mode('PERMISSIVE'))]), ['shop/api']);
  assert.deepEqual(strictPods([mesh, peer(mode('DISABLE'))]), ['shop/api']);
  assert.deepEqual(strictPods([mesh, peer(mode('UNSET'))]), ['bank/api', 'bank/web', 'shop/api']);
  assert.deepEqual(strictPods([mesh, peer('{}')]), ['bank/api', 'bank/web', 'shop/api']);
  const lifted = peer(ofApi('mtls: { mode: PERMISSIVE }'), { name: 'api' });
  assert.deepEqual(strictPods([mesh, lifted]), ['bank/web', 'shop/api']);
  assert.deepEqual(strictPods([peer(mode('STRICT')), lifted]), ['bank/web']);
  const unset = peer(ofApi('mtls: { mode: UNSET }'), { name: 'api' });
  assert.deepEqual(strictPods([peer(mode('STRICT')), unset]), ['bank/api', 'bank/web']);
  assert.deepEqual(strictPods([mesh, peer(mode('PERMISSIVE')), unset]), ['shop/api']);
});

test('ports: STRICT and PERMISSIVE count for the pod’s port, UNSET inherits from the workload', () => {
  const closed = peer(
    ofApi('mtls: { mode: STRICT }, portLevelMtls: { "8080": { mode: PERMISSIVE }, "81": { mode: UNSET } }'),
  );
  assert.deepEqual(
    [80, 81, 8080].map((port) => strictPods([closed], port).length),
    [1, 1, 0],
  );
  const open = peer(ofApi('portLevelMtls: { "8080": { mode: STRICT } }'));
  assert.deepEqual(
    [80, 8080].map((port) => strictPods([open], port).length),
    [0, 1],
  );
  const inherits = peer(ofApi('portLevelMtls: { "8080": { mode: DISABLE } }'), { name: 'api' });
  assert.deepEqual(
    [80, 8080].map((port) => strictPods([peer(mode('STRICT')), inherits], port)),
    [['bank/api', 'bank/web'], ['bank/web']],
  );
});

test('the oldest object of a level counts, and the others say so', () => {
  const aged = (name: string, year: number, spec: string, where = {}): string =>
    peer(spec, { name, more: `, creationTimestamp: "${year}-01-01T00:00:00Z"`, ...where });
  const older = aged('b', 2020, mode('PERMISSIVE'));
  const newer = aged('a', 2021, mode('STRICT'));
  assert.deepEqual(strictPods([older, newer]), []);
  assert.deepEqual(problems(older, newer), { 'PeerAuthentication bank/a': 'Conflicted' });
  const workloads = [
    aged('b', 2020, ofApi('mtls: { mode: STRICT }')),
    aged('a', 2021, ofApi('mtls: { mode: PERMISSIVE }')),
  ];
  assert.deepEqual(strictPods(workloads), ['bank/api']);
  const mesh = [aged('b', 2020, mode('STRICT'), root), aged('a', 2021, mode('PERMISSIVE'), root)];
  assert.equal(strictPods(mesh).length, 3);
  assert.deepEqual(problems(...mesh), { 'PeerAuthentication weft-system/a': 'Conflicted' });
});

test('Weft’s own strict mode is not lifted', () => {
  const namespace = 'kind: Namespace\nmetadata: { name: bank, labels: { weft.dev/mode: strict } }\n';
  assert.deepEqual(strictPods([namespace, peer(mode('PERMISSIVE'))]), ['bank/api', 'bank/web']);
  const settings =
    'apiVersion: weft.dev/v1alpha1\nkind: MeshSettings\nmetadata: { name: mesh }\nspec: { mode: strict }\n';
  assert.equal(strictPods([settings, peer(mode('DISABLE'))]).length, 3);
});

test('in the root namespace a selector has no effect; a namespace affects no other one', () => {
  const selecting = peer(ofApi('mtls: { mode: STRICT }'), root);
  assert.deepEqual(strictPods([selecting]), []);
  assert.deepEqual(problems(selecting), { 'PeerAuthentication weft-system/p': 'Ignored' });
  const others = [
    peer(mode('PERMISSIVE'), { namespace: 'evil' }),
    peer(ofApi('mtls: { mode: DISABLE }'), { namespace: 'evil', name: 'x' }),
  ];
  assert.equal(strictPods([peer(mode('STRICT'), root), ...others]).length, 3);
  assert.deepEqual(strictPods([peer(mode('STRICT'), { namespace: 'istio-system' })]), []);
});

test('a PeerAuthentication that cannot be read refuses plaintext to what it selects, whatever others say', () => {
  const lifted = peer(ofApi('mtls: { mode: PERMISSIVE }'), { name: 'api' });
  assert.deepEqual(strictPods([lifted, peer('{ mtls: { mode: MUTUAL } }')]), ['bank/api', 'bank/web']);
  assert.deepEqual(strictPods([peer(mode('PERMISSIVE')), peer(ofApi('mtls: { newer: 1 }'), { name: 'x' })]), [
    'bank/api',
  ]);
  assert.deepEqual(strictPods([peer('{ portLevelMtls: { "80": { mode: DISABLE } } }')]), [
    'bank/api',
    'bank/web',
  ]);
  assert.deepEqual(strictPods([peer(ofApi('portLevelMtls: { "http": { mode: DISABLE } }'))]), ['bank/api']);
  assert.equal(strictPods([peer('{ mtls: 1 }', root)]).length, 3);
});

test('a change of a wider object is compiled for the pods of narrower ones', () => {
  const read = (text: string) => parseManifests('x', text).objects;
  const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '' };
  const compiler = compile(
    [...bankPods, peer(ofApi('portLevelMtls: { "81": { mode: DISABLE } }'))].flatMap(read),
    settings,
  );
  const [mesh] = read(peer(mode('STRICT'), root));
  assert.ok(mesh);
  compiler.apply(new Map([[objectKey(mesh), mesh]]));
  const keys = [...compiler.all()].flatMap((one) => (one.kind === 'policy' ? [one.value.key as string] : []));
  assert.deepEqual(keys.sort(), ['bank/PeerAuthentication/p', 'weft-system/PeerAuthentication/p']);
  const policiesOf = (name: string) =>
    [...compiler.all()].flatMap((one) =>
      one.kind === 'workload' && one.value.name === name ? one.value.policies : [],
    );
  assert.deepEqual(policiesOf('web'), ['weft-system/PeerAuthentication/p']);
  compiler.apply(new Map([[objectKey(mesh), undefined]]));
  assert.deepEqual(policiesOf('web'), []);
  assert.deepEqual(
    [...compiler.all()].filter(({ kind }) => kind === 'policy'),
    [],
  );
});

test('a namespace in its first enrollment is strict once its pods are enrolled', () => {
  const namespace = (status: string): string =>
    `kind: Namespace\nmetadata: { name: bank, labels: { weft.dev/mesh: enabled } }\nstatus: { conditions: [{ type: weft.dev/Enrolled, reason: Enrolling, status: "${status}" }] }\n`;
  assert.deepEqual(strictPods([namespace('False'), peer(mode('STRICT'), root)]), ['shop/api']);
  assert.equal(strictPods([namespace('True'), peer(mode('STRICT'), root)]).length, 3);
});
