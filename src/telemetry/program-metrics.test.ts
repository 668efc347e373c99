import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import { metricsText } from './exposition.js';
import { programMetrics } from './program-metrics.js';

test('alerts have the connection to the control plane and the first expiry; the version is for trusted clients only', async () => {
  const registry = new Registry();
  let isConnected = false;
  let certificates: readonly number[] = [];
  programMetrics(registry, { isConnected: () => isConnected, certificates: () => certificates });
  const first = await metricsText(registry, true);
  assert.match(first, /^weft_control_plane_connected 0$/m);
  assert.match(first, /^weft_build_info\{version="[^"]+"\} 1$/m);
  // Without a certificate nothing expires: a 0 would be an alert.
  assert.doesNotMatch(first, /^weft_certificate_expiry_seconds /m);
  isConnected = true;
  certificates = [9_000_000, 5_000_500, 7_000_000];
  const second = await metricsText(registry, false);
  assert.match(second, /^weft_control_plane_connected 1$/m);
  assert.match(second, /^weft_certificate_expiry_seconds 5000\.5$/m);
  assert.doesNotMatch(second, /version/);
});

test('the control plane has no connection to itself, and its certificates are those of the CA', async () => {
  const registry = new Registry();
  programMetrics(registry, { certificates: () => [1_000] }, 'weft_control_authority_expiry_seconds');
  const text = await metricsText(registry, true);
  assert.match(text, /^weft_control_authority_expiry_seconds 1$/m);
  assert.doesNotMatch(text, /weft_control_plane_connected|weft_certificate_expiry_seconds/);
});
