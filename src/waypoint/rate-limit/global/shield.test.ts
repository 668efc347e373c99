import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RateLimitDescriptor, RateLimitResponse } from '../../../discovery/gen/ratelimit.js';
import { RateLimitResponse_Code as Code } from '../../../discovery/gen/ratelimit.js';
import { restCounterName } from '../../../model/rate-limit.js';
import { clientOf as waypointClient } from '../../listener/client.js';
import { parseIp } from '../../../model/address.js';
import { id, key } from '../../../../test/support/mesh.js';
import { globalLimitsOf } from '../../../../test/support/rate-limiter.js';
import { eventually } from '../../../../test/support/waypoint.js';
import type { GlobalLimit, GlobalLimits, LimitOptions } from './global-limits.js';
import type { LeaseResult } from './lease.js';
import type { RateLimitService } from './service.js';

const client = waypointClient(id('web'), { ip: parseIp('10.0.0.1'), port: 1 });
const port = { service: key('api'), port: 80 };
const options = (more: Partial<LimitOptions> = {}): LimitOptions => ({
  name: 'TrafficPolicy shop/limits all',
  keys: '',
  requests: 100,
  unit: 3,
  timeoutMs: 5_000,
  service: undefined,
  ...more,
});
const check = (limits: GlobalLimits, limit: GlobalLimit, of = '', from = client) =>
  limits.check(limit, of, from, () => [{ key: 'key', value: of || '-' }]);
const wait = async (checked: ReturnType<typeof check>): Promise<LeaseResult> =>
  typeof checked === 'string' ? checked : checked.result;

/** A service that counts in memory, with one window that does not end. */
class Fake implements RateLimitService {
  readonly descriptorsMax: number = 256;
  readonly callsMax: number = 4;
  readonly calls: { readonly key: string; readonly hits: number }[][] = [];
  readonly used = new Map<string, number>();
  mode: 'respond' | 'hang' | 'refuse' = 'respond';
  /** Clients are beyond their shares of counters. */
  isRest = false;
  resets = 0;
  resetMs = 3_600_000;

  constructor(readonly grantsParts: boolean) {}

  async call(
    _domain: string,
    descriptors: readonly RateLimitDescriptor[],
    timeoutMs: number,
  ): Promise<RateLimitResponse> {
    this.calls.push(
      descriptors.map(({ entries, hitsAddend }) => ({ key: entries[0]?.value ?? '', hits: hitsAddend ?? 0 })),
    );
    if (this.mode === 'refuse') throw new Error('refused');
    if (this.mode === 'hang') {
      await new Promise((resolve) => setTimeout(resolve, timeoutMs));
      throw new Error('deadline');
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
    const statuses = descriptors.map(({ entries, hitsAddend = 1, limit }) => {
      const of = entries[0]?.value ?? '';
      const max = limit?.requestsPerUnit ?? 0;
      const used = this.used.get(of) ?? 0;
      const left = Math.max(0, max - used);
      const granted = this.grantsParts ? Math.min(hitsAddend, left) : hitsAddend <= left ? hitsAddend : 0;
      // As Envoy's service: hits that are refused count.
      this.used.set(of, used + (this.grantsParts ? granted : hitsAddend));
      return {
        code: granted > 0 ? Code.OK : Code.OVER_LIMIT,
        currentLimit: limit && { ...limit, name: this.isRest ? restCounterName : '' },
        limitRemaining: Math.max(0, left - granted),
        durationUntilReset: { seconds: Math.floor(this.resetMs / 1000), nanos: (this.resetMs % 1000) * 1e6 },
        quota: this.grantsParts ? { requests: granted } : undefined,
      };
    });
    return { overallCode: Code.OK, statuses };
  }
  reset(): void {
    this.resets++;
  }
  close(): void {}
}

test('keys that need a lease in one turn go in one call, and most requests need none', async (t) => {
  const service = new Fake(true);
  const { limits } = globalLimitsOf(t, () => service);
  const limit = limits.of(port, options({ requests: 10_000 }));
  const first = await Promise.all(['a', 'b', 'c'].map((of) => wait(check(limits, limit, of))));
  assert.deepEqual(first, ['ok', 'ok', 'ok']);
  assert.deepEqual(service.calls, [['a', 'b', 'c'].map((of) => ({ key: of, hits: 1 }))]);
  const results: LeaseResult[] = [];
  for (let i = 0; i < 2_000; i++) results.push(await wait(check(limits, limit, 'a')));
  assert.ok(results.every((one) => one === 'ok'));
  assert.ok(service.calls.length < 60, `${service.calls.length} calls for 2000 requests`);
});

test('two workers at ten times the limit: exactly the limit is admitted, whichever kind of service counts', async (t) => {
  for (const grantsParts of [true, false]) {
    const service = new Fake(grantsParts);
    const workers = [0, 1].map(() => globalLimitsOf(t, () => service).limits);
    const config = options({ requests: 1_000, timeoutMs: 5_000 });
    let ok = 0;
    let over = 0;
    for (let i = 0; i < 500; i++)
      for (const limits of workers) {
        const limit = limits.of(port, config);
        const results = await Promise.all(Array.from({ length: 10 }, () => wait(check(limits, limit))));
        ok += results.filter((one) => one === 'ok').length;
        over += results.filter((one) => one === 'over').length;
      }
    assert.equal(ok + over, 10_000);
    assert.ok(ok <= 1_000, `${ok} admitted`);
    assert.ok(ok >= (grantsParts ? 1_000 : 900), `${ok} admitted, parts: ${grantsParts}`);
    // Beyond the limit, no request asks the service.
    const calls = service.calls.length;
    for (const limits of workers) assert.equal(check(limits, limits.of(port, config)), 'over');
    assert.equal(service.calls.length, calls);
  }
});

test('a lease ends with the window', async (t) => {
  const service = new Fake(true);
  service.resetMs = 2_000;
  const { limits } = globalLimitsOf(t, () => service);
  const limit = limits.of(port, options({ requests: 2 }));
  for (const expected of ['ok', 'ok', 'over']) assert.equal(await wait(check(limits, limit)), expected);
  assert.equal(check(limits, limit), 'over');
  await new Promise((resolve) => setTimeout(resolve, service.resetMs + 20));
  service.used.clear();
  assert.equal(await wait(check(limits, limit)), 'ok');
});

test('a service that hangs delays the requests of one moment, and no further ones', async (t) => {
  const service = new Fake(true);
  service.mode = 'hang';
  const { limits, events } = globalLimitsOf(t, () => service);
  const limit = limits.of(port, options({ timeoutMs: 200 }));
  const began = performance.now();
  const first = check(limits, limit, 'a');
  assert.notEqual(typeof first, 'string');
  assert.equal(await wait(first), 'failed');
  const waited = performance.now() - began;
  assert.ok(waited >= 195, `${waited} ms`);
  for (const of of ['a', 'b', 'c'])
    assert.equal(check(limits, limit, of), 'failed', 'no request waits any more');
  await eventually(() => events.length === 1, 'the call ends at its deadline');
  assert.equal(service.resets, 1, 'the next call uses another connection');
  assert.equal(check(limits, limit, 'a'), 'failed');
  const calls = service.calls.length;
  service.mode = 'respond';
  await eventually(() => {
    check(limits, limit, 'a');
    return events.length === 2;
  }, 'a probe finds that the service responds');
  assert.equal(service.calls.length, calls + 1, 'one probe');
  assert.match(events[0] ?? '', /^rate-limiter: deadline/);
  assert.equal(events[1], 'rate-limiter responds');
  assert.equal(await wait(check(limits, limit, 'a')), 'ok');
});

test('without requests a service that failed is not probed', async (t) => {
  const service = new Fake(true);
  service.mode = 'refuse';
  const { limits } = globalLimitsOf(t, () => service);
  const limit = limits.of(port, options());
  assert.equal(await wait(check(limits, limit)), 'failed');
  await new Promise((resolve) => setTimeout(resolve, 400));
  assert.equal(service.calls.length, 1);
  service.mode = 'respond';
  assert.equal(await wait(check(limits, limit)), 'ok', 'the next request asks again');
});

test('a limit that changes keeps its leases, and the former options end', async (t) => {
  const service = new Fake(true);
  const { limits } = globalLimitsOf(t, () => service);
  const limit = limits.of(port, options({ requests: 3 }));
  for (let i = 0; i < 3; i++) assert.equal(await wait(check(limits, limit)), 'ok');
  assert.equal(await wait(check(limits, limit)), 'over');
  const raised = limits.of(port, options({ requests: 5 }));
  assert.equal(raised, limit);
  const results: LeaseResult[] = [];
  for (let i = 0; i < 4; i++) results.push(await wait(check(limits, raised)));
  assert.deepEqual(results, ['ok', 'ok', 'over', 'over']);
  assert.notEqual(limits.of({ ...port, port: 81 }, options()), limit, 'another port has counts of its own');
});

test('a request that leaves gives its place up, and one client cannot hold all places', async (t) => {
  const service = new Fake(true);
  service.mode = 'hang';
  const { limits, reached } = globalLimitsOf(t, () => service);
  const limit = limits.of(port, options({ timeoutMs: 500 }));
  const checked = check(limits, limit);
  assert.ok(typeof checked !== 'string');
  assert.equal(limit.leases.get('')?.waiters.size, 1);
  checked.cancel();
  assert.equal(limit.leases.get('')?.waiters.size, 0);
  checked.cancel();
  let waiting = 0;
  while (typeof check(limits, limit) !== 'string') waiting++;
  assert.equal(waiting, 4_096);
  assert.equal(reached[0], 'rate-limit-waiting');
  const other = waypointClient(id('other'), client.address);
  assert.notEqual(typeof check(limits, limit, '', other), 'string', 'another client still waits');
});

test('keys that a client makes up push out its own leases first', async (t) => {
  const service = new Fake(true);
  const { limits, reached } = globalLimitsOf(t, () => service);
  const limit = limits.of(port, options({ timeoutMs: 5_000 }));
  const other = waypointClient(id('other'), client.address);
  assert.equal(await wait(check(limits, limit, 'good', other)), 'ok');
  const lease = limit.leases.get('good');
  for (let i = 0; i < 70_000; i += 1_000)
    await Promise.all(Array.from({ length: 1_000 }, (_, n) => wait(check(limits, limit, `k${i + n}`))));
  assert.ok(limits.leases <= 65_536);
  assert.equal(limit.leases.get('good'), lease);
  assert.ok(reached.includes('rate-limit-leases'));
});

test('clients take turns in calls: one that asks for many keys delays only itself', async (t) => {
  const service = new Fake(true);
  const { limits } = globalLimitsOf(t, () => service);
  const limit = limits.of(port, options());
  const other = waypointClient(id('other'), client.address);
  const flood = Array.from({ length: 3_000 }, (_, i) => check(limits, limit, `k${i}`));
  const good = check(limits, limit, 'good', other);
  assert.equal(await wait(good), 'ok');
  assert.ok(
    service.calls[0]?.some((one) => one.key === 'good'),
    'the other client is in the first call',
  );
  await Promise.all(flood.map(wait));
});

test('what a client beyond its share of counters gets counts for no other client', async (t) => {
  const service = new Fake(true);
  const { limits } = globalLimitsOf(t, () => service);
  const limit = limits.of(port, options({ requests: 1 }));
  const other = waypointClient(id('other'), client.address);
  service.isRest = true;
  assert.equal(await wait(check(limits, limit, 'victim')), 'ok');
  assert.equal(await wait(check(limits, limit, 'victim')), 'over');
  service.isRest = false;
  service.used.clear();
  assert.equal(await wait(check(limits, limit, 'victim', other)), 'ok');
  assert.equal(await wait(check(limits, limit, 'victim', other)), 'over');
});

test('without a service every decision fails', (t) => {
  const { limits } = globalLimitsOf(t, undefined);
  assert.equal(check(limits, limits.of(port, options())), 'failed');
});
