import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import ipaddr from 'ipaddr.js';
import { ipFromBytes, ipTo16, ipToBytes, parseIp } from './address.js';

const texts = [
  '10.0.0.1',
  '255.255.255.255',
  '0.0.0.0',
  '::ffff:10.0.0.1',
  '::FFFF:10.0.0.1',
  '::ffff:a00:1',
  '::',
  '::1',
  'fd00:244:1::10',
  'FD00:0:0:0::1',
  '1:2:3:4:5:6:7:8',
];

test('an address has one canonical text, however it was written', () => {
  for (const text of texts) assert.equal(parseIp(text), ipaddr.process(text).toString(), text);
});

test('bytes and text give the same address, also for IPv4 in IPv6 form', () => {
  const all = texts.map(parseIp);
  for (let i = 0; i < 200; i++) all.push(ipFromBytes(randomBytes(i % 2 === 0 ? 4 : 16)));
  for (const ip of all) {
    assert.equal(parseIp(ip), ip);
    assert.equal(ipFromBytes(ipToBytes(ip)), ip);
    assert.equal(ipFromBytes(ipTo16(ip)), ip);
    assert.equal(ipTo16(ip).length, 16);
  }
});

test('text that is not an address is refused', () => {
  for (const text of [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '01.2.3.4',
    '1.2.3.4 ',
    'fe80::1%eth0',
    '::ffff:1.2.3',
    '::ffff:256.1.1.1',
    'x',
    ':',
    '1::2::3',
  ])
    assert.throws(() => parseIp(text), { code: 'WEFT_ADDRESS_INVALID' }, text);
  for (const length of [0, 3, 5, 15, 17])
    assert.throws(() => ipFromBytes(new Uint8Array(length)), { code: 'WEFT_ADDRESS_INVALID' });
});
