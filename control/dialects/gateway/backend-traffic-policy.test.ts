import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../../src/model/identity.js';
import type { BackendTrafficPolicyObject, MeshObject } from '../../objects/objects.js';
import { shopManifest } from '../../../test/support/manifests.js';
import { parseManifests } from '../../source/parse.js';
import { backendPolicyStatus } from '../../status/backend-policy.js';
import { compile, type Compiler } from '../../compile/compile.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
const mesh = shopManifest('{ name: http, port: 80 }');
const budget = (spec: string, metadata = 'name: b, namespace: shop'): string => `
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: { ${metadata} }
spec: { targetRefs: [{ group: '', kind: Service, name: api }], ${spec} }
`;
const traffic = (created: string, section: string): string => `
---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: t, namespace: shop, creationTimestamp: '${created}' }
spec: { targetRefs: [{ group: '', kind: Service, name: api }], ${section} }
`;
function read(...texts: readonly string[]): { compiler: Compiler; errors: string[] } {
  const { objects, closed, errors } = parseManifests('x.yaml', mesh + texts.join(''));
  return {
    compiler: compile([...objects, ...closed], settings),
    errors: errors.map(({ message }) => message),
  };
}
const budgetOf = (compiler: Compiler): unknown[] =>
  [...compiler.all()].flatMap((one) =>
    one.kind === 'servicePolicy'
      ? [one.value.retryBudgetPercent, one.value.retryBudgetMin, one.value.origins[0]?.object]
      : [],
  );

test('the constraint is the retry budget of its Services, with the default values of the API', () => {
  const origin = 'XBackendTrafficPolicy shop/b';
  for (const [spec, expected] of [
    ['retryConstraint: {}', [20, 10, origin]],
    ['retryConstraint: { budget: { percent: 5 }, minRetryRate: { count: 3 } }', [5, 3, origin]],
    ['retryConstraint: { minRetryRate: { count: 120, interval: 1m } }', [20, 2, origin]],
    ['retryConstraint: { minRetryRate: { count: 1, interval: 1h } }', [20, 1, origin]],
    ['sessionPersistence: { type: Cookie }', []],
  ] as const) {
    const { compiler, errors } = read(budget(spec));
    assert.deepEqual(errors, [], spec);
    assert.deepEqual(budgetOf(compiler), expected, spec);
  }
});

test('a TrafficPolicy that sets a budget for the same Service is a conflict that the older one wins', () => {
  const status = (
    compiler: Compiler,
    kind: 'XBackendTrafficPolicy' | 'TrafficPolicy',
  ): string | undefined => {
    const [object] = [...compiler.ofKind(kind)] as MeshObject[];
    assert.ok(object);
    if (object.kind !== 'XBackendTrafficPolicy') return undefined;
    const update = backendPolicyStatus(object, { mesh: compiler, timestamp: 'now' });
    const { ancestors = [] } = update?.status as NonNullable<BackendTrafficPolicyObject['status']>;
    return ancestors[0]?.conditions?.map(({ type, reason }) => `${type} ${reason}`).join();
  };
  const of = (created: string): string =>
    budget('retryConstraint: {}', `name: b, namespace: shop, creationTimestamp: '${created}'`);
  const percent = 'retry: { budget: { percent: 7 } }';
  const younger = read(of('2026-01-02T00:00:00Z'), traffic('2026-01-01T00:00:00Z', percent)).compiler;
  assert.deepEqual(budgetOf(younger), [7, undefined, 'TrafficPolicy shop/t']);
  assert.equal(status(younger, 'XBackendTrafficPolicy'), 'Accepted Conflicted');
  const older = read(of('2026-01-01T00:00:00Z'), traffic('2026-01-02T00:00:00Z', percent)).compiler;
  assert.deepEqual(budgetOf(older).slice(0, 2), [20, 10]);
  assert.equal(status(older, 'XBackendTrafficPolicy'), 'Accepted Accepted');
  // Retries and their budget are different settings.
  const both = read(of(''), traffic('', 'retry: { conditions: [5xx] }')).compiler;
  assert.deepEqual(budgetOf(both).slice(0, 2), [20, 10]);
});

test('the status says that the interval of a budget has no effect', () => {
  const { compiler } = read(budget('retryConstraint: { budget: { interval: 20s } }'));
  const [object] = [...compiler.ofKind('XBackendTrafficPolicy')] as MeshObject[];
  assert.ok(object?.kind === 'XBackendTrafficPolicy');
  const update = backendPolicyStatus(object, { mesh: compiler, timestamp: 'now' });
  const { ancestors = [] } = update?.status as NonNullable<BackendTrafficPolicyObject['status']>;
  const accepted = ancestors[0]?.conditions?.find(({ type }) => type === 'Accepted');
  assert.equal(accepted?.status, 'True');
  assert.match(accepted.message ?? '', /budget.interval has no effect/);
});

test('what cannot be read has the smallest budget, and other kinds of targets are other controllers’', () => {
  for (const spec of [
    'retryConstraint: { budget: { percent: 101 } }',
    'retryConstraint: { budget: { interval: 500ms } }',
    'retryConstraint: { minRetryRate: { interval: 0s } }',
    'retryConstraint: { future: 1 }',
  ]) {
    const { compiler, errors } = read(budget(spec));
    assert.equal(errors.length, 1, spec);
    assert.deepEqual(budgetOf(compiler).slice(0, 2), [0, 1], spec);
  }
  const [object] = parseManifests('x.yaml', budget('retryConstraint: {}')).objects;
  assert.ok(object?.kind === 'XBackendTrafficPolicy');
  const foreign = { ancestorRef: { name: 'x' }, controllerName: 'other.test/x', conditions: [] };
  const other: BackendTrafficPolicyObject = {
    ...object,
    spec: { targetRefs: [{ group: 'multicluster.x-k8s.io', kind: 'ServiceImport', name: 'api' }] },
    status: { ancestors: [foreign] },
  };
  assert.equal(backendPolicyStatus(other, { mesh: compile([other], settings), timestamp: 'now' }), undefined);
  const mixed = { ...object, status: { ancestors: [foreign] } };
  const update = backendPolicyStatus(mixed, { mesh: compile([mixed], settings), timestamp: 'now' });
  const { ancestors = [] } = update?.status as NonNullable<BackendTrafficPolicyObject['status']>;
  assert.deepEqual(ancestors[0], foreign, 'the entries of other controllers stay');
  assert.deepEqual(ancestors[1]?.conditions?.[0]?.reason, 'TargetNotFound');
});
