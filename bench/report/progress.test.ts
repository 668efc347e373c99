import assert from 'node:assert/strict';
import { test } from 'node:test';
import { duration, estimate, Progress, progressLine } from './progress.js';

test('the rest is taken to last as long a step as what was done', () => {
  assert.deepEqual(estimate(10, 0, 0), { share: 0 });
  assert.deepEqual(estimate(10, 2, 4000), { share: 0.2, leftMs: 16_000 });
  assert.deepEqual(estimate(10, 2, 4000, 1000), { share: 0.25, leftMs: 15_000 });
  assert.deepEqual(estimate(10, 10, 4000), { share: 1, leftMs: 0 });
});

test('a step that takes long is no more than a step, and more steps than were said are all of them', () => {
  assert.deepEqual(estimate(10, 2, 4000, 60_000), { share: 0.3, leftMs: 14_000 });
  assert.deepEqual(estimate(10, 12, 4000), { share: 1, leftMs: 0 });
  assert.deepEqual(estimate(0, 0, 0), { share: 1, leftMs: 0 });
});

test('durations', () => {
  assert.deepEqual([0, 40_400, 89_000, 91_000, 3_540_000, 11_100_000].map(duration), [
    '0 s',
    '40 s',
    '89 s',
    '2 min',
    '59 min',
    '3 h 05 min',
  ]);
});

test('a line never wraps', () => {
  const line = progressLine({ share: 0.5, leftMs: 60_000 }, 'x'.repeat(300), 80);
  assert.equal(line.length, 79);
  assert.match(line, /^\[#{12}\.{12}\] {2}50 %, 60 s left {2}xxx/);
});

const stream = (isTTY: boolean): { isTTY: boolean; text: string; write(text: string): void } => ({
  isTTY,
  text: '',
  write(text) {
    this.text += text;
  },
});

test('on a terminal one line is redrawn and gone at the end; notes stay', () => {
  const to = stream(true);
  let now = 0;
  const progress = new Progress(4, to, () => now);
  progress.step('first');
  now = 1000;
  progress.step('second');
  progress.note('no Envoy');
  progress.end();
  const shown = to.text.split('\n');
  assert.equal(shown.length, 2);
  assert.match(to.text, /\r\[#{6}\.{18}\] {2}25 %, 3 s left {2}second/);
  assert.match(to.text, /\r\u001b\[Kno Envoy\n/);
  assert.ok(to.text.endsWith('\r\u001b[K'));
});

test('elsewhere a line is written now and then', () => {
  const to = stream(false);
  let now = 0;
  const progress = new Progress(1000, to, () => now);
  for (let step = 0; step < 1000; step++) {
    progress.step(`step ${step}`);
    now += 100;
  }
  progress.end();
  const lines = to.text.trimEnd().split('\n');
  assert.ok(lines.length >= 19 && lines.length <= 22, String(lines.length));
  assert.equal(lines[0], '0 %: step 0');
  assert.match(lines[1] ?? '', /^5 %, 2 min left: step 50$/);
  assert.doesNotMatch(to.text, /[\r\u001b]/);
});

test('elsewhere a slow run is heard of each minute', () => {
  const to = stream(false);
  let now = 0;
  const progress = new Progress(1000, to, () => now);
  for (let step = 0; step < 10; step++) {
    progress.step('x');
    now += 61_000;
  }
  progress.end();
  assert.equal(to.text.trimEnd().split('\n').length, 10);
});
