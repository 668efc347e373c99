import assert from 'node:assert/strict';
import { test } from 'node:test';
import { issuerOf, newKey } from '../../../test/support/jwt-issuer.js';
import { fieldsNotInHttp2, framingFields, hopByHopFields } from '../http/restricted-fields.js';
import { compileIssuer } from './issuer.js';

test('no field that frames a message or belongs to a connection can be set from a token', () => {
  const key = newKey('ES256');
  assert.deepEqual(compileIssuer(issuerOf(key, { payloadHeader: 'X-Payload' })).headerNames, ['x-payload']);
  for (const name of [...framingFields, ...hopByHopFields, ...fieldsNotInHttp2])
    assert.throws(() => compileIssuer(issuerOf(key, { payloadHeader: name })), /cannot be copied/, name);
});
