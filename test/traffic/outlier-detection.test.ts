/** Outlier detection by the policies of docs/outlier-detection.md, through real tunnels and two workers of a waypoint. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { accessLogOf } from '../../src/cli/standalone/waypoint.js';
import { RouteMesh, ask, vips } from '../support/routes.js';
import { policiesOf } from '../support/docs-policy.js';
import { metricOf, shownBy } from '../support/waypoint-state.js';

const mesh = new RouteMesh('outliers', 2);
before(() => mesh.up());
after(() => mesh.down());

const cluster = 'outbound|80||echo.shop.svc.cluster.local';
const [policy = '', dryRun = ''] = policiesOf('outlier-detection');
/** The times of the docs would be long for a test. */
const fast = (yaml: string): string =>
  yaml.replace('interval: 10s', 'interval: 500ms').replace('baseEjectionTime: 30s', 'baseEjectionTime: 4s');

/** The statuses of so many requests, one after the other, each on a connection of its own. */
async function statuses(path: string, count: number): Promise<number[]> {
  const url = `http://${vips.echo}${path}?[1-${count}]`;
  const { stdout } = await run(
    'weft-web',
    'curl',
    [
      '-sS',
      '-m',
      '60',
      '--noproxy',
      '*',
      '-H',
      'connection: close',
      '-o',
      '/dev/null',
      '-w',
      '%{http_code}\\n',
      url,
    ],
    60_000,
  );
  return stdout.trim().split('\n').map(Number);
}
/** The state of the endpoint in each worker that has the cluster: all connections of a client may be those of one worker. */
const states = async (): Promise<string> => {
  const all = new Set((await shownBy(mesh.waypoint, cluster, 'echo-v1')).map(({ state }) => state));
  return [...all].sort().join();
};
/** The policy is applied by all workers that are used. */
const applied = async (): Promise<boolean> => {
  await statuses('/', 4);
  const shown = await shownBy(mesh.waypoint, cluster, 'echo-v1');
  return shown.length > 0 && shown.every((one) => 'consecutive' in one);
};

/** Runs `check` under a policy, once the one of the test before is gone from all workers. */
async function withPolicy(yaml: string, check: () => Promise<void>): Promise<void> {
  await until('no policy applies, and all endpoints are healthy', 30_000, async () => {
    await statuses('/', 4);
    const shown = await shownBy(mesh.waypoint, cluster, 'echo-v1');
    return shown.every((one) => !('consecutive' in one) && one.state === 'healthy');
  });
  await mesh.withRoute(fast(yaml), applied, check);
}

test('an endpoint that responds 500 is ejected in all workers, and returns', () =>
  withPolicy(policy, async () => {
    const failures = (await statuses('/fail-at/echo-v1', 100)).filter((status) => status === 500).length;
    // Each worker counts by itself: at least five failures, and fewer than ten.
    assert.ok(failures >= 5 && failures <= 9, `${failures} failures`);
    assert.equal(await states(), 'ejected');
    assert.equal(
      await metricOf(mesh.waypoint, 'envoy_cluster_outlier_detection_ejections_active', cluster),
      1,
    );
    assert.equal(
      await metricOf(
        mesh.waypoint,
        'envoy_cluster_outlier_detection_ejections_enforced_consecutive_5xx',
        cluster,
      ),
      1,
    );
    assert.ok((await statuses('/fail-at/echo-v1', 20)).every((status) => status === 200));
    await until('it returns', 30_000, async () => (await states()) === 'healthy');
    const pods = new Set<string | undefined>();
    for (let i = 0; i < 30; i++) pods.add((await ask('/')).pod);
    assert.deepEqual([...pods].sort(), ['echo-v1', 'echo-v2']);
    await until('the access log says which policy acted', 30_000, () => {
      const lines = readFileSync(accessLogOf(mesh.testbed, mesh.waypoint), 'utf8').split('\n');
      const acted = lines.filter((line) => line.includes('outlier-detection by TrafficPolicy shop/outliers'));
      return Promise.resolve(acted.length === 1);
    });
  }));

test('an endpoint that refuses connections is ejected', () =>
  withPolicy(policy, async () => {
    await mesh.testbed.stop('echo-v1', 'SIGKILL');
    try {
      await statuses('/', 60);
      await until('it is ejected', 30_000, async () => (await states()) === 'ejected');
    } finally {
      mesh.startApplication('v1');
    }
    await until('it returns', 30_000, async () => {
      await statuses('/', 4);
      return (await states()) === 'healthy';
    });
  }));

test('dry run counts and ejects nothing', () =>
  withPolicy(dryRun, async () => {
    const name = 'envoy_cluster_outlier_detection_ejections_detected_consecutive_5xx';
    const before = await metricOf(mesh.waypoint, name, cluster);
    const failures = (await statuses('/fail-at/echo-v1', 100)).filter((status) => status === 500).length;
    assert.ok(failures > 25, `${failures} failures`);
    assert.ok((await metricOf(mesh.waypoint, name, cluster)) > before);
    assert.equal(await states(), 'healthy');
  }));
