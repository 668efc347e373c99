/** Traffic policies that refuse, delay or fail requests: rate limits, per waypoint and shared by its replicas, and faults. */
import assert from 'node:assert/strict';
import { until } from '../../../base/wait.js';
import { rateLimiterProcess, redisProcess, startRateLimiter } from '../../standalone/rate-limiter.js';
import { startWaypoint, stopWaypoint } from '../../standalone/waypoint.js';
import type { Step } from '../stage.js';
import {
  actedOn,
  applyPolicy,
  burst,
  metric,
  ordersVip,
  removePolicy,
  seenAt,
  stopOrders,
  total,
} from './orders.js';
import { ask, place, requests, second } from './waypoint-client.js';

const actions = 'weft_waypoint_traffic_policy_actions_total';

export const waypointLimitSteps: readonly Step[] = [
  {
    name: 'waypoint-rate-limit',
    title: 'A local rate limit for each client: 20 requests an hour, 429 after them',
    run: async (stage) => {
      const policy = await applyPolicy(
        stage,
        'limits',
        `
  rateLimits:
    - name: per-client
      matches: [{ path: { type: PathPrefix, value: /limited } }]
      keys: [{ clientIdentity: {} }]
      requests: 20
      per: 1h
    - name: planned
      matches: [{ path: { type: PathPrefix, value: /limited } }]
      requests: 5
      per: 1h
      dryRun: true
`,
      );
      const { statuses } = await burst('weft-web', '/limited', 50, 10);
      assert.deepEqual(statuses, { 200: 20, 429: 30 });
      const seen = total(await seenAt('/limited'));
      assert.equal(seen, 20, 'endpoints see no more');
      const refused = await ask('weft-web', `http://${ordersVip}/limited`, '-D', '-', '-o', '/dev/null');
      const headers = Object.fromEntries(
        [...refused.body.matchAll(/^(ratelimit[^:]*|retry-after): *(.*?)\r?$/gim)].map(
          ([, name = '', value]) => [name.toLowerCase(), value] as const,
        ),
      );
      assert.ok(headers['retry-after'] !== undefined, refused.body);
      assert.ok(Object.keys(headers).length > 1, 'RateLimit fields tell the limit');
      const other = await ask('weft-intruder', `http://${ordersVip}/limited`);
      assert.equal(other.status, 200, 'another client has its own bucket');
      const free = await ask('weft-web', `http://${ordersVip}/free`);
      assert.equal(free.status, 200, 'other paths are not limited');
      const [line = {}] = await until('the waypoint has logged the refusals', 20_000, () => {
        const acted = actedOn(stage, `${policy} per-client`);
        return acted.length >= 31 && acted;
      });
      assert.equal(line['flags'], 'RL');
      const would = await metric(actions, { policy: `${policy} planned`, mode: 'would' });
      assert.ok(would > 0, 'the dry run counts');
      await removePolicy(stage, 'limits');
      return { statuses, seen, headers, other: other.status, flag: line['flags'], dryRunCounted: would };
    },
    summary: (e) =>
      `of 50 requests 20 passed, 30 got 429 with Retry-After; another client: ${String(e['other'])}; a dry run counted ${String(e['dryRunCounted'])} more and refused none`,
  },
  {
    name: 'waypoint-global-rate-limit',
    title: 'A global rate limit: two replicas of the waypoint share 40 requests an hour through Redis',
    run: async (stage) => {
      const replicas = [place, second];
      await startRateLimiter(stage.testbed);
      await startWaypoint(stage.testbed, second);
      const policy = await applyPolicy(
        stage,
        'shared',
        `
  rateLimits:
    - name: all
      matches: [{ path: { type: PathPrefix, value: /shared } }]
      requests: 40
      per: 1h
      global: { failClosed: true, timeout: 30s }
`,
        replicas,
      );
      const before = replicas.map((replica) => requests(stage, replica).length);
      const { statuses } = await burst('weft-web', '/shared', 200, 20);
      assert.deepEqual(statuses, { 200: 40, 429: 160 });
      assert.equal(total(await seenAt('/shared')), 40);
      const byReplica = await until('both have logged their requests', 20_000, () => {
        const counts = replicas.map((replica, at) => requests(stage, replica).length - (before[at] ?? 0));
        return counts.reduce((sum, count) => sum + count) >= 200 && counts;
      });
      assert.ok(
        byReplica.every((count) => count > 0),
        `both replicas had requests: ${byReplica.join(' and ')}`,
      );
      const [line = {}] = actedOn(stage, policy);
      assert.equal(line['flags'], 'RL');
      await removePolicy(stage, 'shared', replicas);
      await stopWaypoint(stage.testbed, second);
      for (const name of [rateLimiterProcess, redisProcess]) await stage.testbed.stop(name);
      return { statuses, requestsByReplica: byReplica, flag: line['flags'] };
    },
    summary: (e) =>
      `200 requests, ${(e['requestsByReplica'] as number[]).join(' and ')} through the replicas: together 40 passed`,
  },
  {
    name: 'waypoint-fault-injection',
    title: 'Injected faults: a delay on one path, half of the requests of another fail, until a time',
    run: async (stage) => {
      const until_ = new Date(Date.now() + 600_000).toISOString().replace(/\.\d+/, '');
      const policy = await applyPolicy(
        stage,
        'faults',
        `
  faults:
    - name: slow
      matches: [{ path: { type: Exact, value: /delayed } }]
      delay: { duration: 400ms, percent: '100' }
      until: ${until_}
    - name: broken
      matches: [{ path: { type: Exact, value: /broken } }]
      abort: { httpStatus: 418, percent: '50' }
      until: ${until_}
    - name: over
      matches: [{ path: { type: Exact, value: /over } }]
      abort: { httpStatus: 418, percent: '100' }
      until: 2020-01-01T00:00:00Z
`,
      );
      const began = Date.now();
      const delayed = await ask('weft-web', `http://${ordersVip}/delayed`);
      const delayedMs = Date.now() - began;
      assert.equal(delayed.status, 200);
      assert.ok(delayedMs >= 400, `delayed by ${delayedMs} ms`);
      const { statuses } = await burst('weft-web', '/broken', 200, 10);
      const aborted = statuses['418'] ?? 0;
      // Five standard deviations of 200 tosses.
      assert.ok(Math.abs(aborted - 100) <= 36, `${aborted} of 200 aborted`);
      assert.equal(total(await seenAt('/broken')), 200 - aborted, 'aborted requests reach no endpoint');
      const over = await ask('weft-web', `http://${ordersVip}/over`);
      assert.equal(over.status, 200, 'a fault ends at its time');
      const lines = await until('the waypoint has logged the faults', 20_000, () => {
        const acted = actedOn(stage, policy);
        return acted.length > aborted && acted;
      });
      const flags = [...new Set(lines.map((line) => String(line['flags'])))].sort();
      assert.deepEqual(flags, ['DI', 'FI']);
      const counted = await metric(actions, { policy: `${policy} broken`, mode: 'did' });
      assert.equal(counted, aborted, 'the metric counts injected faults as such');
      await removePolicy(stage, 'faults');
      await stopOrders(stage);
      return { delayedMs, statuses, flags, counted, afterItsTime: over.status };
    },
    summary: (e) =>
      `delayed by ${String(e['delayedMs'])} ms; ${String(e['counted'])} of 200 aborted, as the metric says; after its time: ${String(e['afterItsTime'])}`,
  },
];
