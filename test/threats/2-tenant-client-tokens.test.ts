/**
 * Row 2 of docs/security.md: a client without a valid token reaches nothing that an AuthenticationPolicy protects. Manifests are compiled,
 * encoded and decoded, and a real waypoint serves them.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { compile } from '../../control/compile/compile.js';
import { parseManifests } from '../../control/source/parse.js';
import { encodeServicePolicy, readServicePolicy } from '../../src/discovery/codec/service-policy.js';
import type { ServicePolicy } from '../../src/model/service-policy.js';
import type { WaypointUpdate } from '../../src/waypoint/state/waypoint-state.js';
import { claimsOf, issuerName, jwksOf, newKey, signed, type SigningKey } from '../support/jwt-issuer.js';
import { domain, id } from '../support/mesh.js';
import { ask, echoHandler, httpUpstream, startWaypoint, type TestWaypoint } from '../support/waypoint.js';
import { updateOf } from './support/compiled.js';
import { podText, policyText } from './support/configuration.js';

const key = newKey('ES256', 'k1');
const gateway = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
`;
const service = (targetPort: number): string => `kind: Service
metadata: { name: api, namespace: shop, labels: { weft.dev/waypoint: waypoint } }
spec: { clusterIP: 10.96.0.1, selector: { app: api }, ports: [{ name: http, port: 80, targetPort: ${targetPort} }] }
`;
const users = (keys: readonly SigningKey[], more = ''): string => `apiVersion: weft.dev/v1alpha1
kind: AuthenticationPolicy
metadata: { name: users, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: api }]
  jwt:
    issuers:
      - issuer: ${issuerName}
        audiences: [shop]
        jwks: { inline: '${jwksOf(...keys)}' }
        claimHeaders: [{ header: X-User, claim: [sub] }]
    ${more}
`;

/** What a waypoint gets of the manifests. */
function compiled(texts: readonly string[]): WaypointUpdate {
  const objects = texts.flatMap((text) => {
    const { objects: read, closed } = parseManifests('x', text);
    return [...read, ...closed];
  });
  const compiler = compile(objects, { trustDomain: domain, rootsVersion: '' });
  const servicePolicies = [...compiler.all()].flatMap((one): ServicePolicy[] => {
    if (one.kind !== 'servicePolicy') return [];
    const { value, problems } = readServicePolicy('', encodeServicePolicy(one.value));
    assert.ok(value && problems.length === 0, problems.join());
    return [value];
  });
  return { mesh: updateOf(compiler), servicePolicies };
}

async function scene(
  t: TestContext,
  dials: 'service' | 'pod',
): Promise<{
  waypoint: TestWaypoint;
  apply(...texts: readonly string[]): void;
  status(token?: string): Promise<number>;
}> {
  const upstream = await httpUpstream(t, echoHandler('api'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port] },
    identity: id('web'),
    ...(dials === 'pod' ? { podPort: upstream.port } : {}),
  });
  return {
    waypoint,
    apply: (...texts) => {
      const update = compiled([
        gateway,
        service(upstream.port),
        podText('shop', 'api', '127.0.0.1'),
        ...texts,
      ]);
      const policies = update.mesh?.policies ?? [];
      // The test's own pod has the policies that the compiled one has.
      const guards = update.mesh?.workloads?.find(({ name }) => name === 'api')?.policies ?? [];
      const known = waypoint.context.state.view.workloadByAddress('127.0.0.1' as never, 'shop');
      assert.ok(known);
      waypoint.apply({
        mesh: { policies, workloads: [{ ...known, policies: guards }] },
        servicePolicies: update.servicePolicies ?? [],
      });
    },
    status: async (token) =>
      (await ask(waypoint.port, { headers: token === undefined ? {} : { authorization: `Bearer ${token}` } }))
        .status,
  };
}

test('at the Service: 401 without a valid token, 403 for users that a policy denies, at once as policies and keys change', async (t) => {
  const { waypoint, apply, status } = await scene(t, 'service');
  assert.equal(await status(), 200);
  apply(users([key]));
  const [ann, bob] = [signed(key), signed(key, claimsOf({ sub: 'bob', roles: ['dev', 'admin'] }))];
  assert.deepEqual([await status(), await status('x'), await status(ann)], [401, 401, 200]);
  assert.equal(await status(signed(key, claimsOf({ aud: 'bank' }))), 401);
  assert.equal(await status(signed(newKey('ES256', 'k1'))), 401);
  const admins = policyText(
    'shop',
    'admins',
    '{ action: ALLOW, selector: { matchLabels: { app: api } }, rules: [{ from: [{ jwt: { claims: [{ path: [roles], values: [admin] }] } }] }] }',
  );
  apply(users([key]), admins);
  assert.deepEqual([await status(ann), await status(bob)], [403, 200]);
  assert.match(waypoint.records.at(-2)?.why ?? '', /claims: roles, of a valid token/);
  const next = newKey('ES256', 'k2');
  apply(users([next]), admins);
  assert.deepEqual([await status(bob), await status(signed(next, claimsOf({ roles: 'admin' })))], [401, 200]);
});

test('at the pod’s own address nobody validates tokens, so the pod is closed', async (t) => {
  const { waypoint, apply, status } = await scene(t, 'pod');
  assert.equal(await status(), 200);
  apply(users([key]));
  assert.deepEqual([await status(), await status(signed(key))], [403, 403]);
  apply(users([key], 'required: false'));
  assert.deepEqual([await status(), await status(signed(key))], [200, 403]);
  const { status: spoofed } = await ask(waypoint.port, { headers: { 'x-user': 'root' } });
  assert.equal(spoofed, 403, 'a header that only a valid token may set');
});
