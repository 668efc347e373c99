import assert from 'node:assert/strict';
import { test } from 'node:test';
import { alwaysMatch, emptyHttpMatch, emptyMatch, type PolicyMatch } from '../../model/policy.js';
import { parseCidr } from '../../model/address.js';
import { policy } from '../../../test/support/mesh.js';
import { policyTexts } from './policy-text.js';

const rest = 'Whoever no ALLOW policy allows is refused.';
const clause = (...matches: readonly Partial<PolicyMatch>[]) => ({
  matches: matches.map((one) => ({ ...emptyMatch, ...one })),
});
const allow = (...clauses: readonly ReturnType<typeof clause>[]): readonly string[] =>
  policyTexts(policy('p', 'allow', {}, { rules: [{ clauses }] }));
const web = { namespace: 'shop', serviceAccount: 'web' };

test('a rule says who may do what', () => {
  const http = {
    ...emptyHttpMatch,
    methods: ['GET', 'HEAD'],
    paths: [{ kind: 'prefix' as const, value: '/orders/' }],
  };
  assert.deepEqual(
    allow(
      clause({ serviceAccounts: [web] }, { namespaces: [{ kind: 'exact', value: 'bank' }] }),
      clause({ destinationPorts: [80], http }),
    ),
    [
      'Allows clients with service account shop/web or namespace bank, for port 80 and method GET or HEAD and path /orders/*.',
      rest,
    ],
  );
});

test('conditions that belong together stay together', () => {
  assert.deepEqual(
    allow(clause({ serviceAccounts: [web], destinationPorts: [80] }, { destinationPorts: [81] }))[0],
    'Allows every client, for service account shop/web and port 80 or port 81.',
  );
});

test('everybody, nobody, and clients without an identity', () => {
  assert.equal(allow()[0], 'Allows every client.');
  assert.equal(allow(clause(alwaysMatch))[0], 'Allows every client.');
  assert.deepEqual(policyTexts(policy('p', 'allow', {}, { rules: [] })), [
    `Has no rule, so it allows nobody. ${rest}`,
  ]);
  assert.deepEqual(policyTexts(policy('p', 'deny', {}, { rules: [] })), [
    'Has no rule, so it denies nothing.',
  ]);
  assert.deepEqual(policyTexts(policy('p', 'deny', { notPrincipals: [{ kind: 'presence' }] })), [
    'Denies clients with no proven identity.',
  ]);
});

test('audit mode refuses nothing, and the texts say so', () => {
  const cidr = parseCidr('10.0.0.0/8');
  assert.deepEqual(policyTexts(policy('p', 'deny', { sourceIps: [cidr] }, { dryRun: true })), [
    'Would deny clients with address 10.0.0.0/8.',
  ]);
  assert.match(
    policyTexts(policy('p', 'allow', {}, { dryRun: true })).at(-1) ?? '',
    /recorded, and not refused/,
  );
});

test('long lists are cut, and values of headers, which may be secrets, are not shown', () => {
  const destinationPorts = Array.from({ length: 20 }, (_, port) => port + 1);
  assert.match(allow(clause({ destinationPorts }))[0] ?? '', /port 1, 2, 3, 4, 5, 6, 7, 8 or 12 more\.$/);
  const headers = [{ name: 'x-key', values: [{ kind: 'exact' as const, value: 'secret' }], negated: false }];
  assert.match(allow(clause({ http: { ...emptyHttpMatch, headers } }))[0] ?? '', /for header x-key\.$/);
});
