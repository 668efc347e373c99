import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GlobalLimits } from './global-limits.js';

test('a waypoint without the address of the rate limit service says so once, when a limit needs it', () => {
  const said: string[] = [];
  const limits = new GlobalLimits({
    own: undefined,
    ofMesh: () => assert.fail('no limit names a service'),
    onLimitReached: () => undefined,
    onService: (service, why) => said.push(`${service}: ${why}`),
  });
  limits.prepare([]);
  assert.deepEqual(said, []);
  const filter = { $case: 'globalRateLimit', value: {} } as unknown as Parameters<
    typeof limits.prepare
  >[0][0];
  limits.prepare([filter]);
  limits.prepare([filter]);
  assert.deepEqual(said, ['rate-limiter: this waypoint was started without --rate-limiter']);
  limits.close();
});
