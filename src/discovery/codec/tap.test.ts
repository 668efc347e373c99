import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzz } from '../../../test/support/fuzz.js';
import { tapConnection, tapRequest } from '../../../test/support/taps.js';
import { TapReport, TapSet } from '../gen/weft.js';
import { settingOf } from '../tap-client.js';
import { decodeTapEvent, encodeTapEvent, encodeTapFilter, encodeTappedEvent, tapEventLimits } from './tap.js';

test('an event is the same after encoding and decoding', () => {
  const refused = tapConnection({
    outcome: 'refused',
    path: 'refused',
    policy: 'shop/only-web',
    audited: ['shop/b'],
    code: 'WEFT_DENIED',
  });
  for (const one of [tapConnection(), tapRequest(), refused]) {
    const bytes = TapReport.encode({
      events: [encodeTappedEvent({ taps: [1], event: one })],
      lost: [],
    }).finish();
    assert.deepEqual(decodeTapEvent(TapReport.decode(bytes).events[0]?.event), one);
  }
});

test('long texts are cut; forbidden: a query of a path and control characters pass', () => {
  const event = tapRequest({
    why: '\u001b[2J',
    request: { method: 'GET', path: `/a?token=${'x'.repeat(5_000)}`, status: 200, durationMs: 1 },
    policy: 'p'.repeat(5_000),
  });
  const decoded = decodeTapEvent(encodeTapEvent(event));
  assert.equal(decoded?.request?.path, '/a');
  assert.equal(decoded.why, '?[2J');
  assert.equal(decoded.policy?.length, tapEventLimits.textChars);
});

test('an event of another form is left out', () => {
  const encoded = encodeTapEvent(tapConnection());
  for (const more of [
    { pathKind: 'tunnel' },
    { outcomeKind: '' },
    { seenByKind: 'nobody' },
    { port: 70_000 },
    { source: undefined },
    { id: 'x'.repeat(1_000) },
    { durationMs: NaN },
    { durationMs: -1 },
    { eventKind: 'request' },
    { request: { method: 'GET', path: '/', status: 200 } },
    { audited: Array.from({ length: 17 }, () => 'a') },
  ])
    assert.equal(decodeTapEvent({ ...encoded, ...more }), undefined, JSON.stringify(more));
  assert.equal(decodeTapEvent(undefined), undefined);
});

test('a tap whose filter this version does not know is left out', () => {
  const tap = (number: number, filter: object) => ({
    number,
    filter: { ...encodeTapFilter({}), ...filter },
    sampleOf: 1,
  });
  const setting = settingOf({
    taps: [tap(1, {}), tap(2, { kinds: ['dns'] }), { number: 3, filter: undefined, sampleOf: 1 }],
    leaseMs: 1e9,
  });
  assert.deepEqual(
    setting.taps.map(({ number }) => number),
    [1],
  );
  assert.ok(setting.leaseMs <= 120_000);
});

test('no bytes throw past the decoders', () => {
  const seeds = [
    TapReport.encode({
      events: [encodeTappedEvent({ taps: [1, 2], event: tapRequest() })],
      lost: [],
    }).finish(),
    TapSet.encode({
      taps: [{ number: 1, filter: encodeTapFilter({ namespace: 'shop', statuses: ['5xx'] }), sampleOf: 2 }],
      leaseMs: 1,
    }).finish(),
  ];
  const rounds = fuzz(seeds, (bytes) => {
    let report: TapReport;
    let set: TapSet;
    try {
      report = TapReport.decode(bytes);
      set = TapSet.decode(bytes);
    } catch {
      return;
    }
    for (const { event } of report.events) decodeTapEvent(event);
    settingOf(set);
  });
  assert.ok(rounds > 1_000);
});
