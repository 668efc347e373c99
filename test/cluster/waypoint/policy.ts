/** Policies with rules on requests. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyText } from '../../support/cluster.js';
import { ask, askUntil } from './client.js';
import { conditionOf, store } from './objects.js';

test('requests that a policy of methods and paths does not allow get 403, with targetRefs and with a selector', async () => {
  const policy = (where: string): string => `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: readers, namespace: store }
spec:
  action: ALLOW
  ${where}
  rules: [{ from: [{ serviceAccounts: [store/client] }], to: [{ methods: [GET], paths: ['/open*'] }] }]
`;
  for (const where of [
    "targetRefs: [{ group: '', kind: Service, name: api }]",
    'selector: { matchLabels: { app: api } }',
  ]) {
    await applyText(policy(where));
    const { status } = await conditionOf(['accesspolicy', 'readers'], 'weft.dev/Enforced', 'Enforced');
    assert.equal(status, 'True');
    await askUntil(
      'a path that is not allowed is refused',
      (a) => a.status === 403,
      'store/client',
      'http://api/closed',
    );
    assert.equal((await ask('store/client', 'http://api/open/1')).status, 200, where);
    assert.equal((await ask('store/client', 'http://api/open/1', { method: 'POST' })).status, 403, where);
    assert.equal((await ask('store/intruder', 'http://api/open/1')).status, 403, where);
    await store('delete', 'accesspolicy', 'readers');
    await askUntil('the path is allowed again', (a) => a.status === 200, 'store/client', 'http://api/closed');
  }
});
