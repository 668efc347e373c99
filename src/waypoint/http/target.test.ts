import assert from 'node:assert/strict';
import { test } from 'node:test';
import { policy, anyRequest } from '../../../test/support/mesh.js';
import { parseIp } from '../../model/address.js';
import type { HttpMatch, PolicyPath } from '../../model/policy.js';
import { authorize } from '../../policy/authorize.js';
import { parseTarget } from './target.js';
import { normalizePath, pathOf, readingsOf, TargetError } from '../../policy/path.js';
import { normalizeAuthority } from '../../policy/host.js';

test('equivalent paths are normalized; escapes that may have another meaning stay', () => {
  const table: [string, string][] = [
    ['/', '/'],
    ['/a/b', '/a/b'],
    ['/a/', '/a/'],
    ['//', '/'],
    ['//a///b//', '/a/b/'],
    ['/.', '/'],
    ['/..', '/'],
    ['/a/.', '/a/'],
    ['/a/./b', '/a/b'],
    ['/a/../b', '/b'],
    ['/a/..', '/'],
    ['/a/b/..', '/a/'],
    ['/../../a', '/a'],
    ['/a//../b', '/b'],
    ['/%2e%2e/a', '/a'],
    ['/a/%2E/b', '/a/b'],
    ['/a/.%2e/b', '/b'],
    ['/%61dmin', '/admin'],
    ['/%41', '/A'],
    ['/a%2fb', '/a%2Fb'],
    ['/a%5cb', '/a%5Cb'],
    ['/a%20b', '/a%20b'],
    ['/a%3bb', '/a%3Bb'],
    ['/%252e%252e/a', '/%252e%252e/a'],
    ['/...', '/...'],
    ['/..a', '/..a'],
    ['/a..', '/a..'],
    ['/a;x=1/b', '/a;x=1/b'],
    ['/..;/a', '/..;/a'],
    ['/A', '/A'],
    ['/a?b/../c', '/a?b/../c'],
    ['/a/../b?x=%2e', '/b?x=%2e'],
    ['/a?', '/a?'],
    ['/.?/..', '/?/..'],
  ];
  for (const [given, expected] of table) assert.equal(normalizePath(given), expected, given);
  for (const bad of ['/a\\b', '/%', '/%2', '/%zz', '/a%00', '/%2%30', '/%%32f', '/\\..\\a'])
    assert.throws(() => normalizePath(bad), TargetError, bad);
});

test('with slashes kept, everything else is normalized as usual', () => {
  const table: [string, string][] = [
    ['/', '/'],
    ['/a/b', '/a/b'],
    ['//', '//'],
    ['//a///b//', '//a///b//'],
    ['/a//../b', '/a/b'],
    ['/a/..//b', '//b'],
    ['/../..//a', '//a'],
    ['//..', '/'],
    ['//../..//a/.', '//a/'],
    ['/%2e%2e//%61', '//a'],
    ['/a%2f//b', '/a%2F//b'],
    ['/a//b?c//d', '/a//b?c//d'],
  ];
  for (const [given, expected] of table) {
    assert.equal(normalizePath(given, false), expected, given);
    assert.equal(normalizePath(expected, false), expected, `${given}: once more`);
    assert.equal(parseTarget('GET', given, 'h', false).path, expected, given);
    assert.equal(parseTarget('GET', `http://h${given}`, 'x', false).path, expected, given);
  }
  for (const bad of ['//a\\b', '//%', '//a%00'])
    assert.throws(() => normalizePath(bad, false), TargetError, bad);
});

test('a host is compared without case and without trailing dots', () => {
  const table: [string, string][] = [
    ['a.b', 'a.b'],
    ['A.B', 'a.b'],
    ['a.b.', 'a.b'],
    ['a.b..', 'a.b'],
    ['a.b.:80', 'a.b:80'],
    ['[::1]:80', '[::1]:80'],
    ['a:', 'a:'],
    ['', ''],
  ];
  for (const [given, expected] of table) assert.equal(normalizeAuthority(given), expected, given);
  for (const bad of [
    'a b',
    'a/b',
    'a@b',
    'a:b',
    'a:80:80',
    'a:123456',
    'a%62',
    '[::1',
    'a\\b',
    'a#',
    'a?',
    'ä',
  ])
    assert.throws(() => normalizeAuthority(bad), TargetError, bad);
});

test('targets: a path, a URL whose host takes precedence over the header, and the asterisk of OPTIONS', () => {
  assert.deepEqual(parseTarget('GET', '/a', 'h'), { authority: 'h', path: '/a' });
  assert.deepEqual(parseTarget('GET', 'http://X/a/../b?c', 'h'), { authority: 'x', path: '/b?c' });
  assert.deepEqual(parseTarget('GET', 'HTTPS://x:1', 'h'), { authority: 'x:1', path: '/' });
  assert.deepEqual(parseTarget('GET', 'http://x?a', undefined), { authority: 'x', path: '/?a' });
  assert.deepEqual(parseTarget('OPTIONS', '*', 'h'), { authority: 'h', path: '*' });
  const refused: [string, string][] = [
    ['GET', '*'],
    ['CONNECT', 'a:443'],
    ['CONNECT', '/'],
    ['GET', 'a'],
    ['GET', 'ftp://a/'],
    ['GET', 'http://u@a/'],
    ['GET', 'http://a\\@b/'],
    ['GET', 'http:/a'],
    ['GET', 'javascript:x'],
    ['GET', 'http://a/%00'],
  ];
  for (const [method, target] of refused)
    assert.throws(() => parseTarget(method, target, 'h'), TargetError, `${method} ${target}`);
});

const under = (prefix: string): PolicyPath => ({ kind: 'prefix', value: prefix });
function allowed(
  target: string,
  action: 'allow' | 'deny',
  match: Partial<HttpMatch>,
  mergeSlashes = true,
): boolean {
  let path: string;
  try {
    ({ path } = parseTarget('GET', target, 'h', mergeSlashes));
  } catch (error) {
    if (error instanceof TargetError) return false;
    throw error;
  }
  return authorize([policy('p', action, { http: { ...anyRequest, ...match } })], {
    identity: undefined,
    sourceIp: parseIp('10.0.0.1'),
    destinationIp: parseIp('10.0.0.2'),
    destinationPort: 80,
    http: { method: 'GET', host: 'h', paths: readingsOf(pathOf(path)), header: () => undefined },
  }).allowed;
}

/** Ways to write /admin/x that some endpoint reads as that path. */
const tricks = [
  '/admin/x',
  '//admin/x',
  '/./admin/x',
  '/public/../admin/x',
  '/public/%2e%2e/admin/x',
  '/public/%2E./admin/x',
  '/%61dmin/x',
  '/admin%2fx',
  '/admin%2Fx',
  '/%2fadmin/x',
  '/%252fadmin/x',
  '/admin%252fx',
  '/admin%25252fx',
  '/public/..%2fadmin/x',
  '/public/..%252fadmin/x',
  '/public%2f..%2fadmin%2fx',
  '/public/%252e%252e/admin/x',
  '/public/%252e%252e%252fadmin%252fx',
  '/public/%25252e%25252e/admin/x',
  '/%2561dmin/x',
  '/admin;/x',
  '/admin;a=b/x',
  '/admin;a=%2f/x',
  '/;/admin/x',
  '/;a/admin/x',
  '/public/..;/admin/x',
  '/public/..;a=b/admin/x',
  '/public/.%2e;/admin/x',
  '/public/..%3b/admin/x',
  '/public/..%3ba=b/admin/x',
  '/public/..%253b/admin/x',
  '/public/%252e%252e;/admin/x',
  '/public/%252e%252e%253b/admin/x',
  '/public/..;/..%2fadmin/x',
  '/public/a/..;/..;/admin/x',
  '/public/..;/%252e%252e/admin/x',
  '/public/a;%2f..%2f..%2fadmin/x',
  '/public/a;x/..;/..%2fadmin%2fx',
  '/public/..%5cadmin/x',
  '/public/..%5c..%5cadmin%5cx',
  '/public/..%255cadmin/x',
  '/public%5c..%5cadmin/x',
  '/admin%5cx',
  '/q%2f..%2fadmin%2fy%2f%2f..%2f..%2fadmin%2fx',
  '/public\\..\\admin/x',
  '/public/..\\admin/x',
  '/admin%00/x',
  '/admin/%00',
  '/public/%u002e%u002e/admin/x',
  'http://h/admin/x',
  'http://h//admin/x',
  'http://h/public/../admin/x',
  'HTTP://other/public/%2e%2e/admin/x',
  '/admin//x',
  '/public//%252e%252e//%252e%252e/admin/x',
  '/q//..;/..;/admin//x',
  '/public//../../admin%2f/x',
  '/public/%2f/..;/..;/..;//admin//x',
  '/admin/x?',
  '/admin/x?/public',
  '/admin/x;/public',
];

test('no spelling of a path bypasses a rule that denies it, or matches a rule that allows another path', () => {
  const admin = { paths: [under('/admin/')] };
  const exceptAdmin = { notPaths: [under('/admin/')] };
  const template: PolicyPath = { kind: 'template', segments: ['admin', '**'] };
  for (const merge of [true, false])
    for (const target of tricks) {
      const shown = `${target}, slashes ${merge ? 'merged' : 'kept'}`;
      assert.equal(allowed(target, 'deny', admin, merge), false, `denied: ${shown}`);
      const isAllowed = allowed(target, 'allow', { paths: [under('/public/')] }, merge);
      assert.equal(isAllowed, false, `not allowed: ${shown}`);
      const isAllowedElse = allowed(target, 'allow', exceptAdmin, merge);
      assert.equal(isAllowedElse, false, `not allowed by notPaths: ${shown}`);
      assert.equal(
        allowed(target, 'deny', { paths: [template] }, merge),
        false,
        `denied by template: ${shown}`,
      );
    }
});

test('paths that are not denied pass, allowed paths pass', () => {
  for (const target of [
    '/public/x',
    '/public/a%20b',
    '/public/admin/x',
    '/public/a%2Fb',
    '/public/a;b=c/d',
    '/public/x?/admin/x',
    '/public/x?y=../../admin',
    'http://h/public/x',
  ]) {
    assert.equal(allowed(target, 'deny', { paths: [under('/admin/')] }), true, target);
    assert.equal(allowed(target, 'allow', { paths: [under('/public/')] }), true, target);
  }
  assert.equal(allowed('/Admin/x', 'deny', { paths: [under('/admin/')] }), true, 'paths are case-sensitive');
  assert.equal(allowed('*', 'deny', { paths: [under('/admin/')] }), false, 'GET * is no request');
});

test('with slashes kept, a DENY matches in any reading, an ALLOW has to match in all', () => {
  const exact: PolicyPath = { kind: 'exact', value: '/a/b' };
  for (const target of ['//a/b', '/a//b', '///a//b']) {
    assert.equal(allowed(target, 'deny', { paths: [exact] }, false), false, `denied: ${target}`);
    assert.equal(allowed(target, 'allow', { paths: [exact] }, false), false, `not allowed: ${target}`);
    assert.equal(allowed(target, 'allow', { paths: [exact] }), true, `merged: ${target}`);
  }
  const escaped: PolicyPath = { kind: 'prefix', value: '/a%20b/' };
  for (const target of ['/public//x', '/public/x//', '/public//'])
    assert.equal(allowed(target, 'allow', { paths: [under('/public/')] }, false), true, target);
  assert.equal(allowed('/a%20b//c', 'allow', { paths: [escaped] }, false), true);
  assert.equal(allowed('//a%20b/c', 'allow', { paths: [escaped] }, false), false);
  assert.equal(allowed('//a%20b/c', 'deny', { paths: [escaped] }, false), false);
  assert.equal(allowed('//a/c', 'deny', { paths: [exact] }, false), true, 'another path');
});

test('the readings of a path are bounded at any nesting, and each request has its own', () => {
  const nested = `/${'%25'.repeat(2000)}2f;${'..;%253b/'.repeat(2000)}`;
  assert.ok(readingsOf(normalizePath(nested)).length <= 301);
  const first = readingsOf('/a');
  readingsOf('/b');
  assert.deepEqual(first, ['/a']);
});
