/** Rows 1 and 2 of docs/security.md: a tenant's VirtualServices act on the tenant's own clients and Services alone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compile, type Compiler } from '../../control/compile/compile.js';
import { remarksText } from '../../control/dialects/remarks.js';
import type { MeshObject } from '../../control/objects/objects.js';
import { objectKey } from '../../control/objects/object-key.js';
import { parseManifests } from '../../control/source/parse.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { ServiceKey } from '../../src/model/workload.js';
import { WaypointState } from '../../src/waypoint/state/waypoint-state.js';

const bank = `
kind: Service
metadata: { name: api, namespace: bank }
spec: { clusterIP: 10.96.0.1, ports: [{ name: http, port: 80 }, { name: tcp, port: 9000 }] }
---
kind: Service
metadata: { name: mine, namespace: evil }
spec: { clusterIP: 10.96.0.2, ports: [{ name: http, port: 80 }] }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: own, namespace: bank }
spec: { hosts: [api], http: [{ name: own, route: [{ destination: { host: api } }] }] }
`;
const virtualService = (name: string, namespace: string, spec: string): string => `
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${name}, namespace: ${namespace}, creationTimestamp: '1999-01-01T00:00:00Z' }
spec: ${spec}
`;
const stolen =
  'http: [{ name: stolen, directResponse: { status: 200 } }], tcp: [{ route: [{ destination: { host: mine } }] }]';

function mesh(yaml: string): { readonly compiler: Compiler; readonly objects: readonly MeshObject[] } {
  const { objects, errors } = parseManifests('x', yaml);
  assert.deepEqual(errors, []);
  return {
    compiler: compile(objects, { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' }),
    objects,
  };
}
/** The name of the rule that a client's request to the bank's Service gets; undefined: no route applies. */
function ruleFor(compiler: Compiler, namespace: string | undefined, port = 80): string | undefined {
  const resources = [...compiler.all()];
  const state = new WaypointState('node', 'bank/waypoint.bank.svc.cluster.local' as ServiceKey);
  state.apply({
    mesh: { services: resources.flatMap((one) => (one.kind === 'service' ? [one.value] : [])) },
    routes: resources.flatMap((one) => (one.kind === 'route' ? [one.value] : [])),
  });
  const service = state.view.service('bank/api.bank.svc.cluster.local' as ServiceKey);
  assert.ok(service);
  const request = { method: 'GET', path: '/', authority: 'api', scheme: 'http', headers: [] };
  return state.routing(service, port, namespace)?.match(request)?.rule.name;
}

test('by no host, age, exportTo or gateway does it change what clients of other namespaces get', () => {
  for (const hosts of ['[api.bank.svc.cluster.local]', "['*.bank.svc.cluster.local']", "['*.local', '*']"])
    for (const more of ['', "exportTo: ['*'],", 'exportTo: [bank, ops],', 'gateways: [mesh, bank/gw],']) {
      const { compiler } = mesh(bank + virtualService('a', 'evil', `{ hosts: ${hosts}, ${more} ${stolen} }`));
      for (const namespace of ['bank', 'ops', undefined]) {
        assert.equal(ruleFor(compiler, namespace), 'own', `${hosts} ${more} ${namespace}`);
        assert.equal(ruleFor(compiler, namespace, 9000), undefined);
      }
      const owner = compiler.indexes.VirtualService.get('bank', 'own');
      assert.ok(owner);
      assert.equal(compiler.problemOf(owner), undefined);
      assert.deepEqual(compiler.remarksOf(owner), [], 'its status does not depend on the others');
    }
});

test('its own clients get its rules, if it names the Service', () => {
  const { compiler } = mesh(
    bank + virtualService('a', 'evil', `{ hosts: [api.bank.svc.cluster.local], ${stolen} }`),
  );
  assert.equal(ruleFor(compiler, 'evil'), 'stolen');
});

test('neither a delegate that is not exported nor the existence of one is known to other namespaces', () => {
  const root = (name: string): string =>
    virtualService(
      'root',
      'evil',
      `{ hosts: [mine], http: [{ delegate: { name: ${name}, namespace: bank } }] }`,
    );
  const inner = virtualService(
    'inner',
    'bank',
    "{ exportTo: ['.'], http: [{ directResponse: { status: 200 } }] }",
  );
  const remarks = ['inner', 'nowhere'].map((name) => {
    const { compiler } = mesh(bank + inner + root(name));
    const object = compiler.indexes.VirtualService.get('evil', 'root');
    assert.ok(object);
    return remarksText(compiler.remarksOf(object))?.replaceAll(name, 'NAME');
  });
  assert.match(remarks[0] ?? '', /may use/);
  assert.equal(remarks[0], remarks[1]);
});

test('thousands of objects for one host cost the others nothing that they notice', () => {
  const { compiler, objects } = mesh(bank);
  const text = virtualService('a', 'evil', `{ hosts: [api.bank.svc.cluster.local, '*'], ${stolen} }`);
  const [one] = parseManifests('x', text).objects;
  assert.ok(one);
  const many = Array.from(
    { length: 5_000 },
    (_, i) => ({ ...one, metadata: { ...one.metadata, name: `a-${i}` } }) as MeshObject,
  );
  const timed = (work: () => void): number => {
    const begin = process.cpuUsage();
    work();
    return process.cpuUsage(begin).user / 1_000;
  };
  assert.ok(timed(() => compiler.apply(new Map(many.map((object) => [objectKey(object), object])))) < 5_000);
  const own = objects.filter(({ metadata }) => metadata.namespace === 'bank');
  assert.ok(
    timed(() => compiler.apply(new Map(own.map((object) => [objectKey(object), { ...object }])))) < 1_000,
  );
  assert.equal(ruleFor(compiler, 'ops'), 'own');
});
