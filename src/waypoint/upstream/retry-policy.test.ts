import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RetryPolicy } from '../../discovery/gen/weft.js';
import type { RouteRetry } from '../../model/route.js';
import type { UpstreamFailure } from '../http/http-stream.js';
import {
  backoffMs,
  executionOf,
  retryLimitsOf,
  rulesOfPolicy,
  rulesOfRule,
  type Execution,
  type FailedAttempt,
  type RetryRules,
} from './retry-policy.js';

const retry = (more: Partial<RouteRetry> = {}): RouteRetry => ({ codes: [503], attempts: 3, ...more });
const policy = (conditionKind: string[], more: Partial<RetryPolicy> = {}): RetryPolicy => ({
  conditionKind,
  codes: [],
  grpcCodes: [],
  attempts: 3,
  perTryTimeoutMs: 0,
  backoffBaseMs: 25,
  backoffMsMax: 250,
  retryAfterMsMax: 0,
  unsafeMethods: [],
  hedge: false,
  dryRun: false,
  ...more,
});
const none = { elsewhere: 0, anywhere: 0 };
const failureOf = (kind: UpstreamFailure['kind'], more: Partial<UpstreamFailure> = {}): UpstreamFailure => ({
  kind,
  why: '',
  ...more,
});

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

const methodsOf = {
  idempotent: ['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'],
  other: ['POST', 'PATCH', 'CONNECT', 'FROB', 'get'],
};

test('a request that may have been executed is retried only if it is idempotent or the rule names the failure', () => {
  for (const row of table) {
    for (const which of ['idempotent', 'other'] as const) {
      for (const method of methodsOf[which]) {
        const failed = { method, execution: row.execution, status: row.status };
        const rules = row.retry && rulesOfRule(row.retry);
        assert.deepEqual(retryLimitsOf(failed, rules), row[which], `${method} ${JSON.stringify(row)}`);
      }
    }
  }
});

/** What each condition of a policy retries: the columns are failures, and statuses of responses. */
const failures = ['connect', 'refused', 'stale', 'reset', 'protocol', 'timeout'] as const;
const statuses = [200, 404, 409, 429, 500, 501, 502, 503, 504, 599];
const conditions: readonly {
  readonly on: RetryPolicy;
  readonly failures: readonly (typeof failures)[number][];
  readonly statuses: readonly number[];
}[] = [
  { on: policy([]), failures: [], statuses: [] },
  { on: policy(['5xx']), failures, statuses: [500, 501, 502, 503, 504, 599] },
  { on: policy(['gateway-error']), failures, statuses: [502, 503, 504] },
  { on: policy(['reset']), failures, statuses: [] },
  { on: policy(['connect-failure']), failures: ['connect'], statuses: [] },
  { on: policy(['refused-stream']), failures: ['refused'], statuses: [] },
  { on: policy([], { codes: [429, 409] }), failures: [], statuses: [409, 429] },
  {
    on: policy(['connect-failure', 'refused-stream'], { codes: [503] }),
    failures: ['connect', 'refused'],
    statuses: [503],
  },
  { on: policy(['a condition of a newer version']), failures: [], statuses: [] },
];

test('the conditions of a policy, as in Envoy', () => {
  for (const row of conditions) {
    const rules = rulesOfPolicy(row.on);
    const limits = (failed: Omit<FailedAttempt, 'method'>) =>
      retryLimitsOf({ method: 'GET', ...failed }, rules);
    const text = JSON.stringify(row.on.conditionKind);
    for (const kind of failures) {
      const failure = failureOf(kind);
      const execution = executionOf(failure, true);
      const { anywhere } = limits({ execution, failure });
      assert.equal(anywhere, row.failures.includes(kind) ? 3 : 0, `${text} ${kind}`);
    }
    for (const status of statuses) {
      const { anywhere } = limits({ execution: 'responded', status });
      assert.equal(anywhere, row.statuses.includes(status) ? 3 : 0, `${text} ${status}`);
    }
  }
});

test('a policy retries what is not idempotent only if it names the method', () => {
  const all = { codes: [429], grpcCodes: [14] };
  const strict = rulesOfPolicy(policy(['5xx', 'reset'], all));
  const lax = rulesOfPolicy(policy(['5xx', 'reset'], { ...all, unsafeMethods: ['POST'] }));
  const cases: Omit<FailedAttempt, 'method'>[] = [
    { execution: 'unlikely', failure: failureOf('stale') },
    { execution: 'possible', failure: failureOf('reset') },
    { execution: 'possible', failure: failureOf('timeout') },
    { execution: 'possible', failure: failureOf('protocol') },
    { execution: 'responded', status: 503 },
    { execution: 'responded', status: 429 },
    { execution: 'responded', status: 200, grpcStatus: '14' },
  ];
  for (const failed of cases) {
    const limits = (method: string, rules: RetryRules) => retryLimitsOf({ method, ...failed }, rules);
    for (const method of methodsOf.idempotent) assert.equal(limits(method, strict).anywhere, 3, method);
    for (const method of methodsOf.other) assert.deepEqual(limits(method, strict), none, method);
    assert.equal(limits('POST', lax).anywhere, 3);
    for (const method of ['PATCH', 'CONNECT', 'post']) assert.deepEqual(limits(method, lax), none, method);
  }
  // Nobody has executed it, so every method may be sent again.
  const failed = { method: 'POST', execution: 'none', failure: failureOf('connect') } as const;
  assert.deepEqual(retryLimitsOf(failed, strict), { elsewhere: 3, anywhere: 3 });
});

test('statuses of gRPC in the head of a response', () => {
  const rules = rulesOfPolicy(policy([], { grpcCodes: [1, 14], unsafeMethods: ['POST'] }));
  const of = (grpcStatus: string | undefined) =>
    retryLimitsOf({ method: 'POST', execution: 'responded', status: 200, grpcStatus }, rules).anywhere;
  assert.deepEqual(['1', '14', '4', '0', '014', '', undefined].map(of), [3, 3, 0, 0, 0, 0, 0]);
});

test('a limit of the waypoint is no reason to send a request again, except to another endpoint if the limit is of one', () => {
  const of = (isOfEndpoint: boolean, rules: RetryRules | undefined) =>
    retryLimitsOf(
      { method: 'GET', execution: 'none', failure: failureOf('overflow', { isOfEndpoint }) },
      rules,
    );
  for (const rules of [undefined, rulesOfRule(retry()), rulesOfPolicy(policy(['5xx', 'reset']))]) {
    assert.deepEqual(of(false, rules), none);
    assert.deepEqual(of(true, rules), { elsewhere: 2, anywhere: 0 });
  }
});

test('a rule’s retry goes before the policy, whose other fields stay', () => {
  const ofPolicy = rulesOfPolicy(
    policy(['5xx'], { perTryTimeoutMs: 70, retryAfterMsMax: 80, unsafeMethods: ['POST'], hedge: true }),
  );
  const rule = retry({ backoffMs: 40 });
  const rules = rulesOfRule(rule, ofPolicy);
  assert.equal(rulesOfRule(rule, ofPolicy), rules, 'compiled once');
  const of = (failed: Omit<FailedAttempt, 'method'>) =>
    retryLimitsOf({ method: 'POST', ...failed }, rules).anywhere;
  assert.equal(of({ execution: 'responded', status: 500 }), 0, 'conditions of the policy');
  assert.equal(of({ execution: 'responded', status: 503 }), 3);
  assert.equal(of({ execution: 'possible', failure: failureOf('reset') }), 3, 'unsafeMethods');
  assert.deepEqual([rules.perTryTimeoutMs, rules.retryAfterMsMax, rules.hedges], [70, 80, true]);
  assert.deepEqual(
    [1, 2].map((repeat) => backoffMs(rules, repeat, 0)),
    [40, 80],
  );
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

const ofRule = (backoff: number | undefined) => rulesOfRule(retry({ backoffMs: backoff }));

test('the backoff of a rule doubles up to 10 s and is never shorter than the rule’s', () => {
  assert.deepEqual(
    [1, 2, 3, 20].map((repeat) => backoffMs(ofRule(undefined), repeat, 0)),
    [25, 50, 100, 10_000],
  );
  assert.equal(backoffMs(ofRule(60_000), 1, 0), 60_000);
  assert.equal(backoffMs(ofRule(60_000), 2, 0), 60_000);
  assert.equal(backoffMs(ofRule(2 ** 31 - 1), 1, 0.9), 2 ** 31 - 1, 'the limit of a timer');
  assert.ok(Math.abs(backoffMs(ofRule(100), 1, 0.999) - 110) < 0.1);
});

test('a rule cannot retry without a growing backoff', () => {
  for (const repeat of [1, 2, 20, 5_000]) {
    const ms = backoffMs(ofRule(0), repeat, 0);
    assert.ok(ms >= 1 && ms <= 10_000, `${ms} ms before retry ${repeat}`);
  }
  assert.equal(backoffMs(ofRule(0), 20, 0), 10_000);
});

test('the backoff of a policy is any time up to one that doubles, with a maximum', () => {
  const rules = rulesOfPolicy(policy(['5xx']));
  assert.deepEqual(
    [1, 2, 3, 4, 5, 20, 5_000].map((repeat) => backoffMs(rules, repeat, 1)),
    [25, 50, 100, 200, 250, 250, 250],
  );
  assert.equal(backoffMs(rules, 3, 0), 0);
  const defaults = rulesOfPolicy(policy(['5xx'], { backoffBaseMs: 0, backoffMsMax: 0 }));
  assert.deepEqual(
    [1, 20].map((repeat) => backoffMs(defaults, repeat, 1)),
    [25, 250],
  );
});
