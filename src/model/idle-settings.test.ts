import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gatewayIdleKeys, routeIdleKeys, routeIdleSettings, waypointIdleFlags } from './idle-settings.js';

test('annotations of a route set timeouts; invalid ones are problems', () => {
  assert.deepEqual(routeIdleSettings(undefined), { idleTimeouts: undefined, problems: [] });
  assert.deepEqual(routeIdleSettings({ 'weft.dev/stream-idle-timeout': '0s', other: 'x' }), {
    idleTimeouts: { streamIdleMs: 0 },
    problems: [],
  });
  const { idleTimeouts, problems } = routeIdleSettings({
    'weft.dev/stream-idle-timeout': '5 minutes',
    'weft.dev/request-body-idle-timeout': '2m',
  });
  assert.deepEqual(idleTimeouts, { bodyIdleMs: 120_000 });
  assert.equal(problems.length, 1);
  assert.match(problems[0] ?? '', /weft.dev\/stream-idle-timeout: "5 minutes" is no duration/);
  const tooLong = routeIdleSettings({ 'weft.dev/stream-idle-timeout': '577h' });
  assert.deepEqual([tooLong.idleTimeouts, tooLong.problems.length], [undefined, 1]);
});

test('annotations of a Gateway become flags of its waypoint', () => {
  assert.deepEqual(waypointIdleFlags({}), { flags: [], problems: [] });
  assert.deepEqual(
    waypointIdleFlags({
      'weft.dev/stream-idle-timeout': '1h',
      'weft.dev/request-head-timeout': '30s',
      'weft.dev/connection-idle-timeout': '0s',
    }).flags,
    ['--request-head-timeout-ms=30000', '--stream-idle-timeout-ms=3600000', '--connection-idle-timeout-ms=0'],
  );
  assert.equal(waypointIdleFlags({ 'weft.dev/request-head-timeout': 'x' }).problems.length, 1);
});

test('a Gateway may set every timeout that a route may set', () => {
  for (const key of routeIdleKeys) {
    assert.ok(gatewayIdleKeys.includes(key));
    assert.equal(waypointIdleFlags({ [key]: '1s' }).flags.length, 1);
    assert.ok(routeIdleSettings({ [key]: '1s' }).idleTimeouts);
  }
});
