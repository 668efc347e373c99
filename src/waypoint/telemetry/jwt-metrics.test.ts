import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import { metricsJson } from '../../telemetry/exposition.js';
import { JwtTokens } from '../jwt/jwt-tokens.js';
import { registerJwtMetrics } from './jwt-metrics.js';

test('results of tokens are counted by policy and issuer in a bounded number, which only readers with a token see', async () => {
  const registry = new Registry();
  const tokens = new JwtTokens(() => undefined);
  registerJwtMetrics(registry, tokens);
  tokens.counts.of('p', 'i').set('valid', 2);
  tokens.counts.of('p', 'i').set('expired', 1);
  for (let i = 0; i < 5_000; i++) tokens.counts.of(`p${i}`, '').set('missing', 1);
  const text = await registry.metrics();
  assert.match(text, /^weft_waypoint_jwt_requests_total\{policy="p",issuer="i",result="valid"\} 2$/m);
  assert.match(
    text,
    /^weft_waypoint_jwt_requests_total\{policy="other",issuer="other",result="missing"\} 1$/m,
  );
  assert.ok(text.split('\n').length < 2_100);
  const shown = (await metricsJson(registry, false)) as { name: string }[];
  const names = shown.map(({ name }) => name);
  assert.ok(names.includes('weft_waypoint_jwt_cache_bytes'));
  assert.ok(!names.includes('weft_waypoint_jwt_requests_total'));
});
