import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readOpen, readSummary } from './fortio.js';

const beganNs = 1_795_269_899_840_000_000n;
const line = (thread: number, iter: number, sentUs: number, tookUs: number, ok = true): string =>
  `{"latency":${(tookUs / 1e6).toFixed(6)},"timestamp":${beganNs + BigInt(Math.round(sentUs * 1000))},"thread":${thread},"iter":${iter},"ok":${ok},"details":"200"}`;

/** 1 connection, 11 calls over a second: one is due every 100 ms. */
const plan = { perSecond: 11, connections: 1, seconds: 1 };

test('times a request from when it was sent where its connection was free', () => {
  const log = Array.from({ length: 11 }, (_, i) => line(0, i, i * 100_000 + (i % 2) * 900, 500)).join('\n');
  const result = readOpen(log, plan, 0);
  assert.ok('latenciesUs' in result);
  assert.deepEqual(result.latenciesUs, { p50: 500, p90: 500, p99: 500, p999: 500 });
});

test('charges what a slow answer held up with the time since it was due', () => {
  // The third takes 350 ms: the three that are due meanwhile are sent right after it.
  const sent = [
    0, 100_000, 200_000, 550_000, 551_000, 552_000, 600_000, 700_000, 800_000, 900_000, 1_000_000,
  ];
  const log = sent.map((at, i) => line(0, i, at, i === 2 ? 350_000 : 1000)).join('\n');
  const result = readOpen(log, plan, 0);
  assert.ok('latenciesUs' in result);
  // 350, 251, 152 and 53 ms; the other seven 1 ms.
  assert.ok(Math.abs(result.latenciesUs.p999 - 350_000) < 1);
  assert.ok(Math.abs(result.latenciesUs.p90 - 251_000) < 1);
  assert.equal(Math.round(result.latenciesUs.p50), 1000);
});

test('gives no latency where the rate was not reached, and says so', () => {
  const log = Array.from({ length: 8 }, (_, i) => line(0, i, i * 140_000, 139_000)).join('\n');
  const result = readOpen(log, plan, 0);
  assert.ok('short' in result);
  assert.match(result.short, /^8 of 11 /);
  assert.ok(!('latenciesUs' in result));
});

test('a rate that fortio cannot share out evenly is reached with the calls that it makes', () => {
  // 75 are asked for: 18 for each of 4 connections.
  const log = [0, 1, 2, 3]
    .flatMap((thread) => Array.from({ length: 18 }, (_, i) => line(thread, i, (i * 1_500_000) / 17, 500)))
    .join('\n');
  assert.ok('latenciesUs' in readOpen(log, { perSecond: 50, connections: 4, seconds: 1.5 }, 0));
});

test('refuses a run in which a request failed', () => {
  assert.throws(() => readOpen(line(0, 0, 0, 5, false), plan, 0), { code: 'WEFT_COMMAND' });
  assert.throws(() => readOpen('', plan, 0), { code: 'WEFT_COMMAND' });
  const printed = { DurationHistogram: { Count: 10 }, RetCodes: { 200: 9, 503: 1 }, ActualQPS: 5 };
  assert.throws(() => readSummary(printed), /1 of 10 requests failed/);
});

test('counts a rate as reached that all connections kept, though the last of them begins late', () => {
  // 4 connections with 3 calls each in a second: due every half second, each connection a little after the one before.
  const log = [0, 1, 2, 3]
    .flatMap((thread) => [0, 1, 2].map((iter) => line(thread, iter, thread * 83_000 + iter * 500_000, 1000)))
    .join('\n');
  const result = readOpen(log, { perSecond: 12, connections: 4, seconds: 1 }, 0);
  assert.ok('latenciesUs' in result, JSON.stringify(result));
});

test('leaves the warm-up out', () => {
  const log = Array.from({ length: 11 }, (_, i) => line(0, i, i * 100_000, i < 3 ? 90_000 : 500)).join('\n');
  const result = readOpen(log, plan, 0.3);
  assert.ok('latenciesUs' in result);
  assert.equal(result.latenciesUs.p999, 500);
});
