import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../model/address.js';
import type { SpiffeId } from '../model/identity.js';
import { emptyMatch, type AuthorizationPolicy, type PolicyKey, type PolicyMatch } from '../model/policy.js';
import { authorize, type ConnectionAttributes } from './authorize.js';

const attributes: ConnectionAttributes = {
  identity: 'spiffe://cluster.local/ns/shop/sa/web' as SpiffeId,
  sourceIp: parseIp('10.0.0.1'),
  destinationIp: parseIp('10.0.0.2'),
  destinationPort: 80,
};
const policy = (
  action: 'allow' | 'deny',
  ...rules: readonly (readonly PolicyMatch[])[]
): AuthorizationPolicy =>
  ({
    key: 'shop/p' as PolicyKey,
    action,
    dryRun: false,
    scope: 'namespace',
    services: [],
    rules: rules.map((matches) => ({ clauses: [{ matches }] })),
  }) as unknown as AuthorizationPolicy;
const account = (serviceAccount: string): PolicyMatch => ({
  ...emptyMatch,
  serviceAccounts: [{ namespace: 'shop', serviceAccount }],
});

test('the verdict names the matching rule, also if it is the last of many', () => {
  const others = Array.from({ length: 2000 }, (_, at) => [account(`nobody-${at}`)]);
  const verdict = authorize([policy('allow', ...others, [account('web')])], attributes);
  assert.deepEqual([verdict.allowed, verdict.rule], [true, 2000]);
  assert.equal(authorize([policy('allow', ...others)], attributes).allowed, false);
});

test('a match without fields matches no connection, a clause without matches every connection', () => {
  assert.equal(authorize([policy('allow', [emptyMatch])], attributes).allowed, false);
  assert.equal(authorize([policy('deny', [emptyMatch])], attributes).allowed, true);
  assert.equal(authorize([policy('deny', [])], attributes).allowed, false);
});

test('a client without an identity matches no account, but every rule that only excludes accounts', () => {
  const unknown = { ...attributes, identity: undefined };
  assert.equal(authorize([policy('allow', [account('web')])], unknown).allowed, false);
  const butWeb: PolicyMatch = {
    ...emptyMatch,
    notServiceAccounts: [{ namespace: 'shop', serviceAccount: 'web' }],
  };
  assert.equal(authorize([policy('deny', [butWeb])], unknown).allowed, false);
  assert.equal(authorize([policy('deny', [butWeb])], attributes).allowed, true);
});
