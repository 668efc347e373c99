import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OutlierDetection } from '../../../discovery/gen/weft.js';
import { outlierDefaults } from '../../../../test/support/outliers.js';
import { OutlierDetector } from './detector.js';
import { belowMean } from './success-rate.js';

function detectorOf(names: string, more: Partial<OutlierDetection> = {}, random = 0) {
  const log: string[] = [];
  const detector = new OutlierDetector<string>(
    { ...outlierDefaults, ...more },
    {
      onDetected: (kind) => log.push(`detected ${kind}`),
      onOverflow: (name, kind) => log.push(`${name} stays ${kind}`),
      onEjected: (name, kind, forMs) => log.push(`${name} ejected ${kind} ${forMs}`),
      onReturned: (name) => log.push(`${name} returned`),
    },
    () => random,
  );
  for (const name of names) detector.add(name);
  return {
    detector,
    respond: (name: string, ...statuses: number[]): void => {
      for (const status of statuses) detector.responded(name, status, 0);
    },
    fail: (name: string, times: number, nowMs = 0): void => {
      for (let i = 0; i < times; i++) detector.responded(name, 500, nowMs);
    },
    /** The events since the last call. */
    events: (): string => log.splice(0).join(', '),
  };
}

test('so many 5xx in a row eject an endpoint, and no fewer', () => {
  const { respond, events, detector } = detectorOf('abc');
  respond('a', 500, 501, 503, 504, 200, 500, 500, 500, 500, 404);
  assert.equal(events(), '');
  respond('a', 500, 599, 503, 504);
  assert.equal(detector.responded('a', 500, 0), 'consecutive_5xx');
  assert.equal(events(), 'detected consecutive_5xx, a ejected consecutive_5xx 30000');
  respond('a', 500, 500, 500, 500, 500, 500);
  assert.equal(events(), '', 'requests that were under way change nothing');
  assert.equal(detector.ejected, 1);
});

test('gateway errors have a count of their own, which another 5xx resets', () => {
  const { respond, events } = detectorOf('abc', { consecutive5xx: 0, consecutiveGatewayErrors: 3 });
  respond('a', 502, 503, 500, 503, 504);
  assert.equal(events(), '');
  respond('a', 502);
  assert.equal(events(), 'detected consecutive_gateway_failure, a ejected consecutive_gateway_failure 30000');
});

test('a request without a response counts as a local failure, a gateway error and a 5xx', () => {
  const local = detectorOf('abc', { consecutiveLocalFailures: 3, consecutive5xx: 9 });
  for (const as of [503, 504, 503] as const) local.detector.failed('a', as, 0);
  assert.match(local.events(), /a ejected consecutive_local_origin_failure/);
  const mixed = detectorOf('abc', { consecutiveLocalFailures: 3 });
  mixed.detector.failed('a', 503, 0);
  mixed.detector.failed('a', 503, 0);
  mixed.respond('a', 500);
  mixed.detector.failed('a', 503, 0);
  assert.equal(mixed.events(), '', 'a response ends a series of local failures');
  mixed.detector.failed('a', 504, 0);
  assert.match(mixed.events(), /a ejected consecutive_5xx/, 'and not one of 5xx');
  const gateway = detectorOf('abc', { consecutiveGatewayErrors: 2 });
  gateway.detector.failed('a', 504, 0);
  gateway.detector.failed('a', 503, 0);
  assert.match(gateway.events(), /a ejected consecutive_gateway_failure/);
  const off = detectorOf('abc', { consecutiveLocalFailures: 0, consecutive5xx: 0 });
  for (let i = 0; i < 100; i++) off.detector.failed('a', 503, 0);
  assert.equal(off.events(), '');
});

test('failures of connections that are split count for themselves alone', () => {
  const { detector, events, respond } = detectorOf('abc', {
    consecutiveLocalFailures: 3,
    splitsLocalErrors: true,
    consecutive5xx: 3,
  });
  detector.failed('a', 503, 0);
  detector.failed('a', 503, 0);
  respond('a', 500, 500);
  detector.failed('a', 503, 0);
  assert.equal(events(), '');
  detector.failed('b', 503, 0);
  detector.failed('b', 504, 0);
  detector.failed('b', 503, 0);
  assert.match(events(), /b ejected consecutive_local_origin_failure/);
});

test('at most a share of the endpoints is ejected, but one always if so configured', () => {
  const share = detectorOf('abcdefghij', { ejectedPercentMax: 20 });
  for (const name of 'abc') share.fail(name, 5);
  assert.match(share.events(), /a ejected .* b ejected .* c stays consecutive_5xx$/);
  share.fail('c', 5);
  assert.match(share.events(), /c stays/, 'its count has started again');
  share.detector.return('a', 1);
  share.fail('c', 5);
  assert.match(share.events(), /a returned, detected consecutive_5xx, c ejected/);
  const one = detectorOf('ab');
  one.fail('a', 5);
  one.fail('b', 5);
  assert.match(one.events(), /a ejected .* b stays/);
  const none = detectorOf('ab', { alwaysEjectOne: false, ejectedPercentMax: 49 });
  none.fail('a', 5);
  assert.match(none.events(), /a stays/);
  const all = detectorOf('ab', { ejectedPercentMax: 100 });
  all.fail('a', 5);
  all.fail('b', 5);
  assert.equal(all.detector.ejected, 2);
});

test('the ejection time grows with each ejection up to its maximum, ends at a tick, and shrinks while healthy', () => {
  const { detector, fail, events } = detectorOf('abc', { ejectionMsMax: 70_000 });
  let nowMs = 0;
  const round = (): string => {
    fail('a', 5, nowMs);
    const forMs = Number(events().split(' ').at(-1));
    const beganMs = nowMs;
    while (detector.ejected > 0) detector.tick((nowMs += 10_000));
    assert.equal(events(), 'a returned');
    return `${forMs} ${nowMs - beganMs}`;
  };
  assert.deepEqual(
    [round(), round(), round(), round()],
    ['30000 30000', '60000 60000', '70000 70000', '70000 70000'],
  );
  for (let i = 0; i < 3; i++) detector.tick((nowMs += 10_000));
  assert.equal(round(), '60000 60000', 'each interval takes one of the four ejections back');
  for (let i = 0; i < 50; i++) detector.tick((nowMs += 10_000));
  assert.equal(round(), '30000 30000');
});

test('jitter is added to the ejection time', () => {
  const { detector, fail, events } = detectorOf('ab', { ejectionJitterMs: 999 }, 0.5);
  fail('a', 5);
  assert.match(events(), /30500$/);
  detector.tick(30_499);
  assert.equal(events(), '');
  detector.tick(30_500);
  assert.equal(events(), 'a returned');
});

test('a changed configuration applies to ejections under way', () => {
  const { detector, fail, events } = detectorOf('ab');
  fail('a', 5);
  events();
  detector.config = { ...outlierDefaults, baseEjectionMs: 1_000 };
  detector.tick(1_000);
  assert.equal(events(), 'a returned');
});

test('success rates: endpoints below the mean minus so many standard deviations are ejected', () => {
  const rates = [50, 100, 100, 100, 100].map((percent, endpoint) => ({ endpoint, percent }));
  // Envoy's example: mean 90, standard deviation 20, threshold 52.
  assert.deepEqual(
    belowMean(rates, 1.9).map(({ endpoint }) => endpoint),
    [0],
  );
  assert.deepEqual(belowMean(rates, 2), []);
  assert.deepEqual(belowMean([], 1.9), []);
  const { detector, events } = detectorOf('abcde', { consecutive5xx: 0, successRateHostsMin: 5 });
  const interval = (requests: number): void => {
    for (const name of 'abcde')
      for (let i = 0; i < requests; i++) detector.responded(name, name === 'a' && i % 2 === 0 ? 500 : 200, 0);
  };
  interval(99);
  detector.tick(10_000);
  assert.equal(events(), '', 'too few requests');
  interval(100);
  detector.tick(20_000);
  assert.equal(events(), 'detected success_rate, a ejected success_rate 30000');
  detector.tick(50_000);
  events();
  detector.remove('e');
  interval(100);
  detector.tick(60_000);
  assert.equal(events(), '', 'too few endpoints');
});

test('failure percentage: endpoints with that share of failures are ejected', () => {
  const { detector, events } = detectorOf('abcde', {
    consecutive5xx: 0,
    failurePercent: 80,
    ejectedPercentMax: 40,
  });
  const interval = (bad: string, share: number): void => {
    for (const name of 'abcde')
      for (let i = 0; i < 50; i++)
        detector.responded(name, bad.includes(name) && i < share * 50 ? 500 : 200, 0);
  };
  interval('abc', 0.78);
  detector.tick(10_000);
  assert.equal(events(), '');
  interval('abc', 0.8);
  detector.tick(20_000);
  assert.match(events(), /a ejected failure_percentage 30000, .* b ejected .* c stays failure_percentage$/);
  detector.tick(30_000);
  assert.equal(events(), '', 'the counts are of one interval');
});

test('an endpoint that is removed and comes back keeps its ejection', () => {
  const { detector, fail, events } = detectorOf('abc');
  fail('a', 5);
  const kept = detector.remove('a');
  assert.equal(detector.ejected, 0);
  detector.add('a', kept);
  assert.equal(detector.ejected, 1);
  events();
  detector.tick(30_000);
  assert.equal(events(), 'a returned');
  assert.equal(detector.remove('z'), undefined);
});

test('an ejection by another worker counts here, and ends by this clock', () => {
  const { detector, fail, events } = detectorOf('abc');
  detector.ejectedElsewhere('a', 'success_rate', { factor: 2, jitterMs: 5, agoMs: 10_000 }, 100_000);
  assert.equal(events(), 'a ejected success_rate 50005');
  fail('b', 5, 100_000);
  assert.match(events(), /b stays/, 'one of three is ejected already');
  detector.tick(150_004);
  assert.equal(events(), '');
  detector.tick(150_005);
  assert.equal(events(), 'a returned');
});
