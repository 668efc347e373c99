import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../src/model/identity.js';
import { compile, type Compiler } from '../compile/compile.js';
import { kinds } from '../kinds/kinds.js';
import type { Condition, MeshObject } from '../objects/objects.js';
import { parseManifests } from '../source/parse.js';
import { auditedCount } from './audit.js';
import type { StatusLookup, StatusUpdate } from './status.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
const meshOf = (text: string): Compiler => {
  const { objects, errors } = parseManifests('x', text);
  assert.deepEqual(errors, []);
  return compile(objects, settings);
};
const metadata = (name: string, more = ''): string => `metadata: { name: ${name}, namespace: shop${more} }`;
const access = (mode: string): string => `---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
${metadata('p')}
spec: { action: DENY, mode: ${mode}, rules: [{ from: [{ serviceAccounts: [shop/x] }] }] }
`;
const authorization = (annotations: string, action = 'DENY'): string => `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
${metadata('p', annotations)}
spec: { action: ${action}, rules: [{ to: [{ operation: { ports: ['9000'] } }] }] }
`;
const requests = (annotations: string): string => `---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
${metadata('p', annotations)}
spec: { jwtRules: [{ issuer: a, jwksUri: 'https://keys.test/a' }] }
`;
const peers = `---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
${metadata('p')}
spec: { mtls: { mode: STRICT } }
`;
const target = `targetRefs: [{ group: '', kind: Service, name: api }]`;
const tokens = (dryRun: boolean): string => `---
apiVersion: weft.dev/v1alpha1
kind: AuthenticationPolicy
${metadata('p')}
spec: { ${target}, jwt: { dryRun: ${dryRun}, issuers: [{ issuer: a, jwks: { uri: 'https://keys.test/a' } }] } }
`;
const traffic = (spec: string): string => `---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
${metadata('p')}
spec: { ${target}, ${spec} }
`;
const service = (name: string): string => `---
apiVersion: v1
kind: Service
${metadata(name)}
spec: { clusterIP: 10.96.0.1, ports: [{ port: 80 }] }
`;
const namespace = `---
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { weft.dev/policy-mode: audit } }
`;
const mesh = `---
apiVersion: weft.dev/v1alpha1
kind: MeshSettings
metadata: { name: mesh }
spec: { policyMode: audit }
`;

const statusOf = (object: MeshObject, compiler: Compiler): StatusUpdate | undefined =>
  kinds[object.kind].status?.(
    object as never,
    {
      mesh: compiler,
      timestamp: '2026-01-01T00:00:00Z',
    } as StatusLookup,
  );
/** The conditions of the object `p`. */
function conditionsOf(text: string): readonly Condition[] {
  const compiler = meshOf(text);
  const object = [...compiler.objects()].find(({ metadata: { name } }) => name === 'p');
  assert.ok(object);
  const { status } = statusOf(object, compiler) ?? {};
  return (status as { readonly conditions: readonly Condition[] }).conditions;
}
const audited = (text: string): string => {
  const found = conditionsOf(text).find(({ type }) => type === 'weft.dev/AuditMode');
  if (!found) return 'enforced';
  assert.equal(found.status, 'True');
  return `${found.reason}: ${found.message?.replace(/.*?, and pass: /, '')}`;
};

test('each kind of policy says that it is in audit mode, and whether its field, its namespace or the mesh says so', () => {
  const byNamespace = 'NamespaceLabel: label weft.dev/policy-mode=audit of namespace shop';
  const byMesh = 'MeshSettings: policyMode: audit of MeshSettings';
  for (const text of [access('enforce'), authorization(''), requests(''), peers]) {
    assert.equal(audited(text), 'enforced');
    assert.equal(audited(text + namespace), byNamespace);
    assert.equal(audited(text + mesh), byMesh);
    assert.equal(audited(text + namespace + mesh), byMesh);
  }
  for (const [text, own] of [
    [access('audit'), 'mode: audit'],
    [authorization(", annotations: { istio.io/dry-run: 'true' }"), 'annotation istio.io/dry-run'],
    [authorization('', 'AUDIT'), 'action: AUDIT'],
    [requests(', annotations: { weft.dev/policy-mode: audit }'), 'annotation weft.dev/policy-mode: audit'],
  ] as const)
    assert.equal(audited(text), `OwnField: ${own}`);
  assert.equal(
    audited(access('audit') + namespace),
    'OwnField: mode: audit; label weft.dev/policy-mode=audit of namespace shop',
  );
});

test('the condition of a policy with sections names those in audit mode and those in dry run', () => {
  const all = `retry: { conditions: [connect-failure], dryRun: true }, rateLimits: [{ name: one, requests: 1, per: 1s, dryRun: true }, { name: two, requests: 1, per: 1s }]`;
  assert.equal(audited(service('api') + traffic(all)), 'OwnField: retry, rateLimits one (dryRun: true)');
  assert.equal(
    audited(service('api') + traffic(all) + namespace),
    'NamespaceLabel: rateLimits (label weft.dev/policy-mode=audit of namespace shop); retry, rateLimits one (dryRun: true)',
  );
  assert.equal(
    audited(service('api') + traffic('retry: { conditions: [connect-failure] }') + namespace),
    'enforced',
  );
  assert.equal(audited(service('api') + tokens(true)), 'OwnField: authentication (dryRun: true)');
  assert.equal(audited(service('api') + tokens(false)), 'enforced');
  assert.equal(
    audited(service('api') + tokens(false) + mesh),
    'MeshSettings: authentication (policyMode: audit of MeshSettings)',
  );
});

test('the condition is gone with the next status after audit mode has ended', () => {
  const compiler = meshOf(access('enforce'));
  const [policy] = compiler.ofKind('AccessPolicy');
  assert.ok(policy);
  const { status } = statusOf(policy, meshOf(access('enforce') + namespace)) ?? {};
  const written = { ...policy, status } as MeshObject;
  const after = statusOf(written, compiler)?.status as { readonly conditions: readonly Condition[] };
  assert.deepEqual(
    after.conditions.map(({ type }) => type),
    ['Accepted'],
  );
  assert.equal(statusOf({ ...policy, status: after } as MeshObject, compiler), undefined);
});

test('a TrafficPolicy says that its decision service does not exist, what that means and what to do', () => {
  const ask = traffic('externalAuthorization: [{ name: ask, service: { name: decide, port: 80 } }]');
  const resolved = (text: string): string => {
    const found = conditionsOf(service('api') + ask + text).find(({ type }) => type === 'ResolvedRefs');
    return `${found?.status} ${found?.reason}: ${found?.message}`;
  };
  const missing =
    'False BackendNotFound: externalAuthorization ask: there is no Service shop/decide: requests that it is asked about';
  assert.equal(resolved(''), `${missing} are refused; create it, or correct the name and port`);
  assert.equal(
    resolved(namespace),
    `${missing} pass without a decision; create it, or correct the name and port`,
  );
  assert.equal(resolved(service('decide')), 'True ResolvedRefs: the decision services exist');
  assert.match(resolved(service('decide').replace('port: 80', 'port: 81')), /has no port 80/);
  assert.ok(
    !conditionsOf(service('api') + traffic('rateLimits: [{ name: one, requests: 1, per: 1s }]')).some(
      ({ type }) => type === 'ResolvedRefs',
    ),
  );
});

test('a Service whose policy in audit mode would demand tokens or decisions is not said to be refused for lack of a waypoint', () => {
  const enforcement = (text: string): string | undefined =>
    conditionsOf(service('api') + text).find(({ type }) => type === 'weft.dev/Enforced')?.message;
  const ask = traffic('externalAuthorization: [{ name: ask, service: { name: decide, port: 80 } }]');
  for (const text of [tokens(false), ask]) {
    assert.match(enforcement(text) ?? '', /are refused/);
    assert.doesNotMatch(enforcement(text + namespace) ?? '', /are refused/);
  }
});

test('the count for the alert is of policies in audit mode as a whole, by their own field, their namespace or the mesh', () => {
  const count = (text: string): number => {
    const mesh = meshOf(text);
    return auditedCount(mesh.objects(), mesh);
  };
  assert.equal(count(access('enforce')), 0);
  assert.equal(count(access('audit')), 1);
  assert.equal(count(peers), 0);
  const all = `${access('enforce')}${authorization('').replace('name: p,', 'name: q,')}${peers}`;
  const namespace = `---
kind: Namespace
apiVersion: v1
metadata: { name: shop, labels: { weft.dev/policy-mode: audit } }
`;
  assert.equal(count(all), 0);
  assert.equal(count(`${all}${namespace}`), 3);
});
