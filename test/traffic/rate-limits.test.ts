/** Local rate limits by the policy of docs/rate-limits.md, through real tunnels and two workers of a waypoint. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import { RouteMesh, ask } from '../support/routes.js';
import { policyOf } from '../support/docs-policy.js';
import { accessLog, statuses } from '../support/traffic-policy.js';
import { metricOf } from '../support/waypoint-state.js';

const mesh = new RouteMesh('rate-limits', 2);
before(() => mesh.up());
after(() => mesh.down());

const metric = 'envoy_http_local_rate_limiter_http_local_rate_limit';
const counted = (name: string, part: string): Promise<number> =>
  metricOf(mesh.waypoint, `${metric}_${name}`, `TrafficPolicy shop/limits ${part}"`);
/** A limit of all requests, which counts from the moment at which it is applied. */
const inForce = (part: string, before: number) => async (): Promise<boolean> => {
  await ask('/');
  return (await counted('enabled', part)) > before;
};
const order = (user: string | undefined, method = 'POST') =>
  ask('/orders/1', { method, headers: user === undefined ? {} : { 'x-user': user } });

test('each user of a client has a limit, and gets 429 with its headers beyond it', async () => {
  const before = await counted('enabled', 'per-client');
  await mesh.withRoute(policyOf('rate-limits'), inForce('per-client', before), async () => {
    for (let i = 0; i < 5; i++) assert.equal((await order('ann')).status, 200);
    const { status, headers } = await order('ann');
    assert.equal(status, 429);
    assert.match(headers['retry-after'] ?? '', /^([1-9]|1[0-2])$/);
    assert.equal(headers['ratelimit'], `"orders";r=0;t=${headers['retry-after']}`);
    assert.equal(headers['ratelimit-policy'], '"orders";q=5;w=60');
    assert.equal((await order('bob')).status, 200, 'another user');
    assert.equal((await order(undefined)).status, 200, 'without the header');
    assert.equal((await order('ann', 'GET')).status, 200, 'a request that does not match');
    assert.equal(await counted('enforced', 'orders'), 1);
    assert.equal(await counted('rate_limited', 'orders'), 1);
    await until('the access log says which policy acted', 30_000, () =>
      Promise.resolve(
        accessLog(mesh).filter(
          (line) =>
            line.includes('"WEFT_RATE_LIMITED"') &&
            line.includes('local-rate-limit by TrafficPolicy shop/limits orders'),
        ).length === 1,
      ),
    );
  });
});

const few = (yaml: string): string =>
  yaml
    .replace('requests: 100', 'requests: 30')
    .replace('per: 1s', 'per: 10m')
    .replace('burst: 200', 'burst: 30');

test('workers share the buckets, which survive changes of the policy', async () => {
  const yaml = few(policyOf('rate-limits'));
  const before = await counted('enabled', 'per-client');
  let changes = 0;
  await mesh.withRoute(
    yaml,
    async () => (await statuses('/', 1))[0] !== 200 || (await counted('enabled', 'per-client')) > before,
    async () => {
      const ok = async (count: number): Promise<number> =>
        (await statuses('/', count)).filter((status) => status === 200).length;
      let allowed = 0;
      for (; changes < 10; changes++) {
        mesh.rewrite(yaml.replace('requests: 5', `requests: ${changes + 6}`));
        // A file is read once it was left alone (control/source/files.ts).
        await sleep(100);
        allowed += await ok(8);
      }
      // A token comes back in 20 s.
      assert.ok(allowed >= 20 && allowed <= 34, `${allowed} of 80 requests`);
      mesh.rewrite(policyOf('rate-limits'));
      await until('a greater limit counts at once', 30_000, async () => (await ok(1)) === 1);
    },
  );
});

test('dry run counts and refuses nothing', async () => {
  const yaml = few(policyOf('rate-limits'))
    .replace('spec:\n', 'spec:\n  dryRun: true\n')
    .replace('name: limits', 'name: dry');
  const dry = (name: string): Promise<number> =>
    metricOf(mesh.waypoint, `${metric}_${name}`, 'TrafficPolicy shop/dry per-client"');
  await mesh.withRoute(
    yaml,
    async () => {
      await ask('/');
      return (await dry('enabled')) > 0;
    },
    async () => {
      assert.ok((await statuses('/', 50)).every((status) => status === 200));
      assert.ok((await dry('rate_limited')) >= 20);
      assert.equal(await dry('enforced'), 0);
      assert.ok(
        (await metricOf(
          mesh.waypoint,
          'weft_waypoint_traffic_policy_actions_total',
          'feature="local-rate-limit",mode="would",policy="TrafficPolicy shop/dry per-client"',
        )) >= 20,
      );
    },
  );
});
