/** Timeouts by the policy of docs/timeouts.md, through real tunnels. Its times would be long for a test. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { adminGet } from '../../src/cli/admin.js';
import { accessLogOf, waypointNetns } from '../../src/cli/standalone/waypoint.js';
import { RouteMesh, ask } from '../support/routes.js';
import { policiesOf } from '../support/docs-policy.js';
import { metricOf } from '../support/waypoint-state.js';

const mesh = new RouteMesh('timeouts');
before(() => mesh.up());
after(() => mesh.down());

const cluster = 'outbound|80||echo.shop.svc.cluster.local';
const [policy = ''] = policiesOf('timeouts');
const log = (): string => readFileSync(accessLogOf(mesh.testbed, mesh.waypoint), 'utf8');

test('the request’s timeout ends a slow request with 504, and the log names the policy', () =>
  mesh.withRoute(
    policy.replace('request: 15s', 'request: 500ms'),
    async () => (await ask('/slow/2000')).status === 504,
    async () => {
      assert.equal((await ask('/slow/100')).status, 200);
      await until('the log has it', 30_000, () =>
        Promise.resolve(log().includes('"timeout by TrafficPolicy shop/timeouts"')),
      );
      assert.match(log(), /"status":504,"flags":"UT","code":"WEFT_REQUEST_TIMEOUT"/);
      assert.ok((await metricOf(mesh.waypoint, 'envoy_cluster_upstream_rq_timeout', cluster)) >= 1);
    },
  ));

test('the greatest duration ends a response that still moves', () =>
  mesh.withRoute(
    policy.replace('request: 15s', 'request: 0s').replace('maxDuration: 1h', 'maxDuration: 1500ms'),
    async () => {
      await ask('/drip');
      return (await metricOf(mesh.waypoint, 'envoy_cluster_upstream_rq_max_duration_reached', cluster)) > 0;
    },
    async () => {
      const startMs = performance.now();
      assert.equal((await ask('/drip')).status, 200);
      assert.ok(performance.now() - startMs < 5_900, 'curl itself would wait for 6 s');
      await until('the log has it', 30_000, () => Promise.resolve(log().includes('"flags":"DT"')));
      assert.equal((await ask('/slow/100')).status, 200);
    },
  ));

test('in dry run nothing ends, and it is counted', () =>
  mesh.withRoute(
    policy.replace('request: 15s', 'request: 200ms').replace('timeouts:', 'dryRun: true\n  timeouts:'),
    async () => (await ask('/slow/600')).status === 200,
    () =>
      until('it is counted', 30_000, async () => {
        assert.equal((await ask('/slow/600')).status, 200);
        const name = 'weft_waypoint_traffic_policy_actions_total';
        return (await adminGet(waypointNetns(mesh.waypoint), 15020, '/metrics')).includes(
          `${name}{feature="timeout",mode="would",policy="TrafficPolicy shop/timeouts"}`,
        );
      }).then(() => undefined),
  ));
