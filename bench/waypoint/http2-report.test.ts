import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sample } from '../harness/statistics.js';
import { http2ReportOf, printHttp2, type Http2Wire } from './http2-report.js';
import { mergedReport } from './report.js';

const optionsOf = (
  wire: Http2Wire,
): { rounds: number; seconds: number; longSeconds: number; nodeFlags: string[]; wire: Http2Wire } => ({
  rounds: 2,
  seconds: 1,
  longSeconds: 1,
  nodeFlags: [],
  wire,
});
const sample = (path: string, variant: string, round: number, values: Sample['values']): Sample => ({
  path,
  variant,
  round,
  values,
});
const pair = (path: string, envoy: Sample['values'], weft: Sample['values']): Sample[] => [
  sample(path, 'envoy', 0, envoy),
  sample(path, 'weft', 0, weft),
];

test('goals of the parts that were measured, by pairs within rounds', () => {
  const samples = [
    ...pair('grpc', { cpu16: 100, p50: 50, residentAfter: 80 }, { cpu16: 80, p50: 60, residentAfter: 80 }),
    ...pair('streams', { perCore128: 1000 }, { perCore128: 1200 }),
  ];
  const report = http2ReportOf(optionsOf('plain'), samples, { grpc: 700 }, { version: '1' }, {});
  assert.equal(report.ratios['grpc.cpu16'], 0.8);
  const states = Object.fromEntries(report.goals.map(({ what, state }) => [what, state]));
  assert.equal(states['gRPC, unary: proxy CPU per request, 16 streams, Weft / Envoy'], 'reached');
  assert.equal(states['gRPC, unary: p50, half load, Weft / Envoy'], 'not reached');
  assert.equal(states['gRPC, unary: memory, after full load, Weft / Envoy'], 'reached');
  assert.equal(states['gRPC, unary: proxy CPU per request, 1 streams, Weft / Envoy'], 'not measured');
  assert.equal(
    states['gRPC, 16 calls in both directions: messages of 128 B per CPU second of the proxy, Weft / Envoy'],
    'reached',
  );
  assert.ok(!report.goals.some(({ what }) => what.startsWith('HTTP/2:')));
  assert.match(printHttp2(report), /gRPC, unary; half load: 700 requests a second/);
});

test('a rate that CPU 0 limited is not given, the CPU per request is', () => {
  const busy = { cpu16: 10, requests16: 100, load16: 0.99 };
  const report = http2ReportOf(optionsOf('hbone'), pair('http2', busy, busy), {}, { version: '1' }, {});
  assert.equal(report.ratios['http2.requests16'], undefined);
  assert.equal(report.ratios['http2.cpu16'], 1);
  assert.match(printHttp2(report), /requests, 16 streams +1\/s +CPU 0 full +CPU 0 full/);
});

test('without Envoy and on a disturbed machine it says both', () => {
  const samples = [sample('http2', 'weft', 0, { cpu1: 10, others1: 0.3 })];
  const report = http2ReportOf(optionsOf('plain'), samples, {}, { missing: 'no Envoy' }, {});
  const text = printHttp2(report);
  assert.match(text, /^no Envoy$/m);
  assert.match(text, /DISTURBED: other programs took 30 %/);
  assert.match(text, /1 streams +us +missing +10\.0/);
});

test('the file of a run has the figures and goals of all its reports', () => {
  const [one, two] = (['http2', 'grpc'] as const).map((part) =>
    http2ReportOf(
      optionsOf('plain'),
      pair(part, { cpu1: 2 }, { cpu1: 1 }),
      { [part]: 7 },
      { version: '1' },
      {},
    ),
  );
  assert.ok(one && two);
  const merged = mergedReport([one, two]);
  assert.deepEqual(merged.ratios, { 'http2.cpu1': 0.5, 'grpc.cpu1': 0.5 });
  assert.equal(merged.rounds.length, 4);
  assert.equal(merged.settings['http2PerSecond'], 7);
  assert.equal(merged.settings['grpcPerSecond'], 7);
  assert.equal((merged as typeof one).goals.length, one.goals.length + two.goals.length);
});
