import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  authentication,
  exampleJwks,
  serviceText,
  toApi,
  waypointText,
} from '../test/support/authentication.js';
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

test('keys of issuers are fetched before nodes are served, and weft status says which cannot be, and why', async () => {
  const sets = new Map([['/good', exampleJwks()]]);
  const issuer = http.createServer(({ url }, response) => {
    const found = sets.get(url ?? '');
    response.writeHead(found === undefined ? 404 : 200);
    response.end(found);
  });
  issuer.listen(0, '127.0.0.1');
  await once(issuer, 'listening');
  const at = `http://127.0.0.1:${(issuer.address() as AddressInfo).port}`;
  const dir = mkdtempSync(join(tmpdir(), 'weft-control-'));
  const state = join(dir, 'state');
  const issuers = ['good', 'bad'].map((name) => `{ issuer: ${name}, jwks: { uri: '${at}/${name}' } }`);
  const policy = authentication(`{ ${toApi}, jwt: { issuers: [${issuers.join()}] } }`);
  const served = [serviceText('[{ port: 80 }]', { labels: 'weft.dev/waypoint: wp' }), waypointText()];
  writeFileSync(join(dir, 'a.yaml'), [...served, policy].join('---\n'));
  const problemsWith = async (allow: object): Promise<string[]> => {
    const control = await runControl({
      from: [dir],
      state,
      listen: '127.0.0.1:0',
      trustDomain: 'cluster.local',
      ...allow,
    });
    try {
      return JSON.parse(readFileSync(join(state, 'problems.json'), 'utf8')) as string[];
    } finally {
      await control.close();
    }
  };
  try {
    const refused = await problemsWith({});
    assert.equal(refused.length, 2);
    assert.match(refused[0] ?? '', /^AuthenticationPolicy bank\/tokens: issuer good: .*--jwks-allow-http/);
    const [elsewhere] = await problemsWith({ jwksAllowHttp: true });
    assert.match(elsewhere ?? '', /127\.0\.0\.1 has an address that is not public.*--jwks-allow-cidrs/);
    const allowed = await problemsWith({ jwksAllowHttp: true, jwksAllowCidrs: ['127.0.0.0/8'] });
    assert.equal(allowed.length, 1);
    assert.match(allowed[0] ?? '', /issuer bad: .*status 404: no token of this issuer is valid/);
  } finally {
    issuer.close();
    rmSync(dir, { recursive: true });
  }
});
