/** What `weft explain` says to somebody who may read one end alone: what lies there, which right is missing, and nothing of the other end. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Ajv } from 'ajv';
import { ExplainSource } from '../../control/explain/explained.js';
import { loadTexts } from '../../control/migrate/load.js';
import { snapshotOf } from '../../control/policy-mesh/policy-mesh.js';
import { projectRoot } from '../../native/index.js';
import { hiddenExplanation } from '../../src/cli/explain/hidden.js';
import { requestOf } from '../../src/cli/explain/request.js';
import type { Explanation } from '../../src/cli/explain/result.js';
import { explanationLines } from '../../src/cli/explain/text.js';

const root = 'weft-system';
const manifests = `
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { weft.dev/mesh: enabled } }
---
apiVersion: v1
kind: Namespace
metadata: { name: bank, labels: { weft.dev/mesh: enabled } }
---
apiVersion: v1
kind: Pod
metadata: { name: web-1, namespace: shop, labels: { app: web } }
spec: { nodeName: node-of-web, serviceAccountName: account-of-web, containers: [] }
status: { phase: Running, podIPs: [{ ip: 10.0.0.1 }], conditions: [{ type: Ready, status: 'True' }] }
---
apiVersion: v1
kind: Pod
metadata: { name: teller-1, namespace: bank, labels: { app: teller } }
spec: { nodeName: node-of-teller, serviceAccountName: account-of-teller, containers: [] }
status: { phase: Running, podIPs: [{ ip: 10.0.0.2 }], conditions: [{ type: Ready, status: 'True' }] }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop, labels: { weft.dev/waypoint: wp } }
spec: { clusterIPs: [10.96.0.1], selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: shop }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: policy-of-shop, namespace: shop }
spec: { action: DENY, rules: [{ from: [{ namespaces: [nowhere] }] }] }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: policy-of-bank, namespace: bank }
spec: { action: DENY, rules: [{ from: [{ namespaces: [nowhere] }] }] }
`;
const whole = snapshotOf(loadTexts([{ file: 'mesh.yaml', text: manifests }]).objects, root);
const isOfSchema = new Ajv({ strict: false }).compile(
  JSON.parse(readFileSync(join(projectRoot, 'docs', 'explain.schema.json'), 'utf8')) as object,
);

async function said(
  rights: readonly string[],
  source: string,
  destination: string,
): Promise<Explanation & { readonly text: string }> {
  const explained = await new ExplainSource({ whole: () => whole, rootNamespace: root }).query(
    { source, destination },
    (all) => Promise.resolve(new Set(all.filter((one) => rights.includes(one)))),
  );
  assert.notDeepEqual(explained.hidden, []);
  const found = hiddenExplanation({ source, destination, request: requestOf({}) }, explained);
  assert.equal(found.outcome, 'unknown');
  assert.ok(isOfSchema(JSON.parse(JSON.stringify(found))), JSON.stringify(isOfSchema.errors));
  return { ...found, text: [...explanationLines(found, 0)].join('\n') };
}

test('who may read the destination alone is told its identity, endpoints, waypoint and policies, and which right is missing where', async () => {
  const { destination, endpoints, text } = await said(['shop'], 'bank/teller-1', 'shop/web:80');
  assert.equal(destination.identity, 'spiffe://cluster.local/ns/shop/sa/account-of-web');
  assert.deepEqual(
    endpoints.map(({ name, node }) => [name, node]),
    [['shop/web-1', 'node-of-web']],
  );
  assert.match(text, /^UNKNOWN {2}bank\/teller-1 -> web\.shop\.svc\.cluster\.local:80/);
  assert.match(
    text,
    /in namespace bank, too, for which you lack the right to list explanations\.observe\.weft\.dev/,
  );
  assert.match(text, /waypoint shop\/wp serves the destination/);
  assert.match(text, /policies that apply at the destination.*shop\/policy-of-shop \(DENY\)/);
  assert.doesNotMatch(text, /policy-of-bank|account-of-teller|node-of-teller|10\.0\.0\.2/);
});

test('who may read the client alone is told its identity, node and whether it is captured', async () => {
  const { source, text } = await said(['bank'], 'bank/teller-1', 'shop/web:80');
  assert.deepEqual(
    [source.identity, source.node, source.inMesh],
    ['spiffe://cluster.local/ns/bank/sa/account-of-teller', 'node-of-teller', true],
  );
  assert.match(text, /the client is in the mesh/);
  assert.match(text, /in namespace shop, too, for which you lack the right/);
  assert.doesNotMatch(text, /policy-of|account-of-web|node-of-web|web-1|10\.0\.0\.1|10\.96|wp/);
});

test('forbidden: whether something exists at the end that the caller may not read changes the words', async () => {
  const of = async (rights: readonly string[], source: string, destination: string): Promise<string> =>
    (await said(rights, source, destination)).text.replaceAll(source, 'SOURCE').replaceAll(destination, 'TO');
  const clients = ['teller-1', 'nobody'].map((name) => of(['shop'], `bank/${name}`, 'shop/web:80'));
  assert.equal(new Set(await Promise.all(clients)).size, 1);
  const servers = ['web', 'nothing'].map((name) => of(['bank'], 'bank/teller-1', `shop/${name}:80`));
  assert.equal(new Set(await Promise.all(servers)).size, 1);
});

test('what is wrong at the readable end is said; without any right only the rights are', async () => {
  assert.match(
    (await said(['shop'], 'bank/teller-1', 'shop/nothing:80')).text,
    /there is no Service, pod, Deployment or app shop\/nothing$/m,
  );
  assert.match(
    (await said(['bank'], 'bank/nobody', 'shop/web:80')).text,
    /there is no pod, Deployment or app bank\/nobody$/m,
  );
  const { text } = await said([], 'bank/teller-1', 'shop/web:80');
  assert.doesNotMatch(text, /policy-of|account-of|node-of|10\.0\.0|10\.96/);
  assert.equal(text.match(/for which you lack/g)?.length, 2);
});
