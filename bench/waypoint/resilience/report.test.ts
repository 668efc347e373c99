import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sample } from '../../harness/statistics.js';
import { cost, keyed } from './cost.js';
import { flood } from './flood.js';
import { reaction } from './reaction.js';
import { printResilience, resilienceReportOf } from './report.js';

const options = { rounds: 2, seconds: 1, longSeconds: 1, nodeFlags: [] };
const sample = (path: string, variant: string, round: number, values: Sample['values']): Sample => ({
  path,
  variant,
  round,
  values,
});
const stateOf = (samples: readonly Sample[], what: RegExp): string | undefined =>
  resilienceReportOf(options, samples, { version: '1' }).goals.find((goal) => what.test(goal.what))?.state;

test('a feature’s cost is a ratio of two processes of one proxy within a round', () => {
  const samples = [0, 1].flatMap((round) => [
    sample(cost.name, 'weft', round, { cpu16: 100 * (round + 1) }),
    sample(cost.name, 'weft-again', round, { cpu16: 101 * (round + 1) }),
    sample(cost.name, 'weft-all', round, { cpu16: 104 * (round + 1) }),
    sample(cost.name, 'envoy', round, { cpu16: 200 * (round + 1) }),
    sample(cost.name, 'envoy-all', round, { cpu16: 250 * (round + 1) }),
    sample(keyed.name, 'weft-1', round, { cpu16: 100 }),
    sample(keyed.name, 'weft-10000', round, { cpu16: 130 }),
  ]);
  const report = resilienceReportOf(options, samples, { version: '1' });
  assert.equal(report.ratios['resilience.cpu16.weft-all'], 1.04);
  assert.equal(report.ratios['resilience.cpu16.weft-again'], 1.01);
  assert.equal(report.ratios['resilience.cpu16.envoy-all'], 1.25);
  assert.equal(stateOf(samples, /all features on/), 'reached');
  assert.equal(stateOf(samples, /10000 rate limit keys/), 'not reached');
  assert.match(printResilience(report), /all features on \/ off, CPU per request +1\.25 x/);
});

test('the median decides about what single rounds measure too coarsely; what was not measured says so', () => {
  const rounds = [1.2, 1.8, 2.6].map((ratio, round) => sample(flood.name, 'weft-fair', round, { ratio }));
  assert.equal(stateOf(rounds, /999 clients/), 'reached');
  assert.equal(stateOf(rounds, /all features on/), 'not measured');
});

test('one request past a full Service is one too many', () => {
  assert.equal(stateOf([sample(reaction.name, 'weft', 0, { past: 0 })], /past a full/), 'reached');
  assert.equal(stateOf([sample(reaction.name, 'weft', 0, { past: 1 })], /past a full/), 'not reached');
});

test('without Envoy and on a disturbed machine it says both', () => {
  const samples = [sample(cost.name, 'weft', 0, { cpu16: 1, others16: 0.5 })];
  const text = printResilience(resilienceReportOf(options, samples, { missing: 'no Envoy here' }));
  assert.match(text, /no Envoy here/);
  assert.match(text, /DISTURBED: other programs took 50 %/);
});
