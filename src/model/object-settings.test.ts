import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isStrict, meshModeOf, portList, settingProblems } from './object-settings.js';

test('a mode that nobody knows is strict', () => {
  for (const value of ['strict', 'Strict', 'STRICT', 'on', ''])
    assert.equal(isStrict({ 'weft.dev/mode': value }), true);
  for (const labels of [{}, { 'weft.dev/mode': 'permissive' }]) assert.equal(isStrict(labels), false);
});

test('a word about the mesh that nobody knows is as if it were not there', () => {
  assert.equal(meshModeOf({ 'weft.dev/mesh': 'true' }), undefined);
  assert.equal(meshModeOf({ 'weft.dev/mesh': 'true', 'istio.io/dataplane-mode': 'ambient' }), 'enabled');
  assert.equal(meshModeOf({ 'weft.dev/mesh': 'disabled', 'istio.io/dataplane-mode': 'ambient' }), 'disabled');
});

test('what cannot be read is named, with what is expected and what stands in its place', () => {
  const labels = (key: string, value: string): string[] =>
    settingProblems({ labels: { [`weft.dev/${key}`]: value } }).map(({ message }) => message);
  const messages = (key: string, value: string): string[] =>
    settingProblems({ annotations: { [`weft.dev/${key}`]: value } }).map(({ message }) => message);
  assert.match(
    labels('mesh', 'true')[0] ?? '',
    /weft\.dev\/mesh: "true" is unknown: it is enabled or disabled; .*not there/,
  );
  assert.match(labels('mode', 'Strict')[0] ?? '', /it is taken for strict/);
  for (const key of ['exclude-outbound-ports', 'exclude-inbound-ports', 'splice-off-ports'])
    assert.match(messages(key, '80, http,70000, 1e3')[0] ?? '', /"http", "70000", "1e3" is unknown/);
  assert.match(messages('exclude-outbound-cidrs', '10.0.0.0/8,10.0.0.0/99')[0] ?? '', /"10\.0\.0\.0\/99"/);
  assert.match(messages('same-node', 'tls')[0] ?? '', /taken for encrypted/);
  assert.match(messages('splice', 'true')[0] ?? '', /taken for off/);
  assert.match(
    messages('first-enrollment', 'later')[0] ?? '',
    /it is available or closed; it is taken for closed/,
  );
  for (const [key, value] of [
    ['exclude-outbound-ports', ' 80 , 443,'],
    ['exclude-outbound-cidrs', '10.0.0.0/8, fd00::/8 ,192.0.2.1'],
    ['same-node', 'kernel'],
  ] as const)
    assert.deepEqual(messages(key, value), []);
  assert.deepEqual(labels('mesh', 'enabled'), []);
  assert.deepEqual(portList('80, http, 1e3'), [80]);
});

test('a key of Weft that nobody knows, or that stands in the wrong place, is named', () => {
  const found = settingProblems({
    labels: {
      app: 'a',
      'weft.dev/mod': 'strict',
      'weft.dev/exclude-inbound-ports': '80',
      'weft.dev/waypoint': 'w',
      'weft.dev/export': 'enabled',
    },
    annotations: { 'weft.dev/mode': 'strict', 'weft.dev/netns': 'weft-a', 'example.com/mode': 'x' },
  });
  assert.deepEqual(
    found.map(({ key }) => key),
    ['weft.dev/mod', 'weft.dev/exclude-inbound-ports', 'weft.dev/mode'],
  );
  assert.match(
    found[0]?.message ?? '',
    /label weft\.dev\/mod is unknown: Weft has the labels weft\.dev\/mesh, /,
  );
  assert.match(found[1]?.message ?? '', /it is one of the annotations; it has no effect/);
  assert.match(found[2]?.message ?? '', /annotation weft\.dev\/mode is unknown: it is one of the labels/);
});
