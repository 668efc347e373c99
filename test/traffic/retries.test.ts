/** Retries and hedges by the policies of docs/retries.md, through real tunnels. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import { accessLogOf } from '../../src/cli/standalone/waypoint.js';
import { RouteMesh, ask } from '../support/routes.js';
import { policiesOf } from '../support/docs-policy.js';
import { metricOf } from '../support/waypoint-state.js';

const mesh = new RouteMesh('retries');
before(() => mesh.up());
after(() => mesh.down());

const cluster = 'outbound|80||echo.shop.svc.cluster.local';
const [retries = '', hedge = ''] = policiesOf('retries');

const attemptOf = async (path: string): Promise<string | undefined> =>
  (await ask(path)).seen?.headers['x-envoy-attempt-count'];
/** A policy with retries numbers the attempts. */
const applied = async (): Promise<boolean> => (await attemptOf('/')) === '1';
/** How often the pods got requests for a path. */
async function seen(path: string): Promise<number> {
  let sum = 0;
  for (const service of ['echo-v1', 'echo-v2'] as const) {
    const counts = (await ask('/seen', { service })).seen as unknown as Record<string, number>;
    sum += counts[path] ?? 0;
  }
  return sum;
}
const logged = (text: string): Promise<void> =>
  until(`the access log has: ${text}`, 10_000, () =>
    Promise.resolve(readFileSync(accessLogOf(mesh.testbed, mesh.waypoint), 'utf8').includes(text)),
  ).then(() => undefined);

test('a GET is sent again by the policy, a POST is not; metrics and the log say so', () =>
  mesh.withRoute(retries, applied, async () => {
    // Each pod fails once, so that the third attempt succeeds.
    assert.equal(await attemptOf('/flaky/get/1'), '3');
    assert.equal(await seen('/flaky/get/1'), 3);
    assert.equal((await ask('/flaky/post/1', { method: 'POST' })).status, 503);
    assert.equal(await seen('/flaky/post/1'), 1);
    assert.equal((await ask('/status/503')).status, 503);
    assert.equal((await ask('/status/500')).status, 500);
    assert.equal(await seen('/status/500'), 1, 'no gateway error');
    assert.ok((await metricOf(mesh.waypoint, 'envoy_cluster_upstream_rq_retry', cluster)) >= 4);
    assert.ok((await metricOf(mesh.waypoint, 'envoy_cluster_upstream_rq_retry_success', cluster)) >= 1);
    assert.equal(await metricOf(mesh.waypoint, 'envoy_cluster_upstream_rq_retry_limit_exceeded', cluster), 1);
    await logged('"retry by TrafficPolicy shop/retries"');
    await ask('/', { headers: { 'x-envoy-attempt-count': '3' } });
    assert.equal(await metricOf(mesh.waypoint, 'weft_waypoint_stacked_retries_total', cluster), 1);
  }));

test('dry run sends nothing again, and counts it', () =>
  mesh.withRoute(
    retries.replace('retry:', 'dryRun: true\n  retry:'),
    async () => (await ask('/status/503')).status === 503,
    async () => {
      await until('the policy is in force', 30_000, async () => {
        await ask('/status/502');
        return readFileSync(accessLogOf(mesh.testbed, mesh.waypoint), 'utf8').includes('retry (dry run) by');
      });
      const before = await seen('/status/502');
      assert.equal((await ask('/status/502')).status, 502);
      assert.equal(await seen('/status/502'), before + 1);
    },
  ));

test('a hedge goes to the other pod while the first attempt hangs', () =>
  mesh.withRoute(hedge, applied, async () => {
    await mesh.testbed.stop('echo-v1', 'SIGKILL');
    const hang = `import http from 'node:http'; http.createServer(() => undefined).listen(8080, '::');`;
    mesh.testbed.start('hang-v1', 'weft-echo-v1', process.execPath, ['--input-type=module', '-e', hang]);
    try {
      await sleep(1_000);
      const attempts: (string | undefined)[] = [];
      for (let i = 0; i < 12; i++) {
        attempts.push(await attemptOf('/'));
        await sleep(400);
      }
      assert.ok(
        attempts.every((one) => one === '1' || one === '2'),
        attempts.join(),
      );
      assert.ok(attempts.includes('2'), attempts.join());
      assert.ok((await metricOf(mesh.waypoint, 'envoy_cluster_upstream_rq_retry', cluster)) > 0);
    } finally {
      await mesh.testbed.stop('hang-v1', 'SIGKILL');
      mesh.startApplication('v1');
    }
    await until('it responds', 30_000, async () => {
      return (await ask('/', { service: 'echo-v1' })).status === 200;
    });
  }));
