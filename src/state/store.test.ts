import assert from 'node:assert/strict';
import { test } from 'node:test';
import { key, policy, workload } from '../../test/support/mesh.js';
import type { AuthorizationPolicy } from '../model/policy.js';
import { MeshState } from './store.js';

const of = (name: string, more: Partial<AuthorizationPolicy>): AuthorizationPolicy =>
  policy(name, 'deny', {}, more);

test('policies are found by what they apply to, also after that changed', () => {
  const state = new MeshState();
  const one = workload('one', '10.0.0.1', 'n1', { policies: ['shop/p', 'shop/p', 'shop/missing'] });
  const names = (): unknown => [
    state.policiesFor(one).map(({ name }) => name),
    state.policiesForService(key('api')).map(({ name }) => name),
  ];
  const forms: readonly [Partial<AuthorizationPolicy>, unknown][] = [
    [{ scope: 'global', namespace: 'root' }, [['p'], []]],
    [{ scope: 'namespace' }, [['p'], []]],
    [{ scope: 'namespace', namespace: 'other' }, [[], []]],
    [{ scope: 'workload' }, [['p'], []]],
    [{ scope: 'workload', services: [key('api')] }, [[], ['p']]],
    [{ scope: 'namespace', services: [key('api'), key('web')] }, [[], ['p']]],
  ];
  for (const [from] of forms)
    for (const [to, found] of forms) {
      state.apply({ policies: [{ ...of('p', from), key: 'shop/p' as AuthorizationPolicy['key'] }] });
      state.apply({ policies: [{ ...of('p', to), key: 'shop/p' as AuthorizationPolicy['key'] }] });
      assert.deepEqual(names(), found, JSON.stringify([from, to]));
    }
  state.apply({ removedPolicies: ['shop/p'] });
  assert.deepEqual(names(), [[], []]);
});

test('policies of another namespace add no cost to a lookup', () => {
  const state = new MeshState();
  const one = workload('one', '10.0.0.1', 'n1', { policies: ['shop/p'] });
  state.apply({ policies: [of('p', { scope: 'workload' })] });
  const spent = (): number => {
    const before = process.cpuUsage();
    for (let i = 0; i < 2_000; i++) {
      assert.equal(state.policiesFor(one).length, 1);
      assert.equal(state.policiesForService(key('api')).length, 0);
    }
    const { user, system } = process.cpuUsage(before);
    return user + system;
  };
  spent();
  const alone = spent();
  state.apply({
    policies: Array.from({ length: 20_000 }, (_, i) =>
      of(`q${i}`, { scope: i % 2 ? 'workload' : 'namespace', namespace: 'evil' }),
    ),
  });
  assert.ok(spent() < 20 * alone + 50_000);
});
