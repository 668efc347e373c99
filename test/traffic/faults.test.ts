/** Fault injection by the policy of docs/faults.md, through real tunnels. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { RouteMesh, ask } from '../support/routes.js';
import { policyOf } from '../support/docs-policy.js';
import { accessLog, statuses } from '../support/traffic-policy.js';
import { metricOf } from '../support/waypoint-state.js';

const mesh = new RouteMesh('faults');
before(() => mesh.up());
after(() => mesh.down());

const chaos = { 'x-chaos': 'yes' };
const counted = (name: string, part: string): Promise<number> =>
  metricOf(mesh.waypoint, `envoy_http_fault_${name}`, `TrafficPolicy shop/chaos ${part}"`);
/** The docs' policy with all requests as its share, and a date that is not over. */
const always = (yaml: string, untilMs = Date.now() + 3_600_000): string =>
  yaml
    .replace("percent: '10'", "percent: '100'")
    .replace("percent: '1.5'", "percent: '100'")
    .replace(/until: \S+/, `until: ${new Date(untilMs).toISOString()}`);
const orders = async (): Promise<number> => (await ask('/orders', { headers: chaos })).status;

test('requests are delayed and aborted, and the log and the metrics say by what', () =>
  mesh.withRoute(
    always(policyOf('faults')),
    async () => (await orders()) === 503,
    async () => {
      const startMs = performance.now();
      const { status, pod } = await ask('/');
      assert.equal(status, 200);
      assert.ok(pod?.startsWith('echo-v'));
      assert.ok(performance.now() - startMs > 1_990, 'after 2 s');
      assert.equal((await ask('/orders')).status, 200, 'without the header');
      assert.ok((await counted('delays_injected', 'slow')) >= 3);
      assert.ok((await counted('aborts_injected', 'failing')) >= 1);
      assert.equal(await counted('active_faults', 'slow'), 0);
      await until('the access log has the flags', 30_000, () => {
        const lines = accessLog(mesh);
        const has = (...parts: string[]): boolean =>
          lines.some((line) => parts.every((part) => line.includes(part)));
        return Promise.resolve(
          has('"FI"', '"WEFT_FAULT_INJECTED"', 'fault-abort by TrafficPolicy shop/chaos failing') &&
            has('"DI"', 'fault-delay by TrafficPolicy shop/chaos slow'),
        );
      });
    },
  ));

test('a reset ends the connection without a response', async () => {
  const yaml = always(policyOf('faults'))
    .replace('duration: 2s', 'duration: 1ms')
    .replace('httpStatus: 503', 'reset: {}');
  await mesh.withRoute(
    yaml,
    async () => (await orders()) === 0,
    async () => {
      assert.equal(await orders(), 0);
      assert.equal((await ask('/')).status, 200);
    },
  );
});

test('an expired fault is off by itself', async () => {
  const endMs = Date.now() + 15_000;
  const yaml = always(policyOf('faults').replace('abort:', 'until: x\n      abort:'), endMs)
    .replace('until: x', `until: ${new Date(endMs).toISOString()}`)
    .replace('duration: 2s', 'duration: 1ms');
  await mesh.withRoute(
    yaml,
    async () => (await orders()) === 503,
    async () => {
      await until('it is over', 30_000, async () => (await orders()) === 200);
      assert.ok(Date.now() >= endMs);
    },
  );
});

test('dry run counts and injects nothing', () =>
  mesh.withRoute(
    always(policyOf('faults'))
      .replace('spec:\n', 'spec:\n  dryRun: true\n')
      .replace('name: chaos', 'name: dry'),
    async () => {
      await ask('/');
      const actions = 'feature="fault-delay",mode="would",policy="TrafficPolicy shop/dry slow"';
      return (await metricOf(mesh.waypoint, 'weft_waypoint_traffic_policy_actions_total', actions)) > 0;
    },
    async () => {
      assert.ok((await statuses('/orders', 20, ['x-chaos: yes'])).every((status) => status === 200));
    },
  ));
