/** What the aggregated API reads from outside: settings, headers, selectors and paths. None of it throws past its parser. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../src/model/identity.js';
import { createRoot } from '../../src/tls/issue.js';
import { fuzz } from '../../test/support/fuzz.js';
import { isFrontProxy, readFrontProxy, userOf, type FrontProxy } from './front-proxy.js';
import { parseSelector } from './label-selector.js';
import { attributesOf, parseMetricsRequest } from './metrics-request.js';
import { StatusError } from './status.js';

const ca = createRoot(parseTrustDomain('test'), 3600).certPem;
const data = {
  'requestheader-client-ca-file': ca,
  'requestheader-username-headers': '["X-Remote-User","X-Other-User"]',
  'requestheader-group-headers': '["X-Remote-Group"]',
  'requestheader-extra-headers-prefix': '["X-Remote-Extra-"]',
};
function frontProxy(more: object = {}): FrontProxy {
  const read = readFrontProxy({ ...data, ...more });
  assert.ok(read.ok);
  return read.value;
}

test("the front proxy's settings are read, and refused where they cannot be", () => {
  assert.deepEqual(frontProxy().userHeaders, ['x-remote-user', 'x-other-user']);
  for (const more of [
    { 'requestheader-client-ca-file': '' },
    { 'requestheader-client-ca-file': 'no certificate' },
    { 'requestheader-client-ca-file': ca.replace(/[A-Z]{5}/, 'AAAAA') },
    { 'requestheader-allowed-names': 'aggregator' },
    { 'requestheader-allowed-names': '[1]' },
    { 'requestheader-allowed-names': '{"a":1}' },
    { 'requestheader-username-headers': '[]' },
  ])
    assert.equal(readFrontProxy({ ...data, ...more }).ok, false, JSON.stringify(more));
  for (const nothing of [undefined, null, 'x', [], {}]) assert.equal(readFrontProxy(nothing).ok, false);
});

test('without allowed names any certificate of the CA is the front proxy, with names only those', () => {
  assert.equal(isFrontProxy(frontProxy(), undefined), true);
  const named = frontProxy({ 'requestheader-allowed-names': '["a","b"]' });
  assert.deepEqual(
    ['a', 'b', 'c', '', undefined].map((name) => isFrontProxy(named, name)),
    [true, true, false, false, false],
  );
});

test('the first header that names a user counts; more extra than is read makes no user', () => {
  assert.equal(userOf({ 'x-other-user': ['b'], 'x-remote-user': ['a'] }, frontProxy())?.user, 'a');
  assert.equal(userOf({ 'x-other-user': ['b'] }, frontProxy())?.user, 'b');
  assert.equal(userOf({}, frontProxy()), undefined);
  const many = Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`x-remote-extra-k${i}`, ['v']]));
  assert.equal(userOf({ 'x-remote-user': ['a'], ...many }, frontProxy()), undefined);
  assert.deepEqual(userOf({ 'x-remote-user': ['a'], 'x-remote-extra-%zz': ['v'] }, frontProxy())?.extra, {
    '%zz': ['v'],
  });
});

test('label selectors select as in Kubernetes', () => {
  const labels = { app: 'web', tier: 'front', 'acme.com/x': '' };
  const cases: [string, boolean | undefined][] = [
    ['', true],
    ['app=web', true],
    ['app==web', true],
    ['app = web', true],
    ['app!=web', false],
    ['none!=web', true],
    ['app', true],
    ['!app', false],
    ['!none', true],
    ['app in (web, db)', true],
    ['app in (db)', false],
    ['app notin (db)', true],
    ['none notin (db)', true],
    ['app in (web,db),tier=front', true],
    ['app=web,tier=back', false],
    ['acme.com/x=', true],
    ['toString', false],
    ['app=web,', undefined],
    ['app in web', undefined],
    ['app=w b', undefined],
    ['=web', undefined],
    [`app=${'a'.repeat(2000)}`, undefined],
    [Array.from({ length: 65 }, () => 'a').join(','), undefined],
  ];
  for (const [text, expected] of cases) assert.equal(parseSelector(text)?.(labels), expected, text);
});

const request = (path: string): string => {
  try {
    const url = new URL(`https://localhost/apis/metrics.smi-spec.io/v1alpha1${path}`);
    const {
      verb,
      resource,
      subresource = '',
      namespace,
      name = '',
    } = attributesOf(parseMetricsRequest(url.pathname, url.searchParams));
    return [verb, [resource, subresource].filter(Boolean).join('/'), `in:${namespace}`, name]
      .join(' ')
      .trim();
  } catch (error) {
    assert.ok(error instanceof StatusError, String(error));
    return String(error.code);
  }
};

test('a path asks for the right that the API server itself asks for', () => {
  const cases: [string, string][] = [
    ['/pods', 'list pods in:'],
    ['/namespaces/shop/pods', 'list pods in:shop'],
    ['/namespaces/shop/pods/', 'list pods in:shop'],
    ['/namespaces/shop/pods/web', 'get pods in:shop web'],
    ['/namespaces/shop/pods/web/edges', 'get pods/edges in:shop web'],
    ['/namespaces', 'list namespaces in:'],
    ['/namespaces/shop', 'get namespaces in:shop shop'],
    ['/namespaces/shop/edges', 'get namespaces/edges in:shop shop'],
    ['/namespaces/namespaces/pods', 'list pods in:namespaces'],
    ['/nodes', 'list nodes in:'],
    ['/nodes/n1/edges', 'get nodes/edges in: n1'],
    ['/namespaces/shop/nodes', '404'],
    ['/namespaces/shop/namespaces', '404'],
    ['/pods/web', '404'],
    ['/namespaces/shop/pods/web/status', '404'],
    ['/namespaces/shop/pods/web/edges/x', '404'],
    ['/namespaces/shop/trafficsplits/a/edges', '404'],
    ['/namespaces/Shop/pods', '404'],
    ['/namespaces/sh%2fop/pods', '404'],
    ['/namespaces//pods', '404'],
    ['/constructor', '404'],
    ['/', '404'],
  ];
  for (const [path, expected] of cases) assert.equal(request(path), expected, path);
});

test('no path, selector or setting throws past its parser', () => {
  const bytes = (...texts: readonly string[]): readonly Buffer[] => texts.map((text) => Buffer.from(text));
  fuzz(
    bytes('/namespaces/shop/pods/web/edges?labelSelector=a%20in%20(b,c)&limit=5&continue=e30', '/nodes'),
    (some) => {
      const [path = '', query = ''] = Buffer.from(some).toString('latin1').split('?');
      try {
        parseMetricsRequest(`/apis/metrics.smi-spec.io/v1alpha1${path}`, new URLSearchParams(query));
      } catch (error) {
        assert.ok(error instanceof StatusError);
      }
    },
  );
  fuzz(bytes('["a"]', ca), (some) => {
    const text = Buffer.from(some).toString('latin1');
    for (const key of Object.keys(data)) readFrontProxy({ ...data, [key]: text });
  });
});
