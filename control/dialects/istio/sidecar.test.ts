import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../../src/model/identity.js';
import { isListed } from '../../../src/model/outbound-hosts.js';
import { compile, type Compiler } from '../../compile/compile.js';
import { remarksText } from '../remarks.js';
import { objectKey } from '../../objects/object-key.js';
import type { MeshObject } from '../../objects/objects.js';
import { parseManifests } from '../../source/parse.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
const mesh = `
kind: Namespace
metadata: { name: shop, labels: { weft.dev/mesh: enabled } }
---
kind: Namespace
metadata: { name: bank, labels: { weft.dev/mesh: enabled } }
---
kind: Pod
metadata: { name: web, namespace: shop, labels: { app: web } }
spec: { nodeName: n1 }
status: { podIPs: [{ ip: 10.0.0.1 }] }
---
kind: Pod
metadata: { name: api, namespace: shop, labels: { app: api } }
spec: { nodeName: n1 }
status: { podIPs: [{ ip: 10.0.0.2 }] }
---
kind: Pod
metadata: { name: vault, namespace: bank, labels: { app: web } }
spec: { nodeName: n1 }
status: { podIPs: [{ ip: 10.0.0.3 }] }
---`;
const sidecar = (namespace: string, name: string, spec: string): string => `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: ${name}, namespace: ${namespace} }
spec: ${spec}
---`;
/** Objects as they are in force: one that cannot be read in its closed form. */
const read = (text: string): readonly MeshObject[] => {
  const { objects, closed } = parseManifests('test.yaml', text);
  return [...objects, ...closed];
};
const compiled = (...parts: readonly string[]): Compiler =>
  compile(read([mesh, ...parts].join('\n')), settings);
/** The restrictions of each pod. */
const boundsOf = (compiler: Compiler): Record<string, string> =>
  Object.fromEntries(
    [...compiler.all()].flatMap((one) => {
      if (one.kind !== 'nodePod') return [];
      const { name, outboundUnknown, outboundHosts } = one.value;
      return [[name, `${outboundUnknown} ${outboundHosts?.join(' ') ?? 'all'}`]];
    }),
  );
const only = 'outboundTrafficPolicy: { mode: REGISTRY_ONLY }';

test('a Sidecar with REGISTRY_ONLY bounds the pods that it selects, and no pods of other namespaces', () => {
  assert.deepEqual(
    boundsOf(
      compiled(
        sidecar(
          'shop',
          'all',
          `{ egress: [{ hosts: ['./*', 'bank/pay.bank.svc.cluster.local', '~/*', bad] }], ${only} }`,
        ),
        sidecar('shop', 'web', `{ workloadSelector: { labels: { app: web } }, ${only} }`),
      ),
    ),
    { web: 'refuse all', api: 'refuse bank/pay.bank.svc.cluster.local shop/*', vault: 'allow all' },
  );
});

test('the Sidecar of the root namespace is the default of all namespaces; without REGISTRY_ONLY nothing is restricted', () => {
  const root = sidecar('weft-system', 'mesh', `{ egress: [{ hosts: ['./*'] }], ${only} }`);
  assert.deepEqual(boundsOf(compiled(root, sidecar('shop', 'own', `{ egress: [{ hosts: ['./*'] }] }`))), {
    web: 'allow all',
    api: 'allow all',
    vault: 'refuse bank/*',
  });
});

test('ALLOW_ANY does not allow what MeshSettings refuse', () => {
  const refuse =
    'kind: MeshSettings\napiVersion: weft.dev/v1alpha1\nmetadata: { name: mesh }\nspec: { outboundUnknown: refuse }\n---';
  const own = sidecar('shop', 'own', '{ outboundTrafficPolicy: { mode: ALLOW_ANY } }');
  assert.equal(boundsOf(compiled(refuse, own))['web'], 'refuse all');
});

test('a Sidecar that cannot be read refuses everything for its namespace', () => {
  const broken = compiled(sidecar('shop', 'own', `{ egress: [{ hosts: 5 }] }`));
  assert.deepEqual(boundsOf(broken), { web: 'refuse ', api: 'refuse ', vault: 'allow all' });
});

test('pods follow when a Sidecar comes and goes', () => {
  const [own] = parseManifests('x', sidecar('shop', 'own', `{ ${only} }`)).objects;
  assert.ok(own);
  const compiler = compiled();
  compiler.apply(new Map([[objectKey(own), own]]));
  assert.deepEqual(boundsOf(compiler), { web: 'refuse all', api: 'refuse all', vault: 'allow all' });
  assert.deepEqual(compiler.remarksOf(own), []);
  compiler.apply(new Map([[objectKey(own), undefined]]));
  assert.deepEqual(boundsOf(compiler), { web: 'allow all', api: 'allow all', vault: 'allow all' });
});

test('of several Sidecars that select a pod the oldest is in force, and its hosts are found once for all of its pods', () => {
  const aged = (name: string, day: number, host: string): string =>
    sidecar(
      'shop',
      name,
      `{ egress: [{ hosts: [${host}] }], ${only}, workloadSelector: { labels: { app: web } } }`,
    ).replace(`{ name: ${name},`, `{ name: ${name}, creationTimestamp: '2026-01-0${day}T00:00:00Z',`);
  const other = mesh.slice(mesh.indexOf('kind: Pod'), mesh.indexOf('---\nkind: Pod\nmetadata: { name: api'));
  const compiler = compiled(
    other.replace('name: web,', 'name: web2,').replace('10.0.0.1', '10.0.0.9'),
    '---',
    aged('a', 2, 'bank/*'),
    aged('b', 1, 'shop/*'),
  );
  const hosts = [...compiler.all()].flatMap((one) =>
    one.kind === 'nodePod' && one.value.name.startsWith('web') ? [one.value.outboundHosts] : [],
  );
  assert.deepEqual(hosts, [['shop/*'], ['shop/*']]);
  assert.equal(hosts[0], hosts[1]);
});

test('the status says which hosts are not bounded, and which cannot be read', () => {
  const compiler = compiled(sidecar('shop', 'own', `{ egress: [{ hosts: ['./*', bad] }] }`));
  const own = [...compiler.objects()].find(({ kind }) => kind === 'Sidecar');
  assert.ok(own);
  const remark = remarksText(compiler.remarksOf(own)) ?? '';
  assert.match(remark, /^egress\[\]\.hosts: "bad" is not of the form NAMESPACE\/HOST/);
  assert.match(remark, /Otherwise they are not restricted/);
});

test('patterns of hosts', () => {
  const api = ['shop', 'api.shop.svc.cluster.local'] as const;
  for (const [pattern, is] of [
    ['*/*', true],
    ['shop/*', true],
    ['bank/*', false],
    ['*/api.shop.svc.cluster.local', true],
    ['shop/*.svc.cluster.local', true],
    ['shop/*.example.com', false],
    ['bank/api.shop.svc.cluster.local', false],
    ['shop', false],
  ] as const)
    assert.equal(isListed([pattern], ...api), is, pattern);
  assert.equal(isListed(['shop/api.shop.svc.cluster.local'], 'shop', undefined), false);
});
