import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp, type Port } from '../../src/model/address.js';
import type { Sample } from '../harness/statistics.js';
import { printSecured, securedReportOf } from './secured-report.js';
import { parseCapture, secureLeg, suiteOf } from './wire.js';

const options = { rounds: 2, seconds: 1, longSeconds: 1, nodeFlags: [] };
const sample = (variant: string, round: number, values: Sample['values']): Sample => ({
  path: 'secured',
  variant,
  round,
  values,
});
const proofs = { weft: 'in TLS_AES_256_GCM_SHA384' };

test('Weft is held against both of Envoy, each by pairs within rounds', () => {
  const samples = [0, 1].flatMap((round) => [
    sample('envoy-tls', round, { cpu16: 100 * (round + 1) }),
    sample('envoy-hbone', round, { cpu16: 200 * (round + 1) }),
    sample('weft', round, { cpu16: 50 * (round + 1) }),
  ]);
  const report = securedReportOf(options, samples, {}, 7, { version: '1' }, proofs);
  assert.equal(report.ratios['envoy-tls.cpu16'], 0.5);
  assert.equal(report.ratios['envoy-hbone.cpu16'], 0.25);
  assert.match(printSecured(report), /seen on the wire of Weft, HBONE: in TLS_AES_256_GCM_SHA384/);
});

test('requests a second are not given where CPU 0 was full', () => {
  const samples = [
    sample('envoy-tls', 0, { requests16: 10, load16: 0.5, requests64: 10, load64: 0.5 }),
    sample('weft', 0, { requests16: 20, load16: 0.95, requests64: 20, load64: 0.5 }),
  ];
  const report = securedReportOf(options, samples, {}, 7, { version: '1' }, proofs);
  assert.equal(report.ratios['envoy-tls.requests16'], undefined);
  assert.equal(report.ratios['envoy-tls.requests64'], 2);
  assert.match(printSecured(report), /requests, 16 connections .*CPU 0 full/);
});

test('without Envoy and on a disturbed machine it says both', () => {
  const samples = [sample('weft', 0, { cpu1: 10, others1: 0.3 })];
  const text = printSecured(securedReportOf(options, samples, {}, 7, { missing: 'no Envoy' }, proofs));
  assert.match(text, /no Envoy/);
  assert.match(text, /1 connections +us +missing +missing +10\.0/);
  assert.match(text, /DISTURBED: other programs took up to 30 %/);
});

/** A capture file of such packets: from port, to port, payload. */
function captureOf(packets: readonly (readonly [number, number, Buffer])[]): Buffer {
  const frames = packets.flatMap(([from, to, payload]) => {
    const frame = Buffer.alloc(14 + 20 + 20 + payload.length);
    frame.writeUInt16BE(0x0800, 12);
    frame[14] = 0x45;
    frame.writeUInt16BE(40 + payload.length, 16);
    frame[23] = 6;
    frame.set([127, 0, 0, 1, 127, 0, 0, 2], 26);
    frame.writeUInt16BE(from, 34);
    frame.writeUInt16BE(to, 36);
    frame[46] = 5 << 4;
    payload.copy(frame, 54);
    const record = Buffer.alloc(16);
    record.writeUInt32LE(frame.length, 8);
    return [record, frame];
  });
  return Buffer.concat([Buffer.alloc(24), ...frames]);
}

function serverHello(suite: number): Buffer {
  const bytes = Buffer.alloc(44 + 32 + 2 + 1);
  bytes.set([22, 3, 3, 0, 74, 2, 0, 0, 70, 3, 3]);
  bytes[43] = 32;
  bytes.writeUInt16BE(suite, 76);
  return bytes;
}

const leg = { name: 'in', at: [{ ip: parseIp('127.0.0.1'), port: 443 as Port }] };

test('a capture is read by connection and direction, and a suite from its beginning', () => {
  const flows = parseCapture(
    captureOf([
      [443, 9, serverHello(0x1302)],
      [9, 443, Buffer.from('ab')],
      [443, 9, Buffer.from('more')],
      [9, 443, Buffer.from('c')],
    ]),
  );
  assert.deepEqual([...flows.keys()], ['127.0.0.1:443 127.0.0.2:9', '127.0.0.1:9 127.0.0.2:443']);
  assert.equal(flows.get('127.0.0.1:9 127.0.0.2:443')?.toString(), 'abc');
  assert.deepEqual(secureLeg('it', leg, flows, 'marker'), ['TLS_AES_256_GCM_SHA384']);
});

test('a leg that can be read, is not TLS 1.3 or is silent is no secured one', () => {
  const check = (...payloads: Buffer[]): string[] =>
    secureLeg('it', leg, parseCapture(captureOf(payloads.map((bytes) => [443, 9, bytes]))), 'marker');
  const refused = { code: 'WEFT_BENCH_NOT_SECURED' };
  assert.throws(() => check(serverHello(0x1301), Buffer.from('GET /marker')), refused);
  assert.throws(() => check(serverHello(0xc02f)), refused);
  assert.throws(() => check(Buffer.from('something else that is long enough to be one')), refused);
  assert.throws(() => check(), refused);
  assert.equal(suiteOf(serverHello(0x1301)), 'TLS_AES_128_GCM_SHA256');
  assert.equal(suiteOf(Buffer.from([22, 3, 3, 0, 1, 2])), undefined);
});
