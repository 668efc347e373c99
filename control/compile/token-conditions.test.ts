import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  atPodOf,
  authentication,
  compilerOf,
  issuer,
  serviceText,
  toApi,
  waypointText,
  type AskedPod,
} from '../../test/support/authentication.js';
import { inForce, podText, policyText } from '../../test/threats/support/configuration.js';
import { unenforcedObjects } from '../problems/unenforced.js';
import { parseManifests } from '../source/parse.js';

const pods = [podText('bank', 'api', '10.0.0.2')];
const spec = (action: string, source: string): string =>
  `{ action: ${action}, rules: [{ from: [{ ${source} }] }] }`;
const decide = (action: string, source: string, asked: AskedPod): boolean =>
  atPodOf(inForce([...pods, policyText('bank', 'p', spec(action, source))]), asked).allowed;

/** An ALLOW with the source allows the request, and a DENY denies it, if it matches. */
function assertMatches(source: string, asked: AskedPod, matches: boolean): void {
  const shown = `${source} ${JSON.stringify(asked)}`;
  assert.equal(decide('ALLOW', source, asked), matches, `ALLOW ${shown}`);
  assert.equal(decide('DENY', source, asked), !matches, `DENY ${shown}`);
}

const claims = {
  iss: 'https://id.example',
  sub: 'alice',
  aud: ['shop', 'bank'],
  azp: 'cli',
  realm: { roles: ['reader', 'writer'], level: 3 },
  verified: true,
  'https://x.example/team': 'blue',
};

test('issuer, subject, audience and presenter, each with its negation, lists and wildcards', () => {
  const cases: [string, boolean][] = [
    ['issuers: ["https://id.example"]', true],
    ['issuers: ["https://*"]', true],
    ['issuers: [other]', false],
    ['notIssuers: [other]', true],
    ['notIssuers: ["*"]', false],
    ['subjects: [bob, alice]', true],
    ['subjects: ["*ice"]', true],
    ['notSubjects: [alice]', false],
    ['audiences: [bank]', true],
    ['audiences: [ban]', false],
    ['notAudiences: [bank]', false],
    ['presenters: [cli]', true],
    ['notPresenters: [cli]', false],
    ['issuers: ["https://id.example"], subjects: [bob]', false],
    ['claims: [{ path: [realm, roles], values: [writer] }]', true],
    ['claims: [{ path: [realm, roles], values: ["w*"], notValues: [admin] }]', true],
    ['claims: [{ path: [realm, roles], notValues: [reader] }]', false],
    ['claims: [{ path: [realm, level], numbers: [2, 3] }]', true],
    ['claims: [{ path: [realm, level], values: ["3"] }]', false],
    ['claims: [{ path: [realm, level], notNumbers: [3] }]', false],
    ['claims: [{ path: [verified], boolean: true }]', true],
    ['claims: [{ path: [verified], boolean: false }]', false],
    ['claims: [{ path: ["https://x.example/team"], values: [blue] }]', true],
    ['claims: [{ path: [absent] }]', false],
    ['claims: [{ path: [verified] }]', true],
    ['claims: [{ path: [constructor] }]', false],
  ];
  for (const [text, matches] of cases) assertMatches(`jwt: { ${text} }`, { claims }, matches);
});

test('without a token nothing matches but negations', () => {
  assertMatches('jwt: { issuers: ["*"] }', {}, false);
  assertMatches('jwt: { notIssuers: ["*"] }', {}, true);
  assertMatches('jwt: { claims: [{ path: [a] }] }', {}, false);
});

test('where no waypoint reads requests, the rule closes: an ALLOW allows nothing, a DENY denies', () => {
  for (const source of ['jwt: { issuers: ["*"] }', 'jwt: { notIssuers: [x] }', 'remoteCidrs: [0.0.0.0/0]'])
    for (const action of ['ALLOW', 'DENY'])
      assert.equal(decide(action, source, { isRaw: true }), false, source);
  assert.equal(decide('DENY', 'namespaces: [evil], jwt: { issuers: ["*"] }', { isRaw: true }), true);
});

test('an address of a client that is not known takes access away', () => {
  for (const action of ['ALLOW', 'DENY'])
    assert.equal(decide(action, 'remoteCidrs: [10.0.0.0/8]', {}), false);
});

test('values that cannot be compared are refused with the field', () => {
  const errorOf = (source: string): string =>
    parseManifests('x', policyText('bank', 'p', spec('ALLOW', source))).errors[0]?.message ?? '';
  assert.match(errorOf('jwt: { issuers: ["a*b"] }'), /./);
  assert.match(errorOf('jwt: {}'), /fewer than 1/);
  assert.match(errorOf('jwt: { claims: [{ values: [a] }] }'), /path/);
  assert.match(errorOf('remoteCidrs: [x]'), /address/);
});

test('a policy that compares tokens where nobody validates any says so', () => {
  const service = [serviceText('[{ port: 80 }]', { labels: 'weft.dev/waypoint: wp' }), waypointText()];
  const validated = authentication(`{ ${toApi}, jwt: { issuers: [${issuer()}] } }`);
  const byIstio = `apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: { name: r, namespace: bank }\nspec: { jwtRules: [{ issuer: a, jwks: '{}' }] }\n`;
  const problems = (texts: readonly string[]): string =>
    [...unenforcedObjects(compilerOf([...pods, ...service, ...texts]))]
      .map(({ what }) => what)
      .filter((what) => what.startsWith('AccessPolicy'))
      .join();
  for (const where of ['', `${toApi}, `, 'selector: { matchLabels: { app: api } }, ']) {
    const policy = policyText(
      'bank',
      'p',
      `{ ${where}action: ALLOW, rules: [{ from: [{ jwt: { issuers: [a] } }] }] }`,
    );
    assert.match(problems([policy]), /no AuthenticationPolicy validates tokens/, where);
    assert.equal(problems([policy, validated]), '', where);
    assert.equal(problems([policy, byIstio]), '', where);
  }
});
