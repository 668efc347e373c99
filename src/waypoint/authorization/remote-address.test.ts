import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../model/address.js';
import { remoteAddress } from './remote-address.js';

const peer = parseIp('10.0.0.9');
const through = (trusted: number, ...sent: string[]): string | undefined =>
  remoteAddress(['x-forwarded-for', [...sent, peer].join(', ')], peer, trusted);

test('as many proxies are passed over as are trusted, from the waypoint outward', () => {
  assert.equal(through(0, '192.0.2.1'), peer);
  assert.equal(through(1, '198.51.100.7', '192.0.2.1'), '192.0.2.1');
  assert.equal(through(2, '198.51.100.7', '192.0.2.1'), '198.51.100.7');
  assert.equal(through(1, '192.0.2.1:4711'), '192.0.2.1');
  assert.equal(through(1, '2001:DB8::1'), '2001:db8::1');
  assert.equal(through(1, '[2001:db8::1]:80'), '2001:db8::1');
});

test('without a proxy ahead the client is the waypoint’s own; a list that is too short or no address is unknown', () => {
  assert.equal(through(2), peer);
  assert.equal(through(2, '192.0.2.1'), undefined);
  for (const text of ['', 'unknown', '_hidden', '10.0.0', '10.0.0.1.2', '[x]', 'a:1'])
    assert.equal(through(1, text), undefined, text);
  assert.equal(remoteAddress(['x-forwarded-for', ',10.0.0.9'], peer, 1), undefined);
});
