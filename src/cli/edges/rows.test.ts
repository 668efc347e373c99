import assert from 'node:assert/strict';
import { test } from 'node:test';
import { edge } from '../../../test/support/edges.js';
import { edgeStates } from '../../telemetry/observed/edge-states.js';
import { edgeLines } from './rows.js';

test('the table says how long ago an edge was seen', () => {
  const [head, line] = edgeLines(edgeStates([edge({}, { lastSeenMs: 1_000 })], 0, 126_000), 126_000);
  assert.match(
    head ?? '',
    /^SOURCE +DESTINATION +PORT +PATH +SECURITY +CONNECTIONS +REQUESTS +REFUSED +FAILED +LAST SEEN$/,
  );
  assert.match(line ?? '', /^shop\/web +shop\/api +8080 +hbone +mutual TLS +1 +0 +0 +0 +2m5s$/);
});

test('success and latencies have columns if there are requests, and are - where there are none', () => {
  const request = edge(
    { reporter: 'waypoint', path: 'waypoint', method: 'GET', pathTemplate: '/' },
    { connections: 0, requests: 4, failures: 1, latencyCounts: [0, 0, 0, 4] },
  );
  const [head, ...lines] = edgeLines(edgeStates([request, edge({ port: 1, service: '' })], 0, 60_000), 1);
  assert.match(head ?? '', /FAILED +SUCCESS +P50 +P99 +LAST SEEN$/);
  assert.match(lines[0] ?? '', /1 +hbone .* - +- +- +-$/);
  assert.match(lines[1] ?? '', /8080 +waypoint .* 75\.0% +7\.5ms +9\.9ms +-$/);
});
