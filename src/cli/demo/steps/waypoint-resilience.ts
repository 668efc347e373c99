/** Traffic policies that protect a Service from its endpoints' failures, and endpoints from too many requests. */
import assert from 'node:assert/strict';
import { sleep, until } from '../../../base/wait.js';
import type { Step } from '../stage.js';
import {
  actedOn,
  applyPolicy,
  burst,
  metric,
  ordersVip,
  removePolicy,
  seenAt,
  servedBy,
  setEndpoints,
  startOrders,
  total,
  type OrdersName,
} from './orders.js';
import { ask } from './waypoint-client.js';

const users = 60;

export const waypointResilienceSteps: readonly Step[] = [
  {
    name: 'waypoint-circuit-breaker',
    title:
      'A circuit breaker with a bulkhead: each client may have 4 requests under way, the others still get in',
    run: async (stage) => {
      await startOrders(stage);
      const policy = await applyPolicy(
        stage,
        'breaker',
        `
  circuitBreaker:
    requestsMax: 8
    perClient: { requestsMax: 4 }
`,
      );
      const slow = burst('weft-web', '/slow/1500', 20, 20);
      await sleep(700);
      const other = await ask('weft-intruder', `http://${ordersVip}/other`);
      const { statuses } = await slow;
      assert.deepEqual(statuses, { 200: 4, 503: 16 });
      assert.equal(other.status, 200, 'one client does not take what another may have');
      const seen = total(await seenAt('/slow/1500'));
      assert.equal(seen, 4, 'refused requests do not reach an endpoint');
      const lines = await until('the waypoint has logged the refusals', 20_000, () => {
        const acted = actedOn(stage, policy).filter(({ path }) => String(path).startsWith('/slow/1500'));
        return acted.length >= 16 && acted;
      });
      const [line = {}] = lines;
      assert.equal(line['flags'], 'UO');
      const slowest = Math.ceil(Math.max(...lines.map(({ durationMs }) => Number(durationMs))));
      assert.ok(slowest < 700, `refused after ${slowest} ms`);
      await removePolicy(stage, 'breaker');
      return { statuses, seen, other: other.status, flag: line['flags'], actions: line['actions'], slowest };
    },
    summary: (e) =>
      `20 slow requests at once: 4 reached endpoints, 16 got 503 within ${String(e['slowest'])} ms (flag ${String(e['flag'])}); another client meanwhile: ${String(e['other'])}`,
  },
  {
    name: 'waypoint-outlier-ejection',
    title: 'Outlier detection: an endpoint that fails 3 times in a row gets no requests for 3 s',
    run: async (stage) => {
      await applyPolicy(
        stage,
        'outliers',
        `
  outlierDetection: { consecutive5xx: 3, interval: 1s, baseEjectionTime: 3s, ejectedPercentMax: 50 }
`,
      );
      const began = Date.now();
      const failing = await burst('weft-web', '/fail-at/orders-3', 90, 1);
      const failedSeen = await seenAt('/fail-at/orders-3');
      // On a slow machine the endpoint comes back while requests are still sent, and fails up to three more times.
      const ejections = await metric('envoy_cluster_outlier_detection_ejections_enforced_total');
      assert.ok(ejections >= 1);
      const failed = failing.statuses['500'] ?? 0;
      assert.equal(Math.floor(failed / 3), ejections, `${failed} failed, ${ejections} ejections`);
      assert.deepEqual(failing.statuses, { 200: 90 - failed, 500: failed });
      assert.equal(failedSeen['orders-3'], failed);
      const back = await until('the endpoint gets requests again', 30_000, async () => {
        const { by } = await burst('weft-web', '/healthy', 12, 1);
        return (by['orders-3'] ?? 0) > 0 && Date.now() - began;
      });
      await removePolicy(stage, 'outliers');
      return { statuses: failing.statuses, failedSeen, ejections, backAfterMs: back };
    },
    summary: (e) =>
      `of 90 requests the failing endpoint got ${String((e['failedSeen'] as Record<string, number>)['orders-3'])} (ejections: ${String(e['ejections'])}); it got requests again after ${String(e['backAfterMs'])} ms`,
  },
  {
    name: 'waypoint-retry-budget',
    title: 'A retry budget: when every request fails, endpoints see at most a fifth more requests',
    run: async (stage) => {
      const sent = 200;
      const storm = async (name: string, budget: string): Promise<number> => {
        await applyPolicy(stage, name, `\n  retry: { conditions: [5xx], attempts: 3, budget: ${budget} }\n`);
        const { statuses } = await burst('weft-web', `/status/503/${name}`, sent, 40);
        assert.deepEqual(statuses, { 503: sent });
        const seen = total(await seenAt(`/status/503/${name}`));
        await removePolicy(stage, name);
        return seen;
      };
      const without = await storm('without-budget', '{ percent: 100, minRetries: 1000 }');
      const within = await storm('budget', '{ percent: 20, minRetries: 0 }');
      assert.equal(without, 4 * sent, 'without a budget each request is sent four times');
      assert.ok(within > sent && within <= 1.2 * sent, `${within} requests for ${sent}`);
      const overflow = await metric('envoy_cluster_upstream_rq_retry_overflow');
      assert.ok(overflow > 0);
      return { sent, withoutBudget: without, withBudget: within, overflow };
    },
    summary: (e) =>
      `${String(e['sent'])} requests that fail: endpoints saw ${String(e['withoutBudget'])} without a budget, ${String(e['withBudget'])} with one of 20 %`,
  },
  {
    name: 'waypoint-load-balancing',
    title:
      'Ring hash by a header: when an endpoint leaves, its users move, and nearly all others keep theirs',
    run: async (stage) => {
      await applyPolicy(
        stage,
        'ring',
        `
  loadBalancing: { type: RingHash, hashOn: [{ header: x-user }] }
`,
      );
      const values = Array.from({ length: users }, (_, user) => `user-${user}`);
      const places = (): Promise<string[]> => servedBy('x-user', values);
      const before = await places();
      assert.deepEqual(await places(), before, 'each user has one endpoint');
      const share = (of: readonly string[], name: string): number => of.filter((one) => one === name).length;
      const all: readonly OrdersName[] = ['orders-1', 'orders-2', 'orders-3'];
      assert.ok(all.every((name) => share(before, name) > 0));
      setEndpoints(stage, ['orders-1', 'orders-2']);
      const after = await until('the endpoint has left', 30_000, async () => {
        const now = await places();
        return share(now, 'orders-3') === 0 && now;
      });
      const kept = before.filter((name, user) => name !== 'orders-3' && after[user] === name).length;
      const others = users - share(before, 'orders-3');
      // The endpoints that stay get more points on the ring, as in Envoy, which moves a few users. Without consistent hashing half would move.
      assert.ok(kept >= 0.8 * others, `${kept} of ${others} kept theirs`);
      setEndpoints(stage, all);
      await until('the endpoint is back', 30_000, async () => share(await places(), 'orders-3') > 0);
      assert.deepEqual(await places(), before, 'and users have their old endpoints when it is back');
      await removePolicy(stage, 'ring');
      return { users, ofTheLeaver: share(before, 'orders-3'), others, kept };
    },
    summary: (e) =>
      `${String(e['kept'])} of ${String(e['others'])} users of the others kept theirs; ${String(e['ofTheLeaver'])} users of the one that left moved, and came back with it`,
  },
];
