/** What errors of commands say that read the objects of a testbed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testbedManifests } from './meshes.js';

test('without a testbed the error names the option for manifests only of a command that has one', () => {
  const state = '/nonexistent/weft';
  assert.throws(() => testbedManifests(state, '--file'), {
    code: 'WEFT_SOURCE',
    message: /no testbed at \/nonexistent\/weft: pass --file FILES for manifests, --state DIR for another/,
  });
  assert.throws(() => testbedManifests(state), {
    code: 'WEFT_SOURCE',
    message: /no testbed at \/nonexistent\/weft: pass --state DIR for another testbed, or --kubernetes/,
  });
});
