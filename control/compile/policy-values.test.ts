import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cidrContains, parseCidr, parseIp } from '../../src/model/address.js';
import { parseManifests } from '../source/parse.js';
import { headerMatch, hostMatch, identityMatch, namespaceMatch, serverNameMatch } from './policy-values.js';

const exact = (value: string) => ({ kind: 'exact', value });

test('identities: the scheme is optional and the trust domain is lower-cased; values that no SPIFFE ID has are refused', () => {
  const of = (text: string) => identityMatch('identities', text);
  const web = exact('cluster.local/ns/shop/sa/web');
  for (const text of [
    'spiffe://cluster.local/ns/shop/sa/web',
    'SPIFFE://Cluster.Local/ns/shop/sa/web',
    'cluster.local/ns/shop/sa/web',
  ])
    assert.deepEqual(of(text), web, text);
  assert.deepEqual(of('spiffe://Cluster.local/ns/shop/*'), {
    kind: 'prefix',
    value: 'cluster.local/ns/shop/',
  });
  assert.deepEqual(of('*/sa/Web'), { kind: 'suffix', value: '/sa/Web' });
  assert.deepEqual(of('spiffe://*'), { kind: 'presence' });
  for (const text of [
    'cluster.local',
    'cluster.local/',
    'cluster.local/ns//sa/x',
    'http://a/b',
    'a b/*',
    '*//x',
    'a%2fb/*',
  ])
    assert.throws(() => of(text), /identities: /, text);
});

test('namespaces: names that no namespace can have are refused', () => {
  const of = (text: string) => namespaceMatch('namespaces', text);
  assert.deepEqual(of('shop'), exact('shop'));
  assert.deepEqual(of('team-*'), { kind: 'prefix', value: 'team-' });
  for (const text of ['Shop', 'a.b', 'spiffe://shop', 'shop/', 'Team-*', '*_x'])
    assert.throws(() => of(text), /namespaces: .*no namespace/, text);
});

test('hosts: compared without case and final dot, in punycode as clients send them, IPv6 addresses in one form', () => {
  const of = (text: string) => hostMatch('hosts', text);
  assert.deepEqual(of('API.Test.'), exact('api.test'));
  assert.deepEqual(of('Bücher.example'), exact('xn--bcher-kva.example'));
  assert.deepEqual(of('*.bücher.example.'), { kind: 'suffix', value: '.xn--bcher-kva.example' });
  assert.deepEqual(of('API.*'), { kind: 'prefix', value: 'api.' });
  assert.deepEqual(of('[0:0::1]'), exact('[::1]'));
  for (const text of ['a:80', '[::1]:80', '::1', 'a b', 'a/b', 'http://a', 'a%62', '.', 'bü*', '[::g]'])
    assert.throws(() => of(text), /hosts: /, text);
});

test('server names: those of hosts, without addresses and what no ClientHello has', () => {
  const of = (text: string) => serverNameMatch('sni', text);
  assert.deepEqual(of('API.Test.'), exact('api.test'));
  assert.deepEqual(of('*.Example.com'), { kind: 'suffix', value: '.example.com' });
  assert.deepEqual(of('api.*'), { kind: 'prefix', value: 'api.' });
  assert.deepEqual(of('*'), { kind: 'presence' });
  assert.deepEqual(of('bücher.example'), exact('xn--bcher-kva.example'));
  for (const text of ['10.0.0.1', '[fd00::1]', 'a:443', 'a b', "a'b", 'a*b', '*a*', '.'])
    assert.throws(() => of(text), /sni: /, text);
});

test('header values: compared byte by byte, without surrounding whitespace', () => {
  const of = (text: string, name = 'x') => headerMatch('headers', name, text);
  assert.deepEqual(of('a b'), exact('a b'));
  assert.deepEqual(of('é'), exact('\xc3\xa9'));
  assert.deepEqual(of('API.Test.', 'host'), exact('api.test'));
  for (const text of [' a', 'a ', ' a*', '*a ', 'a\nb']) assert.throws(() => of(text), /headers: /, text);
});

test('a value with a wildcard at both ends or inside is refused: the asterisk would be compared literally', () => {
  for (const text of ['*a*', '**', 'a*b', '*a*b']) {
    assert.throws(() => hostMatch('hosts', text), /one end/, text);
    assert.throws(() => headerMatch('headers', 'x', text), /one end/, text);
    assert.throws(() => identityMatch('identities', text), /one end/, text);
    assert.throws(() => namespaceMatch('namespaces', text), /one end/, text);
  }
});

test('a CIDR whose address has further bits means the whole block', () => {
  const block = parseCidr('10.0.0.5/8');
  assert.equal(cidrContains(block, parseIp('10.200.0.1')), true);
  assert.equal(cidrContains(block, parseIp('11.0.0.5')), false);
});

test('a value that no connection or request can have is refused with its field', () => {
  const refusal = (rule: string): string => {
    const text = `apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: p, namespace: shop }
spec: { action: DENY, rules: [${rule}] }`;
    return parseManifests('x', text).errors[0]?.message ?? 'accepted';
  };
  assert.match(refusal('{ from: [{ identities: [web] }] }'), /identities: "web": .*no path/);
  assert.match(refusal('{ from: [{ notNamespaces: [Shop] }] }'), /notNamespaces: "Shop"/);
  assert.match(refusal('{ from: [{ serviceAccounts: [a.b/x] }] }'), /serviceAccounts: "a.b"/);
  assert.match(
    refusal('{ to: [{ notSni: [10.0.0.1] }] }'),
    /notSni: "10.0.0.1": no ClientHello names an address/,
  );
  assert.match(refusal("{ to: [{ notHosts: ['a/b'] }] }"), /notHosts: "a\/b"/);
  assert.match(refusal("{ to: [{ headers: [{ name: x, values: [' a'] }] }] }"), /headers: " a"/);
  assert.match(refusal("{ from: [{ notCidrs: ['::ffff:10.0.0.0/104'] }] }"), /notCidrs: .*not a CIDR block/);
  assert.match(refusal("{ to: [{ ports: ['80'] }] }"), /integer/);
});
