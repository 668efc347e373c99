import assert from 'node:assert/strict';
import { test } from 'node:test';
import { relayDefault } from './relay.js';

test('the environment variable chooses the relay; anything else is ignored', () => {
  assert.equal(relayDefault({ WEFT_RELAY: 'carrier' }), 'carrier');
  assert.equal(relayDefault({ WEFT_RELAY: 'typescript' }), 'typescript');
  for (const value of [undefined, '', 'Carrier', 'none'])
    assert.equal(relayDefault({ WEFT_RELAY: value }), 'carrier');
});
