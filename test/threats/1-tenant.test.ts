/** Row 1 of docs/security.md: a tenant is admin of a namespace and may create every namespaced kind in it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inForce, mayConnect, podText, policyText } from './support/configuration.js';

const pods = [podText('bank', 'api', '10.0.0.2'), podText('evil', 'api', '10.0.0.9')];
const settings =
  'apiVersion: weft.dev/v1alpha1\nkind: MeshSettings\nmetadata: { name: mesh }\nspec: { mode: strict }\n';

test('a tenant whose namespace has the name of a root namespace of other meshes has no influence on this mesh', () => {
  const tenant = policyText('weft-system', 'p', '{ action: DENY, rules: [{}] }');
  const { view, workload } = inForce([...pods, tenant], { rootNamespace: 'mesh' });
  assert.equal(mayConnect(view.policiesFor(workload('bank', 'api'))).allowed, true);
  const owner = policyText('mesh', 'p', '{ action: DENY, rules: [{}] }');
  const other = inForce([...pods, owner], { rootNamespace: 'mesh' });
  assert.equal(mayConnect(other.view.policiesFor(other.workload('bank', 'api'))).policy, 'mesh/p');
});

test("a tenant's policy cannot replace the strict mode of the mesh", () => {
  for (const rootNamespace of ['mesh', 'weft-system']) {
    const { view, workload } = inForce(
      [...pods, settings, policyText('weft-system', 'weft-strict-mesh', '{ action: ALLOW, rules: [{}] }')],
      { rootNamespace },
    );
    const strict = view.policiesFor(workload('bank', 'api')).find(({ name }) => name === 'weft-strict-mesh');
    assert.deepEqual([strict?.namespace, strict?.action], [rootNamespace, 'deny']);
  }
});

test("a tenant's unreadable policy closes workloads of the tenant's namespace, and no others", () => {
  for (const spec of ['{ action: ALLOW, rules: 7 }', '{ action: DENY, selector: 7, rules: [] }', '7']) {
    const { view, workload } = inForce([...pods, policyText('evil', 'p', spec)]);
    assert.equal(mayConnect(view.policiesFor(workload('evil', 'api'))).policy, 'evil/p');
    assert.deepEqual(view.policiesFor(workload('bank', 'api')), []);
  }
});

test("a tenant's unreadable route refuses only the tenant's own requests to another namespace's Service", () => {
  const service = `kind: Service\nmetadata: { name: api, namespace: bank }\nspec: { clusterIP: 10.96.0.1, ports: [{ port: 80 }] }\n`;
  const route = `apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: r, namespace: evil }
spec: { parentRefs: [{ group: '', kind: Service, name: api, namespace: bank }], rules: [{ matches: [{ newer: 1 }] }] }\n`;
  const { routes } = inForce([service, route]);
  // A consumer route (in another namespace than the Service) applies to clients of its own namespace (src/waypoint/state/waypoint-state.ts).
  assert.deepEqual(
    routes.map(({ namespace, parents }) => [namespace, parents.map(({ service: key }) => key)]),
    [['evil', ['bank/api.bank.svc.cluster.local']]],
  );
});
