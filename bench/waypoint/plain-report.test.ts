import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sample } from '../harness/statistics.js';
import { printWaypoint, reportOf } from './plain-report.js';
import { parseStrace } from './tools.js';

test('calls are read from the table of strace, with errors and without, and not its sum', () => {
  const text = [
    '% time     seconds  usecs/call     calls    errors syscall',
    '------ ----------- ----------- --------- --------- ----------------',
    ' 60.00    0.120000           3     40000           writev',
    ' 39.99    0.080000           2     40100       100 readv',
    '  0.01    0.000001           1         1           epoll_ctl',
    '------ ----------- ----------- --------- --------- ----------------',
    '100.00    0.200001           2     80101       100 total',
  ].join('\n');
  assert.deepEqual(parseStrace(text), { writev: 40000, readv: 40100, epoll_ctl: 1 });
});

const options = { rounds: 2, seconds: 1, longSeconds: 1, nodeFlags: [] };
const sample = (path: string, variant: string, round: number, values: Sample['values']): Sample => ({
  path,
  variant,
  round,
  values,
});

test('goals are evaluated by the median of paired rounds', () => {
  const samples = [0, 1].flatMap((round) => [
    sample('main', 'none', round, { requests16: 100, p50: 1 }),
    sample('main', 'envoy', round, { requests16: 10 * (round + 1), p50: 20 }),
    sample('main', 'weft', round, { requests16: 13 * (round + 1), p50: 25 }),
    sample('routes', 'weft', round, { requests16: 30 }),
    sample('routes', 'weft-routes', round, { requests16: 20 }),
  ]);
  const report = reportOf(options, samples, {}, 7, { version: '1' });
  assert.equal(report.ratios['main.requests16'], 1.3);
  assert.deepEqual(
    report.goals.map(({ state }) => state),
    ['not measured', 'reached', 'not measured', 'not reached', 'not measured', 'not reached'],
  );
  assert.match(printWaypoint(report), /5000 routes/);
});

test('a goal that some rounds miss is not simply reached, and a disturbed run says so', () => {
  const samples = [9, 13, 13].flatMap((perSecond, round) => [
    sample('main', 'envoy', round, { requests1: 10 }),
    sample('main', 'weft', round, { requests1: perSecond, others1: 0.3 }),
  ]);
  const report = reportOf(options, samples, {}, 7, { version: '1' });
  assert.equal(report.goals[0]?.state, 'by the median alone');
  assert.match(printWaypoint(report), /DISTURBED: other programs took 30 %/);
});

test('without Envoy its figures are said to be missing, and Weft is reported all the same', () => {
  const samples = [
    sample('main', 'none', 0, { requests16: 100 }),
    sample('main', 'weft', 0, { requests16: 12 }),
  ];
  const report = reportOf(options, samples, {}, 7, { missing: 'no Envoy to compare with: offline' });
  const text = printWaypoint(report);
  assert.match(text, /no Envoy to compare with: offline/);
  assert.match(text, /requests, 16 connections +1\/s +100 +missing .*12\.0/);
  assert.match(text, /not measured/);
});
