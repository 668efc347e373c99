import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Statistic } from '../../telemetry/observed/statistics.js';
import { changeText, sorted, topLines } from './rows.js';
import { frame } from './screen.js';

const route = (pathTemplate: string, more: Partial<Statistic> = {}): Statistic => ({
  id: pathTemplate,
  destination: 'api.shop.svc.cluster.local',
  method: 'GET',
  pathTemplate,
  connections: 0,
  requests: 1,
  refused: 0,
  audited: 0,
  failures: 0,
  bytesSent: 0,
  bytesReceived: 0,
  lastSeenMs: 0,
  ...more,
});
const latencyMs = { p50: 1, p95: 1, p99: 900 };

test('the greatest come first, equals in the order of their names', () => {
  const all = [
    route('/b'),
    route('/a'),
    route('/slow', { latencyMs }),
    route('/failing', { failures: 2 }),
    route('/busy', { requests: 9 }),
  ];
  const first = (sort: Parameters<typeof sorted>[1]): unknown => sorted(all, sort)[0]?.pathTemplate;
  assert.deepEqual([first('requests'), first('failures'), first('latency')], ['/busy', '/failing', '/slow']);
  const names = (of: Statistic[]): unknown[] =>
    sorted(of, 'requests').map(({ pathTemplate }) => pathTemplate);
  assert.deepEqual(names(all), names([...all].reverse()));
});

test('a change is what was counted since the last refresh; counts that leave the window are none', () => {
  const before = new Map([route('/a', { requests: 5, failures: 1 })].map((one) => [one.id, one]));
  const text = (one: Statistic): string => changeText(before, one);
  assert.equal(text(route('/a', { requests: 8, failures: 1 })), '+3');
  assert.equal(text(route('/a', { requests: 8, failures: 3 })), '+3, 2 failed');
  assert.equal(text(route('/a', { requests: 2, failures: 0 })), '');
  assert.equal(text(route('/new')), 'new');
  assert.equal(changeText(undefined, route('/a')), '');
});

test('a table names Services shortly', () => {
  const [head, line] = topLines(
    'routes',
    [route('/orders/*', { requestsPerSecond: 0.5, latencyMs })],
    'requests',
  );
  assert.match(
    head ?? '',
    /^DESTINATION +METHOD +PATH +COUNT +REQ\/S +SUCCESS +P50 +P95 +P99 +FAILED +REFUSED +CHANGE$/,
  );
  assert.match(line ?? '', /^shop\/api +GET +\/orders\/\* +1 +0\.50 +- +1\.0ms +1\.0ms +900ms +0 +0$/);
});

test('a frame fits the terminal, draws over the last one and keeps its footer', () => {
  const lines = ['one', 'two is long', 'three'];
  const size = { columns: 5, rows: 3 };
  assert.equal(frame(lines, ['end'], size), '\x1b[Hone\x1b[K\r\ntwo i\x1b[K\r\nend\x1b[K\x1b[J');
  for (let rows = 1; rows < 6; rows++) {
    const drawn = frame(lines, ['a', 'end'], { columns: 80, rows });
    assert.ok(drawn.split('\r\n').length <= rows);
    assert.ok(drawn.endsWith('end\x1b[K\x1b[J'));
    assert.doesNotMatch(drawn, /\x1b\[2J|\n$/);
  }
});
