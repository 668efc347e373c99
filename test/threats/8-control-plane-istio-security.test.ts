/** Row 8 of docs/security.md: objects of Istio's security API, and policies made of them, that this or another version cannot decode. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeAuthorization } from '../../src/discovery/codec/policy.js';
import * as pb from '../../src/discovery/gen/authorization.js';
import { parseManifests } from '../../control/source/parse.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { readAuthorization } from '../../src/discovery/codec/policy.js';
import { compile } from '../../control/compile/compile.js';
import { authorize } from '../../src/policy/authorize.js';
import { parseIp } from '../../src/model/address.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import { atPod, bankPods, istio } from '../support/istio-security.js';
import { inForceOf } from './support/configuration.js';

const pods = bankPods.flatMap((text) => parseManifests('x', text).objects);
const object = (kind: string, spec: unknown, more: object = {}) => ({
  kind,
  metadata: { name: 'p', namespace: 'bank' },
  spec,
  ...more,
});
const selector = { matchLabels: { app: 'api' } };

/** Specs of a newer version, of an older schema, or with mistakes. */
const unreadable: readonly unknown[] = [
  { selector, action: 'ALLOW', rules: [{}], newer: true },
  { selector, action: 'PERMIT', rules: [{}] },
  { selector, rules: [{ from: [{ source: { newer: ['x'] } }] }] },
  { selector, rules: [{ from: [{ source: { ipBlocks: ['10.0.0.0/99'] } }] }] },
  { selector, rules: [{ to: [{ operation: { ports: ['http'] } }] }] },
  { selector, rules: [{ when: [{ key: 'source.newer', values: ['x'] }] }] },
  { selector, rules: [{ from: [] }] },
  { selector, rules: {} },
];

test('an AuthorizationPolicy that cannot be decoded closes the workloads that it selects, and no others', () => {
  for (const spec of unreadable) {
    const mesh = inForceOf([...pods, object('AuthorizationPolicy', spec)]);
    const name = JSON.stringify(spec);
    const verdict = atPod(mesh, {});
    assert.deepEqual([verdict.allowed, verdict.policy], [false, 'bank/AuthorizationPolicy/p'], name);
    assert.equal(atPod(mesh, {}, 'bank', 'web').allowed, true, `the rest of its namespace: ${name}`);
    assert.equal(atPod(mesh, {}, 'shop', 'api').allowed, true, `another namespace: ${name}`);
  }
});

test('one whose selection cannot be decoded closes its namespace, and no other', () => {
  const specs = [
    'x',
    { selector: { matchExpressions: [] } },
    { selector: { matchLabels: { app: 'a*' } } },
    { selector, targetRef: { kind: 'Service', name: 'api' } },
    { targetRefs: [{ kind: 'Newer', name: 'api' }] },
  ];
  for (const spec of specs)
    for (const kind of ['AuthorizationPolicy', 'RequestAuthentication']) {
      const mesh = inForceOf([...pods, object(kind, spec)]);
      for (const name of ['api', 'web'])
        assert.equal(atPod(mesh, {}, 'bank', name).allowed, false, `${kind} ${JSON.stringify(spec)}`);
      assert.equal(atPod(mesh, {}, 'shop', 'api').allowed, true);
    }
});

test('a PeerAuthentication and a RequestAuthentication that cannot be decoded close, too', () => {
  const strict = inForceOf([...pods, object('PeerAuthentication', { selector, mtls: { mode: 'MUTUAL' } })]);
  assert.equal(atPod(strict, { from: 'none' }).allowed, false);
  assert.equal(atPod(strict, {}).allowed, true);
  assert.equal(atPod(strict, { from: 'none' }, 'bank', 'web').allowed, true);
  const tokens = inForceOf([
    ...pods,
    object('RequestAuthentication', { selector, jwtRules: [{ newer: 1 }] }),
  ]);
  assert.equal(atPod(tokens, {}).allowed, false);
  assert.equal(atPod(tokens, {}, 'bank', 'web').allowed, true);
});

test('in a file, an object without a name, of a misspelled kind or group, or of a newer kind may hide a policy: the file is unreadable', () => {
  const text = istio('AuthorizationPolicy', '{ rules: [{}] }');
  const cases = [
    text.replace('name: p, ', ''),
    text.replace('kind: AuthorizationPolicy', 'kind: AuthorizationPolcy'),
    text.replace('security.istio.io', 'security.istio.oi'),
    text.replace('apiVersion: security.istio.io/v1\n', ''),
    text.replace('kind: AuthorizationPolicy', 'kind: NewerPolicy'),
    istio('PeerAuthentication', '{}').replace('kind: PeerAuthentication', 'kind: PeerAuthentification'),
  ];
  for (const one of cases) assert.equal(parseManifests('x', one).isUnreadable, true, one);
  const linkerd =
    'apiVersion: policy.linkerd.io/v1alpha1\nkind: AuthorizationPolicy\nmetadata: { name: p }\nspec: {}\n';
  assert.equal(parseManifests('x', linkerd).isUnreadable, false);
});

const connection = {
  identity: parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web'),
  sourceIp: parseIp('10.0.0.1'),
  destinationIp: parseIp('10.0.0.2'),
  destinationPort: 80,
};
/** Whether a reader that does not know Weft's fields of a match allows the connection. */
function allowedByOlder(kind: Parameters<typeof istio>[0], spec: string): boolean {
  const { objects, errors } = parseManifests('x', istio(kind, spec));
  assert.deepEqual(errors, []);
  const policies = [
    ...compile(objects, { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '' }).all(),
  ];
  const read = policies.flatMap((one) => {
    if (one.kind !== 'policy') return [];
    const message = pb.Authorization.decode(encodeAuthorization(one.value));
    const rules = message.rules.map(({ clauses }) => ({
      clauses: clauses.map(({ matches }) => ({
        matches: matches.map((match) => ({ ...match, weft: undefined })),
      })),
    }));
    const bytes = pb.Authorization.encode({ ...message, rules }).finish();
    return readAuthorization(one.value.key, bytes, 'weft-system').value ?? [];
  });
  assert.equal(read.length, 1);
  return authorize(read, connection).allowed;
}

test('a reader that knows nothing of requests allows nothing by their conditions, and denies what they might match', () => {
  const items = [
    'to: [{ operation: { methods: [GET] } }]',
    'to: [{ operation: { hosts: [a, "b:*"] } }]',
    'when: [{ key: "request.headers[x]", notValues: [a] }]',
    'from: [{ source: { requestPrincipals: ["*"] } }]',
  ];
  for (const item of items) {
    assert.equal(allowedByOlder('AuthorizationPolicy', `{ rules: [{ ${item} }] }`), false, `ALLOW ${item}`);
    assert.equal(
      allowedByOlder('AuthorizationPolicy', `{ action: DENY, rules: [{ ${item} }] }`),
      false,
      `DENY ${item}`,
    );
  }
  assert.equal(
    allowedByOlder('RequestAuthentication', '{ jwtRules: [{ issuer: a, fromParams: [t] }] }'),
    false,
  );
  const others = 'from: [{ source: { namespaces: [evil] } }], to: [{ operation: { methods: [GET] } }]';
  assert.equal(allowedByOlder('AuthorizationPolicy', `{ action: DENY, rules: [{ ${others} }] }`), true);
});
