import assert from 'node:assert/strict';
import { test } from 'node:test';
import { id } from '../../../test/support/mesh.js';
import { FairLimit } from '../../base/fair-limit.js';
import { parseIp } from '../../model/address.js';
import { clientOf } from '../listener/client.js';
import { MirrorBuffer, mirrorBlockBytes } from './mirror-buffer.js';

const client = (name: string) => clientOf(id(name), { ip: parseIp('10.0.0.1'), port: 1 });
const piece = (bytes: number) => Buffer.alloc(bytes, 'x');

test('buffered bytes are drained in order and completely, and their shares are released', () => {
  const shares = new FairLimit(64);
  const buffer = new MirrorBuffer(1 << 20, shares, client('web'));
  const pieces = Array.from({ length: 10 }, (_, i) => Buffer.from(`${i}`.repeat(40 << 10)));
  for (const one of pieces) assert.ok(buffer.add(one));
  assert.equal(shares.size, Math.ceil((400 << 10) / mirrorBlockBytes));
  const got: Buffer[] = [];
  buffer.drain((bytes) => got.push(bytes) < 3);
  assert.equal(got.length, 3);
  assert.equal(shares.size, Math.ceil((280 << 10) / mirrorBlockBytes));
  assert.ok(!buffer.isEmpty);
  buffer.drain((bytes) => got.push(bytes) > 0);
  assert.ok(Buffer.concat(got).equals(Buffer.concat(pieces)));
  assert.ok(buffer.isEmpty);
  assert.equal(shares.size, 0);
});

test('no mirror exceeds its limit, no client its share, and refused bytes take no share', () => {
  const shares = new FairLimit(16);
  const one = new MirrorBuffer(100_000, shares, client('web'));
  assert.ok(one.add(piece(100_000)));
  assert.ok(!one.add(piece(1)));
  assert.equal(shares.size, 2);
  const others = Array.from({ length: 20 }, () => new MirrorBuffer(1 << 20, shares, client('web')));
  const taken = others.filter((other) => other.add(piece(mirrorBlockBytes)));
  assert.equal(shares.size, 2 + taken.length);
  assert.equal(shares.size, 8, 'half of the limit');
  // A piece that needs more blocks than are left releases those that it took.
  assert.ok(!new MirrorBuffer(1 << 20, shares, client('batch')).add(piece(20 * mirrorBlockBytes)));
  assert.equal(shares.size, 8);
  const another = new MirrorBuffer(1 << 20, shares, client('batch'));
  assert.ok(another.add(piece(mirrorBlockBytes)), 'other clients have their shares');
  for (const each of [one, another, ...others]) each.clear();
  assert.equal(shares.size, 0);
});
