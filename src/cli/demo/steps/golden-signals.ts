/** Requests are counted without a waypoint: on the kernel path, and between nodes. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { until } from '../../../base/wait.js';
import type { Edge } from '../../../model/edge.js';
import { adminGet } from '../../admin.js';
import { askState } from '../../control-admin.js';
import { edgesQuestion } from '../../edges/edges-question.js';
import { apiIp, cacheIp, here, namespace, type Step } from '../stage.js';

const port = 8090;
const server = 'golden-signals-server';
const metricsPort = 15020;
/** Edges are reported every 10 s, on a slow machine later. */
const reportedMs = 90_000;

/** The edge of requests from web, as the client's side reports it. */
const isOf =
  (workload: string, path: string, template: string) =>
  ({ source, destination, reporter, ...edge }: Edge): boolean =>
    source.workload === 'web' &&
    destination.workload === workload &&
    reporter === 'source' &&
    edge.path === path &&
    edge.method === 'GET' &&
    edge.pathTemplate === template;

export const goldenSignalsStep: Step = {
  name: 'golden-signals-without-waypoint',
  title:
    'Label the namespace weft.dev/golden-signals=enabled: requests are counted without a waypoint, on the kernel path and between nodes',
  run: async (stage) => {
    stage.testbed.start(server, 'weft-cache', process.execPath, [
      join(here, 'echo.js'),
      'cache',
      String(port),
    ]);
    const get = async (ip: string, path: string): Promise<boolean> =>
      (await stage.curl('weft-web', `http://${ip}:${path}`)).code === 0;
    const edges = async (): Promise<readonly Edge[]> =>
      (await askState(stage.state, edgesQuestion({ sinceMs: 0 }))).edges;
    await until('the server responds', 30_000, () => get(cacheIp, `${port}/before/opting-in`));
    stage.write('namespace.yaml', namespace('weft.dev/mesh: enabled, weft.dev/golden-signals: enabled'));
    const seen = await until('requests of both paths are reported', reportedMs, async () => {
      // Connections that are open when the label comes are not observed: curl opens one for each request.
      for (const path of ['/orders/4711?token=secret', '/status/503']) await get(cacheIp, `${port}${path}`);
      await get(apiIp, '8080/');
      const all = await edges();
      const [orders, failed, far] = [
        all.find(isOf('cache', 'kernel', '/orders/*')),
        all.find(isOf('cache', 'kernel', '/status/*')),
        all.find(isOf('api', 'hbone', '/')),
      ];
      return orders && failed && far && { orders, failed, far };
    });
    const { orders, failed, far } = seen;
    assert.equal(orders.counts.failures, 0);
    assert.equal(failed.counts.failures, failed.counts.requests, 'status 503 is a failure');
    for (const { counts } of [orders, failed, far])
      assert.equal(
        counts.latencyCounts.reduce((sum, count) => sum + count, 0),
        counts.requests,
        'each request has a latency',
      );
    const all = await edges();
    assert.ok(!all.some(({ pathTemplate }) => /secret|4711|before/.test(pathTemplate)));
    const metrics = await adminGet('weft-node-a', metricsPort, '/metrics');
    const found = /^istio_requests_total\{reporter="source".*response_code="503".*\} (\d+)$/m.exec(metrics);
    assert.ok(found, 'the metrics have the status');
    stage.write('namespace.yaml', namespace('weft.dev/mesh: enabled'));
    await stage.testbed.stop(server);
    return {
      onTheKernelPath: orders.counts.requests,
      path: orders.pathTemplate,
      failedOnTheKernelPath: failed.counts.failures,
      betweenNodes: far.counts.requests,
      metric: found[0],
    };
  },
  summary: (e) =>
    `${String(e['onTheKernelPath'])} requests of ${String(e['path'])} and ${String(e['failedOnTheKernelPath'])} with status 503 counted by the kernel, ${String(e['betweenNodes'])} requests between nodes`,
};
