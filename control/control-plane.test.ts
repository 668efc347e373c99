import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runControl } from './control-plane.js';

const manifests = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: shared, namespace: infra }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
---
apiVersion: v1
kind: Service
metadata:
  name: echo
  namespace: shop
  labels: { weft.dev/waypoint: shared, weft.dev/waypoint-namespace: infra }
spec: { clusterIP: 10.96.0.1, ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: web, namespace: shop, labels: { weft.dev/mesh: 'yes' } }
spec: { nodeName: a }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: reads, namespace: shop }
spec:
  action: DENY
  targetRefs: [{ group: '', kind: Service, name: plain }]
  rules: [{ to: [{ paths: [/private/*] }] }]
`;

test('with manifests, problems.json names objects in full, Services that their waypoint does not admit, and policies that are not enforced', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-control-'));
  const state = join(dir, 'state');
  writeFileSync(join(dir, 'a.yaml'), manifests);
  const control = await runControl({
    from: [dir],
    state,
    listen: '127.0.0.1:0',
    trustDomain: 'cluster.local',
  });
  try {
    const problems = JSON.parse(readFileSync(join(state, 'problems.json'), 'utf8')) as string[];
    assert.equal(problems.length, 3);
    assert.match(problems[0] ?? '', /^Pod shop\/web: label weft\.dev\/mesh: "yes" is unknown/);
    assert.match(
      problems[1] ?? '',
      /^Service shop\/echo names the waypoint infra\/shared, .* until allowedRoutes\.namespaces/,
    );
    assert.match(problems[2] ?? '', /^AccessPolicy shop\/reads: there is no Service shop\/plain/);
  } finally {
    await control.close();
    rmSync(dir, { recursive: true });
  }
});
