import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzz } from '../../../test/support/fuzz.js';
import type { Change } from '../../model/change.js';
import { Change as ChangeMessage } from '../gen/weft.js';
import { decodeChange, encodeChange } from './change.js';

const change: Change = {
  kind: 'AccessPolicy',
  namespace: 'shop',
  name: 'only-web',
  operation: 'updated',
  timeMs: 1_000,
  resources: 2,
  by: 'kubectl',
  version: '7',
  receivers: [
    { name: 'n1', acknowledgedMs: 1_010 },
    { name: 'n2' },
    { name: 'n3', refused: 'not understood' },
  ],
  omitted: { acknowledged: 1, waiting: 2 },
};
const deletion: Change = {
  kind: 'Namespace',
  namespace: '',
  name: 'shop',
  operation: 'deleted',
  timeMs: 1_000,
  resources: 0,
  receivers: [],
};
const bytesOf = (one: Change): Uint8Array => ChangeMessage.encode(encodeChange(one)).finish();

test('a change is the same after it was sent to another replica', () => {
  for (const one of [change, deletion])
    assert.deepEqual(decodeChange(ChangeMessage.decode(bytesOf(one))), one);
});

test('a change of another form is left out', () => {
  const message = encodeChange(change);
  for (const other of [
    { ...message, operationKind: 'renamed' },
    { ...message, name: '' },
    { ...message, name: 'x'.repeat(513) },
    { ...message, receivers: [{ name: '', acknowledgedMs: 0, refused: '' }] },
    { ...message, receivers: [{ name: 'n1', acknowledgedMs: 0, refused: 'x'.repeat(513) }] },
  ])
    assert.equal(decodeChange(other), undefined);
});

test('no message throws past the decoder', () => {
  fuzz([Buffer.from(bytesOf(change)), Buffer.from(bytesOf(deletion))], (some) => {
    let message: ChangeMessage;
    try {
      message = ChangeMessage.decode(some);
    } catch {
      // gRPC refuses what is no message.
      return;
    }
    decodeChange(message);
  });
});
