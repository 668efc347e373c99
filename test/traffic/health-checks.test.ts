/** Health checks by the policies of docs/health-checks.md, through real tunnels, made by one of two workers of a waypoint. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { RouteMesh, ask } from '../support/routes.js';
import { policiesOf } from '../support/docs-policy.js';
import { metricOf, shownBy } from '../support/waypoint-state.js';

const mesh = new RouteMesh('checks', 2);
before(() => mesh.up());
after(() => mesh.down());

const cluster = 'outbound|80||echo.shop.svc.cluster.local';
const [http = '', tcp = ''] = policiesOf('health-checks');
/** The interval of the docs would be long for a test. */
const fast = (yaml: string): string => yaml.replace('interval: 5s', 'interval: 300ms');

const metric = (name: string): Promise<number> => metricOf(mesh.waypoint, name, cluster);
const states = async (): Promise<string> =>
  (await shownBy(mesh.waypoint, cluster, 'echo-v1')).map(({ state }) => state).join();
/** The path's requests that the pod has got. */
const seenAt = async (pod: 'echo-v1' | 'echo-v2', path: string): Promise<number> => {
  const { seen } = await ask('/seen', { service: pod });
  return (seen as Readonly<Record<string, number>> | undefined)?.[path] ?? 0;
};

/** So many requests, spread over both workers. */
async function send(count: number): Promise<Set<string | undefined>> {
  const pods = new Set<string | undefined>();
  for (let i = 0; i < count; i++) pods.add((await ask('/')).pod);
  return pods;
}

test('an endpoint whose check fails gets no requests in any worker until it passes again', () =>
  mesh.withRoute(
    fast(http),
    async () => {
      await send(4);
      return (await metric('envoy_cluster_health_check_success')) >= 4;
    },
    async () => {
      assert.ok((await seenAt('echo-v2', '/healthz')) > 0, 'its application is asked');
      assert.equal(await metric('envoy_cluster_health_check_healthy'), 2);
      await mesh.testbed.stop('echo-v1', 'SIGKILL');
      try {
        await until('it is unhealthy', 30_000, async () => /^unhealthy(,unhealthy)?$/.test(await states()));
        const [shown] = await shownBy(mesh.waypoint, cluster, 'echo-v1');
        assert.match(shown?.failedCheck ?? '', /^HTTP \/healthz: /);
        assert.equal(await metric('envoy_cluster_health_check_healthy'), 1);
        assert.deepEqual([...(await send(20))], ['echo-v2']);
      } finally {
        mesh.startApplication('v1');
      }
      await until('it is healthy', 30_000, async () => /^healthy(,healthy)?$/.test(await states()));
      await until('it gets requests', 30_000, async () => (await send(10)).size === 2);
    },
  ));

test('a check in dry run changes nothing', () =>
  mesh.withRoute(
    fast(tcp),
    async () => {
      await send(2);
      const checked = (await metric('envoy_cluster_health_check_success')) > 0;
      // echo responds to PING with 400, which is not +PONG.
      return checked && (await metric('envoy_cluster_health_check_healthy')) === 0;
    },
    async () => {
      assert.deepEqual([...(await send(20))].sort(), ['echo-v1', 'echo-v2']);
    },
  ));
