import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gatewayIdleKeys } from './idle-settings.js';
import { gatewayKeys, waypointFlags } from './waypoint-settings.js';

test('annotations of a Gateway become flags of its waypoint', () => {
  assert.deepEqual(waypointFlags(), { flags: [], problems: [] });
  for (const value of ['enabled', 'disabled'])
    assert.deepEqual(
      waypointFlags({ 'weft.dev/merge-slashes': value, 'weft.dev/stream-idle-timeout': '1h' }),
      { flags: ['--stream-idle-timeout-ms=3600000', `--merge-slashes=${value}`], problems: [] },
    );
  for (const key of gatewayIdleKeys) assert.ok(gatewayKeys.includes(key));
});

test('an unknown value is a problem and sets no flag', () => {
  for (const value of ['', 'true', 'Disabled', ' enabled', 'x'.repeat(100)]) {
    const { flags, problems } = waypointFlags({ 'weft.dev/merge-slashes': value });
    assert.deepEqual(flags, []);
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? '', /^annotation weft.dev\/merge-slashes: ".{0,64}" is unknown/);
  }
  assert.equal(
    waypointFlags({ 'weft.dev/merge-slashes': 'no', 'weft.dev/stream-idle-timeout': 'no' }).problems.length,
    2,
  );
});

test('a number of trusted proxies becomes a flag, and nothing else does', () => {
  assert.deepEqual(waypointFlags({ 'weft.dev/trusted-proxies': '2' }), {
    flags: ['--trusted-proxies=2'],
    problems: [],
  });
  for (const value of ['', '-1', '10', '1.0', 'all', '0x1'])
    assert.match(
      waypointFlags({ 'weft.dev/trusted-proxies': value }).problems[0] ?? '',
      /trusted-proxies: .* expected a number from 0 to 9/,
    );
});
