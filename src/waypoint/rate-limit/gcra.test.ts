import assert from 'node:assert/strict';
import { test } from 'node:test';
import { randomOf } from '../../../test/support/random.js';
import { ownRow } from './bucket-rows.js';
import { BucketTime, rateOf, waitNs, type Rate } from './gcra.js';

const bucket = () => {
  const { words, at } = ownRow();
  const time = new BucketTime(words, at);
  return {
    take: (nowNs: number, rate: Rate): number => time.take(() => nowNs, rate),
    time,
  };
};
const s = 1e9;
/** Some weeks after the machine's start. */
const start = 3e15;

/** A token bucket as textbooks have it, in whole nanoseconds and fractions of tokens. */
class Reference {
  #tokens: number;
  #atNs = start;
  constructor(
    private readonly requests: number,
    private readonly perMs: number,
    private readonly burst: number,
  ) {
    this.#tokens = burst;
  }
  /** Undefined: too close to a whole token to tell. */
  take(nowNs: number): boolean | undefined {
    const tokens = this.#tokens + ((nowNs - this.#atNs) * this.requests) / (this.perMs * 1e6);
    this.#tokens = Math.min(this.burst, tokens);
    this.#atNs = nowNs;
    if (Math.abs(this.#tokens - 1) < 0.01) return undefined;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
  taken(): void {
    this.#tokens--;
  }
}

test('a bucket allows what a token bucket allows', () => {
  for (let seed = 1; seed <= 200; seed++) {
    const below = randomOf(seed);
    const next = (): number => below(1_000_003) / 1_000_003;
    const whole = (from: number, to: number): number => from + Math.floor(next() * (to - from + 1));
    const [requests, perMs, burst] = [whole(1, 100), whole(1, 9) * 10 ** whole(2, 7), whole(1, 300)];
    const rate = rateOf(requests, perMs, burst);
    const subject = bucket();
    const reference = new Reference(requests, perMs, burst);
    let nowNs = start;
    for (let step = 0; step < 500; step++) {
      nowNs += Math.floor(next() ** 4 * rate.intervalNs * 4);
      const allowed = subject.take(nowNs, rate) === 0;
      const expected = reference.take(nowNs);
      if (expected === undefined) {
        if (allowed) reference.taken();
      } else assert.equal(allowed, expected, `seed ${seed}, step ${step}`);
    }
  }
});

test('a full bucket allows its burst at once, then one request for each interval', () => {
  for (const [requests, perMs, burst] of [
    [100, 1_000, 200],
    [3, 1_000, 1],
    [1, 3_600_000, 7],
    [1_000_000, 1_000, 1_000],
  ] as const) {
    const rate = rateOf(requests, perMs, burst);
    const one = bucket();
    for (let i = 0; i < burst; i++) assert.equal(one.take(start, rate), 0, `${requests} ${i}`);
    const wait = one.take(start, rate);
    assert.ok(wait > 0 && wait <= rate.intervalNs + 1, `${requests}: ${wait}`);
    assert.notEqual(one.take(start + wait - rate.slackNs - 2, rate), 0);
    assert.equal(one.take(start + wait + 2, rate), 0, `the wait is long enough (${requests})`);
    assert.notEqual(one.take(start + wait + 2, rate), 0);
  }
});

test('in the long run the rate is the limit’s, however often a client asks', () => {
  const rate = rateOf(7, 1_000, 10);
  const one = bucket();
  let allowed = 0;
  for (let nowNs = start; nowNs < start + 100 * s; nowNs += s / 1000)
    if (one.take(nowNs, rate) === 0) allowed++;
  assert.ok(Math.abs(allowed - 710) <= 1, `${allowed}`);
});

test('a changed limit keeps what was used, and a slower limit before does not block a faster one', () => {
  const slow = rateOf(10, 3_600_000, 10);
  const fast = rateOf(10, 1_000, 10);
  const one = bucket();
  for (let i = 0; i < 10; i++) one.take(start, slow);
  assert.notEqual(one.take(start, slow), 0);
  assert.notEqual(one.take(start, fast), 0, 'empty by the new limit as well');
  assert.ok(waitNs(one.time.fullNs, start, fast) <= fast.intervalNs);
  assert.equal(one.take(start + s / 10 + 1, fast), 0);
  const other = bucket();
  for (let i = 0; i < 10; i++) other.take(start, fast);
  assert.equal(other.take(start, slow), 0, 'full but for a second');
});

test('a clock that goes back takes nothing away and gives at most nothing', () => {
  const rate = rateOf(10, 1_000, 10);
  const one = bucket();
  for (let i = 0; i < 10; i++) one.take(start, rate);
  assert.notEqual(one.take(start - 3600 * s, rate), 0);
  assert.ok(one.take(start - 3600 * s, rate) <= rate.intervalNs);
  assert.equal(one.take(start - 3600 * s + s / 10 + 1, rate), 0);
});

test('the time of a bucket fits its row, whatever the limit', () => {
  const rate = rateOf(1, 86_400_000, 4_294_967_295);
  const one = bucket();
  for (let i = 0; i < 1_000; i++) assert.equal(one.take(start, rate), 0);
  assert.ok(one.time.fullNs > start);
  assert.throws(() => new BucketTime(new Int32Array(4), 1), /aligned/);
});

test('a process that loses its turn after it read the clock gives back nothing that others took meanwhile', () => {
  const rate = rateOf(1_000, 1_000, 10);
  const one = bucket();
  const late = [start, start + 50e6];
  const take = (): number => one.time.take(() => late.shift() ?? start + 50e6, rate);
  for (let i = 0; i < 10; i++) assert.equal(one.take(start + 50e6, rate), 0);
  const { fullNs } = one.time;
  assert.notEqual(take(), 0);
  assert.equal(one.time.fullNs, fullNs);
});
