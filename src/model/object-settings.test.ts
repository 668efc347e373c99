import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isStrict, meshModeOf, portList, settingProblems } from './object-settings.js';

test('an unknown mode is treated as strict', () => {
  for (const value of ['strict', 'Strict', 'STRICT', 'on', ''])
    assert.equal(isStrict({ 'weft.dev/mode': value }), true);
  for (const labels of [{}, { 'weft.dev/mode': 'permissive' }]) assert.equal(isStrict(labels), false);
});

test('an unknown value of the mesh label is ignored', () => {
  assert.equal(meshModeOf({ 'weft.dev/mesh': 'true' }), undefined);
  assert.equal(meshModeOf({ 'weft.dev/mesh': 'true', 'istio.io/dataplane-mode': 'ambient' }), 'enabled');
  assert.equal(meshModeOf({ 'weft.dev/mesh': 'disabled', 'istio.io/dataplane-mode': 'ambient' }), 'disabled');
});

test('an invalid value is reported with the expected values and what applies in its place', () => {
  const labels = (key: string, value: string): string[] =>
    settingProblems({ labels: { [`weft.dev/${key}`]: value } }).map(({ message }) => message);
  const messages = (key: string, value: string): string[] =>
    settingProblems({ annotations: { [`weft.dev/${key}`]: value } }).map(({ message }) => message);
  assert.match(
    labels('mesh', 'true')[0] ?? '',
    /weft\.dev\/mesh: "true" is unknown: expected enabled or disabled; the label is ignored/,
  );
  assert.match(labels('mode', 'Strict')[0] ?? '', /treated as strict/);
  for (const key of ['exclude-outbound-ports', 'exclude-inbound-ports', 'splice-off-ports'])
    assert.match(messages(key, '80, http,70000, 1e3')[0] ?? '', /"http", "70000", "1e3" is unknown/);
  assert.match(messages('exclude-outbound-cidrs', '10.0.0.0/8,10.0.0.0/99')[0] ?? '', /"10\.0\.0\.0\/99"/);
  assert.match(messages('same-node', 'tls')[0] ?? '', /treated as encrypted/);
  assert.match(messages('splice', 'true')[0] ?? '', /treated as off/);
  for (const weight of ['0', '1001', '1.5', '-1', '01', 'many'])
    assert.match(messages('weight', weight)[0] ?? '', /from 1 to 1000; treated as 1/);
  assert.match(
    messages('first-enrollment', 'later')[0] ?? '',
    /expected available or closed; treated as closed/,
  );
  for (const [key, value] of [
    ['exclude-outbound-ports', ' 80 , 443,'],
    ['exclude-outbound-cidrs', '10.0.0.0/8, fd00::/8 ,192.0.2.1'],
    ['same-node', 'kernel'],
    ['weight', '1000'],
  ] as const)
    assert.deepEqual(messages(key, value), []);
  assert.deepEqual(labels('mesh', 'enabled'), []);
  assert.deepEqual(portList('80, http, 1e3'), [80]);
});

test('an unknown or misplaced key of Weft is reported', () => {
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
  assert.match(found[1]?.message ?? '', /it is an annotation, not a label; it has no effect/);
  assert.match(
    found[2]?.message ?? '',
    /annotation weft\.dev\/mode is unknown: it is a label, not an annotation/,
  );
});
