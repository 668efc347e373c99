import assert from 'node:assert/strict';
import { test } from 'node:test';
import { certificateOf, certificateText } from './certificates.js';

const wanted = { node: 'node-a', identity: 'spiffe://cluster.local/ns/shop/sa/web' };
const nowMs = Date.parse('2026-01-01T00:00:00Z');
const textOf = (one: object | undefined): string =>
  certificateText(
    certificateOf(
      JSON.stringify(one === undefined ? [] : [{ id: 'spiffe://x' }, { id: wanted.identity, ...one }]),
      wanted,
    ),
    nowMs,
  );

test('a certificate is shown with the time that is left, and what is wrong with it', () => {
  assert.match(
    textOf({ serial: '1', notAfter: '2026-01-01T23:30:00Z' }),
    /valid for 23 h, until 2026-01-01T23:30:00Z$/,
  );
  assert.match(textOf({ serial: '1', notAfter: '2026-01-01T00:05:00Z' }), /valid for 5 min/);
  assert.match(
    textOf({ serial: '1', notAfter: '2025-12-31T00:00:00Z', error: 'refused' }),
    /EXPIRED at .* \(refused\)$/,
  );
  assert.match(
    textOf({ error: 'the control plane is away' }),
    /no certificate \(the control plane is away\)$/,
  );
  assert.match(textOf(undefined), /no certificate \(the agent has not requested one\)$/);
});
