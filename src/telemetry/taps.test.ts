import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { tapConnection } from '../../test/support/taps.js';
import { subjectOfEvent } from '../model/tap.js';
import { TapBuffer, Taps, type Tap, type TapSource } from './taps.js';

const tap = (number: number, more: Partial<Tap['query']> = {}): Tap => ({
  number,
  query: { filter: {}, sampleOf: 1, ...more },
});

function source(more: Parameters<typeof tapConnection>[0] = {}): TapSource & { made: number } {
  const event = tapConnection(more);
  const made = {
    ...subjectOfEvent(event),
    made: 0,
    event: () => {
      made.made++;
      return event;
    },
  };
  return made;
}

test('without a tap nothing is on; an event is made only for a tap that wants it', () => {
  const taps = new Taps();
  assert.equal(taps.isOn, false);
  taps.set({ taps: [tap(1, { filter: { ways: ['kernel'] } })], leaseMs: 1_000 });
  assert.equal(taps.isOn, true);
  const other = source({ path: 'hbone' });
  taps.offer(other);
  assert.deepEqual([other.made, taps.take()], [0, undefined]);
  const wanted = source({ path: 'kernel' });
  taps.offer(wanted);
  assert.equal(wanted.made, 1);
  assert.deepEqual(
    taps.take()?.events.map((one) => one.taps),
    [[1]],
  );
});

test('every event of a tap is sent or counted as lost, whatever the reader does', () => {
  for (let round = 0; round < 200; round++) {
    const taps = new Taps(1 + randomInt(20));
    const numbers = [1, 2, 3];
    taps.set({ taps: numbers.map((number) => tap(number)), leaseMs: 1e9 });
    const counts = new Map<number, number>();
    const count = (number: number, events: number): void =>
      void counts.set(number, (counts.get(number) ?? 0) + events);
    const take = (): void => {
      const taken = taps.take();
      for (const one of taken?.events ?? []) for (const number of one.taps) count(number, 1);
      for (const one of taken?.lost ?? []) count(one.tap, one.events);
    };
    const offers = randomInt(200);
    for (let i = 0; i < offers; i++) {
      taps.offer(source());
      if (randomInt(10) === 0) take();
    }
    take();
    for (const number of numbers) assert.equal(counts.get(number) ?? 0, offers);
  }
});

test('an event that would be lost is not made', () => {
  const taps = new Taps(1);
  taps.set({ taps: [tap(7)], leaseMs: 1_000 });
  taps.offer(source());
  const late = source();
  taps.offer(late);
  assert.equal(late.made, 0);
  assert.deepEqual(taps.take()?.lost, [{ tap: 7, events: 1 }]);
});

test('a sample has about its share of the events', () => {
  let next = 0;
  const taps = new Taps(1_000, undefined, () => (next = (next + 0.001) % 1));
  taps.set({ taps: [tap(1, { sampleOf: 10 })], leaseMs: 1_000 });
  for (let i = 0; i < 1_000; i++) taps.offer(source());
  const shown = taps.take()?.events.length ?? 0;
  assert.ok(shown >= 98 && shown <= 102, String(shown));
});

test('a tap ends with its lease, so that it outlives no control plane', () => {
  const clock = { nowMs: 0 };
  const taps = new Taps(10, () => clock.nowMs);
  taps.set({ taps: [tap(1)], leaseMs: 100 });
  clock.nowMs = 101;
  taps.take();
  assert.equal(taps.isOn, false);
});

test('a buffer counts what exceeds it, for each tap that wanted it', () => {
  const buffer = new TapBuffer(1);
  buffer.add({ taps: [1], event: tapConnection() });
  buffer.add({ taps: [1, 2], event: tapConnection() });
  buffer.lose(2, 5);
  const taken = buffer.take();
  assert.equal(taken?.events.length, 1);
  assert.deepEqual(taken.lost, [
    { tap: 1, events: 1 },
    { tap: 2, events: 6 },
  ]);
  assert.equal(buffer.take(), undefined);
});
