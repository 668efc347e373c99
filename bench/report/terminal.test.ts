import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cellText, columns, printResult, wrapped } from './terminal.js';
import { made, shortOfSidecars, variants } from './synthetic.js';

/** The cells of the first row that begins so, by the two spaces between columns. */
const cells = (text: string, begins: string): string[] =>
  (text.split('\n').find((line) => line.trim().startsWith(begins)) ?? '').trim().split(/ {2,}/);

test('shows medians, ratios to no mesh and the noise, without no mesh once more as a column', () => {
  const text = printResult(made());
  assert.match(text, /^On one node$/m);
  assert.match(text, /^Across nodes: what it costs$/m);
  const row = cells(text, '50 %, 10000/s p50');
  assert.equal(row[1], 'us');
  assert.match(row[2] ?? '', /^\d+$/);
  assert.match(row[3] ?? '', /^\d+ \d\.\d\dx -$/);
  assert.match(row[4] ?? '', /^\d+ 0\.\d\d\dx \+$/);
  assert.match(row.at(-1) ?? '', /^\+-\d+\.\d %$/);
  assert.doesNotMatch(text, /again/);
});

test('shows a difference within the noise as none', () => {
  const result = made({
    edit: (samples) =>
      samples.map((sample, at) =>
        sample.variant === 'kernel'
          ? { ...sample, values: { p50: (samples[at - 3]?.values['p50'] ?? 0) * 1.001 } }
          : sample,
      ),
  });
  const row = cells(printResult(result), '50 %, 10000/s p50');
  assert.match(row[4] ?? '', /^\d+ =$/);
});

test('what has no counterpart without a mesh is given by itself', () => {
  const [found] = made().figures.filter(
    ({ metric, variant }) => metric === 'proxyUs' && variant === 'sidecars',
  );
  assert.ok(found && !found.ratio);
  assert.match(cellText(found, 1), /^\d+\.\d$/);
});

test('stays within the width, and within a narrow one by more tables', () => {
  const result = made({
    over: {
      missing: [{ what: 'Istio', why: 'there is no cluster, '.repeat(20) }],
      goals: [
        {
          what: 'same-node p50 of the spliced path against no mesh on the same machine, a long sentence about it',
          wanted: 'at most 0.8',
          found: { median: 0.84, min: 0.81, max: 0.87 },
          state: 'not reached',
          unit: 'x',
          from: 'l4',
        },
      ],
    },
  });
  for (const width of [80, 120]) {
    for (const line of printResult(result, { width, all: true }).split('\n')) {
      assert.ok(line.length <= width, line);
    }
  }
  assert.ok(printResult(result, { width: 80 }).length > printResult(result).length);
});

test('names what is missing, failed, short and not reached, each with the reason', () => {
  const text = printResult(
    made({
      edit: shortOfSidecars,
      over: {
        interrupted: true,
        missing: [{ what: 'gRPC', why: 'no ghz' }],
        failures: [
          { round: 1, placement: 'same-node', variant: 'tunnel', workload: 'bulk', point: '4', why: 'reset' },
        ],
        evidence: [{ variant: 'sidecars', what: 'envoy ssl.handshake', value: 12 }],
        goals: [{ what: 'p50', wanted: '1', state: 'not measured', unit: 'x', from: 'l4' }],
      },
    }),
  );
  for (const wanted of [
    'gRPC: no ghz',
    'round 2, On one node, Bulk 4, Weft, encrypted: reset',
    'On one node, HTTP/1.1 90 %, Envoy sidecars: 14000 of 18000 a second in 5 of 5 rounds: the connections',
    'Envoy sidecars: envoy ssl.handshake 12',
    'not measured: p50, wanted 1 [l4]',
    'interrupted',
  ]) {
    assert.ok(text.replace(/\n +/g, ' ').includes(wanted), wanted);
  }
});

test('the point that stands for a load is one that all reached', () => {
  const all = made({
    edit: (samples) =>
      shortOfSidecars(samples).map((sample) =>
        sample.workload === 'http1' && sample.point === '70 %' && sample.variant === 'waypoint'
          ? { ...sample, values: { perSecond: 1 }, short: 'busy' }
          : sample,
      ),
  });
  const text = printResult(all);
  assert.match(text, /^ {2}30 %, 6000\/s p50/m);
  assert.doesNotMatch(text, /^ {2}90 %, 18000\/s p50/m);
});

test('a point that all variants missed shows as short, not as a number', () => {
  const text = printResult(
    made({
      edit: (samples) =>
        samples.map((sample) =>
          sample.workload === 'http1' && sample.variant === 'sidecars'
            ? { ...sample, values: { perSecond: 5 }, short: 'busy' }
            : sample,
        ),
    }),
  );
  assert.equal(cells(text, '10 %, 2000/s p50')[3], 'short');
});

test('a point that was missed in one round has no latency of the others', () => {
  const text = printResult(
    made({
      edit: (samples) =>
        samples.map((sample) =>
          sample.workload === 'http1' && sample.variant === 'sidecars' && sample.round === 0
            ? { ...sample, values: { perSecond: 5 }, short: 'busy' }
            : sample,
        ),
    }),
  );
  assert.equal(cells(text, '10 %, 2000/s p50')[3], 'short');
  assert.equal(cells(text, '10 %, 2000/s p99')[3], 'short');
});

test('a noise that has no bound is no number', () => {
  const text = printResult(
    made({
      edit: (samples) =>
        samples.map((sample) =>
          sample.variant === 'noise'
            ? { ...sample, values: { ...sample.values, ...(sample.values['p50'] ? { p50: 0 } : {}) } }
            : sample,
        ),
    }),
  );
  assert.doesNotMatch(text, /Infinity|NaN/);
  assert.equal(cells(text, '50 %, 10000/s p50').at(-1), 'no bound');
});

test('one round is said to be no result, and no rounds are nothing', () => {
  assert.match(printResult(made({ rounds: 1 })), /One round has no spread/);
  assert.match(printResult(made({ rounds: 0 })), /Nothing was measured/);
});

test('with --all each figure has its spread and rounds', () => {
  const text = printResult(made(), { all: true });
  const [, of = ''] = text.split('On one node: HTTP/1.1');
  const row = cells(of, 'p99.9');
  assert.deepEqual([row[1], row[2], row.at(-1)], ['no mesh', 'us', '5']);
  assert.match(row[4] ?? '', /^[\d.]+\.\.[\d.]+$/);
  assert.match(of, /^90 %, 18000\/s$/m);
});

test('text of a file moves no cursor', () => {
  const [none] = variants;
  assert.ok(none);
  const text = printResult(
    made({
      variants: [none, { name: 'x', title: 'red\u001b[31m\u202e\nrow', kind: 'other', about: '' }],
      over: { missing: [{ what: 'a\u001b[2Jb', why: 'c\r\nd' }] },
    }),
  );
  assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u202e]/);
  assert.ok(text.includes('- a [2Jb: c d'));
});

test('heads are wrapped, titles of groups stand out, long words stay whole', () => {
  assert.deepEqual(columns(['', 'one two three'], [['a group of rows'], ['x', '1']]), [
    '   one two',
    '     three',
    '-  -------',
    'a group of rows',
    'x        1',
  ]);
  assert.deepEqual(wrapped('- aa bb cccccccccc d', 6, '  '), ['- aa', '  bb', '  cccccccccc', '  d']);
});
