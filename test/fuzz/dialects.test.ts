/**
 * Any object of another mesh's API that its published schema accepts is compiled or refused with field and reason. It never throws, it never
 * opens what something else closed, and an object of another namespace changes nothing.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Compiler } from '../../control/compile/compile.js';
import { compile } from '../../control/compile/compile.js';
import { resourceId, type CompiledResource } from '../../control/compile/resource.js';
import { kinds } from '../../control/kinds/kinds.js';
import { objectKey } from '../../control/objects/object-key.js';
import { istioKinds, smiKinds, type MeshObject } from '../../control/objects/objects.js';
import { parseManifests } from '../../control/source/parse.js';
import { readObject } from '../../control/source/validate.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { RandomObjects } from '../support/random-dialect.js';
import { randomOf } from '../support/random.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
const mesh = `
kind: Namespace
metadata: { name: shop, labels: { weft.dev/mesh: enabled, weft.dev/waypoint: wp } }
---
kind: Namespace
metadata: { name: other, labels: { weft.dev/mesh: enabled } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: shop }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
---
kind: Service
apiVersion: v1
metadata: { name: api, namespace: shop }
spec: { selector: { app: api }, clusterIP: 10.96.0.1, ports: [{ name: http, port: 80, targetPort: 8080 }] }
---
kind: Service
apiVersion: v1
metadata: { name: db, namespace: shop }
spec: { selector: { app: db }, clusterIP: 10.96.0.2, ports: [{ name: tcp, port: 5432 }] }
---
kind: Service
apiVersion: v1
metadata: { name: x, namespace: other }
spec: { selector: { app: x }, clusterIP: 10.96.0.3, ports: [{ port: 80 }] }
---
kind: Pod
apiVersion: v1
metadata: { name: api-1, namespace: shop, labels: { app: api, version: v1, weft.dev/mode: strict } }
spec: { nodeName: n1, serviceAccountName: api }
status: { podIPs: [{ ip: 10.0.0.1 }] }
---
kind: Pod
apiVersion: v1
metadata: { name: db-1, namespace: shop, labels: { app: db } }
spec: { nodeName: n1, serviceAccountName: db }
status: { podIPs: [{ ip: 10.0.0.2 }] }
---
kind: Pod
apiVersion: v1
metadata: { name: x-1, namespace: other, labels: { app: x } }
spec: { nodeName: n1, serviceAccountName: x }
status: { podIPs: [{ ip: 10.0.0.3 }] }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: deny, namespace: shop }
spec: { action: DENY, selector: { matchLabels: { app: api } }, rules: [{ from: [{ namespaces: [evil] }] }] }
---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: limits, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: api }]
  rateLimits: [{ name: few, requests: 5, per: 1s }]
  circuitBreaker: { requestsMax: 7 }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: db, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: db }]
  rules: [{ backendRefs: [{ name: db, port: 5432 }] }]
`;
const { objects: given, errors } = parseManifests('mesh.yaml', mesh);
assert.deepEqual(errors, []);

const byId = (compiler: Compiler): Map<string, CompiledResource> =>
  new Map([...compiler.all()].map((one) => [resourceId(one), one]));
const before = byId(compile(given, settings));

/** The namespace that a resource is about. */
function namespaceOf(resource: CompiledResource): string {
  switch (resource.kind) {
    case 'servicePolicy':
      return resource.value.service.split('/')[0] ?? '';
    case 'namespace':
    case 'trust':
      return '';
    default:
      return resource.value.namespace;
  }
}
const text = (value: unknown): string =>
  JSON.stringify(value, (_key, one: unknown) => (one instanceof Map ? [...one] : one));

/** What an object of `shop` must leave as it is, or make stricter. */
function assertNotOpened(after: ReadonlyMap<string, CompiledResource>, shown: string): void {
  for (const [id, was] of before) {
    const now = after.get(id);
    assert.ok(now, `${id} is gone: ${shown}`);
    if (was.kind === 'policy' || was.kind === 'route')
      assert.equal(text(now.value), text(was.value), `${id}: ${shown}`);
    // A Sidecar may restrict the destinations of a pod.
    if (was.kind === 'nodePod' && now.kind === 'nodePod') {
      const { outboundUnknown } = now.value;
      // Undefined members are not in the text.
      const pick = { outboundUnknown: was.value.outboundUnknown, outboundHosts: undefined };
      assert.ok(outboundUnknown === 'refuse' || was.value.outboundUnknown === 'allow', `${id}: ${shown}`);
      assert.equal(text({ ...now.value, ...pick }), text(was.value), `${id}: ${shown}`);
    }
    if (was.kind === 'workload' && now.kind === 'workload') {
      for (const policy of was.value.policies)
        assert.ok(now.value.policies.includes(policy), `${id} lost ${policy}: ${shown}`);
      assert.equal(now.value.tunnel, was.value.tunnel, `${id}: ${shown}`);
      assert.equal(now.value.identity, was.value.identity, `${id}: ${shown}`);
    }
    if (was.kind === 'service' && now.kind === 'service')
      assert.equal(text(now.value.waypoint), text(was.value.waypoint), `${id}: ${shown}`);
    if (was.kind === 'servicePolicy' && now.kind === 'servicePolicy') {
      assert.equal(now.value.requestsMax, was.value.requestsMax, `${id}: ${shown}`);
      // Validation of tokens only refuses.
      const others = now.value.filters?.filter(({ $case }) => $case !== 'jwt');
      assert.equal(text(others), text(was.value.filters), `${id}: ${shown}`);
    }
  }
}

/** What an object of another namespace must leave as it is: everything. */
function assertUntouched(after: ReadonlyMap<string, CompiledResource>, shown: string): void {
  for (const [id, was] of before) {
    if (namespaceOf(was) !== 'shop') continue;
    assert.equal(text(after.get(id)?.value), text(was.value), `${id}: ${shown}`);
  }
  for (const [id, now] of after)
    assert.ok(before.has(id) || ['other', ''].includes(namespaceOf(now)), `${id}: ${shown}`);
}

const durationMs = Number(process.env['FUZZ_MS'] ?? 2_000);
const seed = Number(process.env['FUZZ_SEED'] ?? Date.now() % 2 ** 31);

const dialectKinds = [...istioKinds, ...smiKinds];
for (const kind of dialectKinds)
  test(`${kind}: any object is compiled or refused with its reason, and opens nothing (seed ${seed})`, () => {
    const objects = new RandomObjects(randomOf(seed));
    let accepted = 0;
    let rounds = 0;
    for (
      const end = performance.now() + durationMs / dialectKinds.length;
      // Of some kinds few objects are accepted.
      performance.now() < end || rounds < 20 || (accepted === 0 && rounds < 1_000);
    ) {
      rounds++;
      const namespace = objects.pick(['shop', 'other']);
      const raw = objects.object(kind, namespace, 'o');
      const shown = text(raw);
      const picked = kinds[kind].pickFields(raw);
      assert.ok(picked, shown);
      const { object, problem } = readObject(picked);
      assert.ok(object, `nothing is in force: ${problem ?? ''}: ${shown}`);
      if (problem === undefined) accepted++;
      else assert.notEqual(problem, '', shown);
      const compiler: Compiler = compile(given, settings);
      const changed = new Map<string, MeshObject | undefined>([[objectKey(object), object]]);
      compiler.apply(changed);
      const after = byId(compiler);
      if (namespace === 'shop') assertNotOpened(after, shown);
      else assertUntouched(after, shown);
      compiler.apply(new Map([[objectKey(object), undefined]]));
      assert.equal(text([...byId(compiler)].sort()), text([...before].sort()), `removed again: ${shown}`);
    }
    assert.ok(accepted > 0, `${accepted} of ${rounds} objects were accepted as they are`);
  });
