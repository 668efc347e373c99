import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../src/model/address.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { AuthorizationPolicy } from '../../src/model/policy.js';
import { authorize } from '../../src/policy/authorize.js';
import { normalizePath, pathOf, readingsOf } from '../../src/policy/path.js';
import { parseManifests } from '../source/parse.js';
import { compile } from './compile.js';

const manifest = (action: string, to: string): string =>
  `apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: p, namespace: shop }
spec: { action: ${action}, rules: [{ to: [{ ${to} }] }] }`;
function policyOf(action: string, to: string): AuthorizationPolicy {
  const { objects, errors } = parseManifests('x', manifest(action, to));
  assert.deepEqual(errors, [], to);
  const [resource] = [
    ...compile(objects, { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '' }).all(),
  ];
  assert.ok(resource?.kind === 'policy');
  return resource.value;
}
const allowed = (policy: AuthorizationPolicy, target: string): boolean =>
  authorize([policy], {
    identity: undefined,
    sourceIp: parseIp('10.0.0.1'),
    destinationIp: parseIp('10.0.0.2'),
    destinationPort: 80,
    http: {
      method: 'GET',
      host: 'h',
      paths: readingsOf(pathOf(normalizePath(target))),
      header: () => undefined,
    },
  }).allowed;
const paths = (...values: string[]): string => `paths: ${JSON.stringify(values)}`;

/** A configured path, the requests that it matches, and those that it does not match. */
const table: [string, string[], string[]][] = [
  ['/caf%c3%a9/*', ['/caf%c3%a9/x', '/caf%C3%A9/x', '/%63af%C3%a9/x'], ['/cafe/x', '/caf%C3/x']],
  ['/thé/*', ['/th%C3%A9/x', '/th%c3%a9/x'], ['/the/x', '/th%E9/x']],
  ['/日本', ['/%E6%97%A5%e6%9c%ac'], ['/%E6%97%A5']],
  ['/%7Eroot/*', ['/%7Eroot/x', '/~root/x', '/%7eroot/x'], ['/root/x']],
  ['/a//b', ['/a//b', '/a/b', '/a/./b'], ['/a/c']],
  ['/a/./b/../c', ['/a/c', '/a/./b/../c'], ['/a/b/c']],
  ['/a%20b', ['/a%20b'], ['/a%2520b', '/a+b']],
  ['/a b', ['/a%20b'], ['/ab']],
  ['/a%2fb', ['/a%2fb', '/a%2Fb'], ['/a%2Fc']],
  ['/a;x=1', ['/a;x=1'], ['/b;x=1']],
  ['/a%3Bx', ['/a%3Bx', '/a%3bx'], ['/b%3Bx']],
  ['/100%25/*', ['/100%25/x'], ['/100/x']],
  ['/a|b', ['/a%7Cb', '/a|b'], ['/ab']],
  ['/.*', ['/.git', '/.git/config'], ['/git']],
  ['/..*', ['/..a'], ['/a']],
  ['*.p%c3%a9', ['/x.p%C3%A9', '/a/b.p%c3%a9'], ['/x.pe']],
  ['*%20', ['/x%20'], ['/x']],
  ['/v%31/{*}/caf%c3%a9', ['/v1/x/caf%C3%A9'], ['/v1/x/cafe', '/v1/caf%C3%A9']],
  ['/a%20b/{**}', ['/a%20b/c/d'], ['/ab/c']],
  ['/a//{*}', ['/a/x', '/a//x'], ['/a/x/y']],
];

test('an ALLOW path in any spelling matches requests for that path in any spelling, and no others', () => {
  for (const [given, matched, others] of table) {
    const policy = policyOf('ALLOW', paths(given));
    for (const target of matched) assert.equal(allowed(policy, target), true, `${given} allows ${target}`);
    for (const target of others)
      assert.equal(allowed(policy, target), false, `${given} does not allow ${target}`);
  }
});

test('a DENY path in any spelling matches requests for that path in any spelling, and no others', () => {
  for (const [given, matched, others] of table) {
    const policy = policyOf('DENY', paths(given));
    for (const target of matched) assert.equal(allowed(policy, target), false, `${given} denies ${target}`);
    for (const target of others.filter((one) => !one.includes('%25')))
      assert.equal(allowed(policy, target), true, `${given} does not deny ${target}`);
  }
});

test('notPaths are normalized as paths are', () => {
  for (const [given, matched, others] of table) {
    const policy = policyOf('ALLOW', `notPaths: ${JSON.stringify([given])}`);
    for (const target of matched) assert.equal(allowed(policy, target), false, `not ${given}: ${target}`);
    for (const target of others.filter((one) => !one.includes('%25')))
      assert.equal(allowed(policy, target), true, `not ${given}: ${target}`);
  }
});

test('an ALLOW of an escaped path does not allow a path that an endpoint may read differently', () => {
  const under = policyOf('ALLOW', paths('/a%20b/*'));
  for (const target of ['/a%20b/..%2Fadmin', '/a%20b%2F..%2F..%2Fadmin', '/a%20b/..;/admin', '/a%2520b/x'])
    assert.equal(allowed(under, target), false, target);
  const parameter = policyOf('ALLOW', paths('/a;x/*'));
  assert.equal(allowed(parameter, '/a;x/y'), true);
  for (const target of ['/a/y', '/a;x/..%2Fy', '/a;x/../b', '/a;x%2Fy'])
    assert.equal(allowed(parameter, target), false, target);
});

test('a DENY of an escaped path denies every path that some endpoint reads as that path', () => {
  const slash = policyOf('DENY', paths('/a%2Fb'));
  for (const target of ['/a/b', '/a%252Fb', '/a/x/..%2Fb'])
    assert.equal(allowed(slash, target), false, target);
  const parameter = policyOf('DENY', paths('/a;x/*'));
  for (const target of ['/a;x/y', '/a;z/y', '/a/y']) assert.equal(allowed(parameter, target), false, target);
  assert.equal(allowed(parameter, '/ab/y'), true);
});

test('a path that no request can have is refused with the reason', () => {
  const refusals: [string, RegExp][] = [
    ['/a%', /must be a path/],
    ['/a%2', /must be a path/],
    ['/a%zz', /must be a path/],
    ['/a%2*', /must be a path/],
    ['/a%00b', /must be a path/],
    ['/a\\b', /must be a path/],
    ['/{*}/../b', /removes a wildcard/],
    ['*/../b', /removes the wildcard/],
    ['*;v=1', /ignore path parameters/],
  ];
  for (const [given, why] of refusals) {
    const { errors } = parseManifests('x', manifest('DENY', paths(given)));
    assert.match(errors[0]?.message ?? 'accepted', why, given);
  }
});

/** A small random generator: a failure can be reproduced by its seed. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state % below;
  };
}

test('an exact path with any escapes matches a request with the same spelling', () => {
  const seed = 15;
  const random = randomOf(seed);
  const pieces = [
    '/',
    'a',
    'B',
    '~',
    '.',
    '..',
    '%2e',
    '%2F',
    '%5c',
    '%25',
    '%3B',
    ';',
    ';x=1',
    '%20',
    '%C3%a9',
  ];
  const more = [
    '%61',
    '%7E',
    '%252F',
    '=',
    '%3d',
    '|',
    'é',
    '日',
    ' ',
    '//',
    '%2525',
    '@',
    ':',
    '%C3',
    '[',
    '-',
  ];
  const all = [...pieces, ...more];
  const asked = (text: string): string =>
    text.replace(/[^\x21-\x7e]/gu, (character) => encodeURIComponent(character));
  const respelled = (text: string): string =>
    text.replace(/%[0-9a-fA-F]{2}|[AB~]/g, (one) =>
      one.startsWith('%')
        ? random(2) > 0
          ? one.toLowerCase()
          : one.toUpperCase()
        : random(2) > 0
          ? one
          : `%${one.charCodeAt(0).toString(16)}`,
    );
  for (let round = 0; round < 2_000; round++) {
    const given = `/${Array.from({ length: random(8) }, () => all[random(all.length)]).join('')}`;
    const name = `seed ${seed} round ${round}: ${JSON.stringify(given)}`;
    const target = respelled(asked(given));
    assert.equal(allowed(policyOf('ALLOW', paths(given)), target), true, `allows ${name} ${target}`);
    assert.equal(allowed(policyOf('DENY', paths(given)), target), false, `denies ${name} ${target}`);
    const under = policyOf('DENY', paths(`${given}/*`));
    assert.equal(allowed(under, `${target}/x`), false, `denies under ${name} ${target}`);
  }
});
