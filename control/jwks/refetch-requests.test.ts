import assert from 'node:assert/strict';
import { test } from 'node:test';
import { afterFailure, afterRefetchRequest, afterSuccess, jwksLimits, type Refetch } from './decide.js';
import { refetchRequestLimits, RefetchRequests } from './refetch-requests.js';

const uri = 'https://id.example/keys';
const waypoint = 'waypoint:bank/wp';

function requestsOf(of: Refetch | undefined = 'planned') {
  const [fetched, results, limits]: [string[], string[], string[]] = [[], [], []];
  const now = { ms: 0 };
  const requests = new RefetchRequests({
    keySetsOf: (caller) => new Set(caller === waypoint ? [uri, 'https://b'] : []),
    refetch: (one) => (fetched.push(one), of),
    onRequest: (result) => results.push(result),
    onLimit: (limit) => limits.push(limit),
    nowMs: () => now.ms,
  });
  return { requests, fetched, results, limits, now };
}

test('a waypoint has only those sets fetched again that its own resources name, each once per request', () => {
  const { requests, fetched, results } = requestsOf();
  requests.take(waypoint, [uri, uri, 'https://victim.example/keys']);
  requests.take('waypoint:shop/wp', [uri]);
  assert.deepEqual([fetched, results], [[uri], ['planned', 'refused', 'refused']]);
});

test('agents, and callers that are no waypoints, have nothing fetched', () => {
  const { requests, fetched, results } = requestsOf();
  for (const caller of ['n1', '', 'waypoint:', 'rate-limiter']) requests.take(caller, [uri]);
  assert.deepEqual([fetched, new Set(results)], [[], new Set(['refused'])]);
});

test('requests of one waypoint are bounded in number and in size, and those of another one are not affected', () => {
  const { requests, fetched, limits, now } = requestsOf();
  const many = Array.from({ length: refetchRequestLimits.uris + 1 }, (_, i) => `https://${i}`);
  requests.take(waypoint, [...many, uri]);
  assert.deepEqual([fetched, limits], [[], ['jwks-refetch-requests']]);
  for (let i = 0; i < 2 * refetchRequestLimits.burst; i++) requests.take(waypoint, [uri]);
  assert.equal(fetched.length, refetchRequestLimits.burst);
  requests.take('waypoint:shop/wp', []);
  assert.equal(limits.length, 1 + refetchRequestLimits.burst);
  now.ms = 1_000;
  requests.take(waypoint, [uri]);
  assert.equal(fetched.length, refetchRequestLimits.burst + 1);
});

test('what has to wait for its interval counts as a limit that was reached', () => {
  const { requests, results, limits } = requestsOf('later');
  requests.take(waypoint, [uri]);
  assert.deepEqual([results, limits], [['later'], ['jwks-refetch']]);
});

test('a set is fetched again at once, but not sooner than an interval after its last request began', () => {
  const known = { ...afterSuccess(1_000, undefined, 0), begunMs: 1_000 };
  const late = afterRefetchRequest(known, 1_000 + jwksLimits.refetchMs);
  assert.deepEqual([late.result, late.known.dueMs], ['planned', 1_000 + jwksLimits.refetchMs]);
  const soon = afterRefetchRequest(known, 2_000);
  assert.deepEqual([soon.result, soon.known.dueMs], ['later', 1_000 + jwksLimits.refetchMs]);
  assert.deepEqual(afterRefetchRequest(soon.known, 3_000).known, soon.known, 'a flood changes nothing');
  const due = { ...known, dueMs: 1_500 };
  assert.equal(afterRefetchRequest(due, 2_000).known.dueMs, 1_500, 'nothing is delayed');
  const underWay = { ...known, isUnderWay: true };
  assert.deepEqual(afterRefetchRequest(underWay, 60_000), { known: underWay, result: 'later' });
});

test('a set that cannot be fetched keeps its backoff, whatever tokens clients send', () => {
  const known = { ...afterFailure(0, { failures: 10 }, 0), begunMs: 0 };
  assert.deepEqual(afterRefetchRequest(known, 60_000), { known, result: 'failing' });
});
