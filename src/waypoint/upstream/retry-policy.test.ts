import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RouteRetry } from '../../model/route.js';
import type { UpstreamFailure } from '../http/http-stream.js';
import { backoffMs, executionOf, retryLimitsOf, type Execution } from './retry-policy.js';

const retry = (more: Partial<RouteRetry> = {}): RouteRetry => ({ codes: [503], attempts: 3, ...more });
const none = { elsewhere: 0, anywhere: 0 };

interface Row {
  readonly execution: Execution;
  readonly status?: number;
  readonly retry: RouteRetry | undefined;
  /** GET, HEAD, OPTIONS, TRACE, PUT, DELETE. */
  readonly idempotent: { readonly elsewhere: number; readonly anywhere: number };
  /** POST, PATCH, CONNECT, and unknown methods. */
  readonly other: { readonly elsewhere: number; readonly anywhere: number };
}

const both = (elsewhere: number, anywhere: number) => ({
  idempotent: { elsewhere, anywhere },
  other: { elsewhere, anywhere },
});

const table: readonly Row[] = [
  // Not executed: other endpoints by default, the same endpoint if the rule allows it.
  { execution: 'none', retry: undefined, ...both(2, 0) },
  { execution: 'none', retry: retry(), ...both(3, 3) },
  { execution: 'none', retry: retry({ attempts: 0 }), ...both(2, 0) },
  { execution: 'none', retry: retry({ attempts: 1 }), ...both(2, 1) },
  { execution: 'none', retry: { codes: [] }, ...both(2, 2) },
  // A stale connection: the request was written, and most likely not read.
  {
    execution: 'unlikely',
    retry: undefined,
    idempotent: { elsewhere: 2, anywhere: 0 },
    other: none,
  },
  { execution: 'unlikely', retry: retry(), idempotent: { elsewhere: 3, anywhere: 3 }, other: none },
  // A reset, a timeout, a malformed response: the request may have been executed.
  { execution: 'possible', retry: undefined, idempotent: none, other: none },
  { execution: 'possible', retry: retry(), idempotent: { elsewhere: 3, anywhere: 3 }, other: none },
  { execution: 'possible', retry: { codes: [] }, idempotent: { elsewhere: 2, anywhere: 2 }, other: none },
  // A response: retried only if the rule names its status.
  { execution: 'responded', status: 503, retry: undefined, ...both(0, 0) },
  { execution: 'responded', status: 503, retry: retry(), ...both(3, 3) },
  { execution: 'responded', status: 500, retry: retry(), ...both(0, 0) },
  { execution: 'responded', status: 503, retry: retry({ attempts: 0 }), ...both(0, 0) },
];

test('a request that may have been executed is retried only if it is idempotent or the rule names the failure', () => {
  for (const row of table) {
    for (const [methods, expected] of [
      [['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'], row.idempotent],
      [['POST', 'PATCH', 'CONNECT', 'FROB', 'get'], row.other],
    ] as const) {
      for (const method of methods) {
        const failed = { method, execution: row.execution, status: row.status };
        assert.deepEqual(retryLimitsOf(failed, row.retry), expected, `${method} ${JSON.stringify(row)}`);
      }
    }
  }
});

test('execution by kind of failure', () => {
  const of = (kind: UpstreamFailure['kind'], wasSent: boolean) => executionOf({ kind, why: '' }, wasSent);
  for (const kind of ['connect', 'overflow', 'refused'] as const) {
    assert.equal(of(kind, true), 'none', kind);
    assert.equal(of(kind, false), 'none', kind);
  }
  assert.equal(of('stale', true), 'unlikely');
  for (const kind of ['reset', 'protocol', 'timeout'] as const) {
    assert.equal(of(kind, true), 'possible', kind);
    // The attempt timed out while a connection was being opened.
    assert.equal(of(kind, false), 'none', kind);
  }
});

test('the backoff doubles up to 10 s and is never shorter than the rule’s', () => {
  assert.deepEqual(
    [1, 2, 3, 20].map((repeat) => backoffMs(undefined, repeat, 0)),
    [25, 50, 100, 10_000],
  );
  assert.equal(backoffMs(60_000, 1, 0), 60_000);
  assert.equal(backoffMs(60_000, 2, 0), 60_000);
  assert.equal(backoffMs(2 ** 31 - 1, 1, 0.9), 2 ** 31 - 1, 'the limit of a timer');
  assert.ok(Math.abs(backoffMs(100, 1, 0.999) - 110) < 0.1);
});

test('a rule cannot retry without a growing backoff', () => {
  for (const repeat of [1, 2, 20, 5_000]) {
    const ms = backoffMs(0, repeat, 0);
    assert.ok(ms >= 1 && ms <= 10_000, `${ms} ms before retry ${repeat}`);
  }
  assert.equal(backoffMs(0, 20, 0), 10_000);
});
