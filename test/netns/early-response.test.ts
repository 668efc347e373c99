/** A server responds before it has read the upload, and closes. Its response reaches the client each time, whatever is between them. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { startWaypoint, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh } from '../support/demo-mesh.js';

const mesh = new DemoMesh('early');
const program = join(projectRoot, 'test', 'netns', 'programs', 'early.py');
const place: WaypointReplica = { namespace: 'shop', name: 'waypoint', node: 'node-b', workers: 1 };
let testbed: Testbed;

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  mesh.write(
    'early.yaml',
    `kind: Service
metadata: { name: early, namespace: shop, labels: { weft.dev/waypoint: waypoint } }
spec: { selector: { app: echo, version: v1 }, clusterIPs: [10.96.0.50], ports: [{ name: http, port: 8491 }] }
---
kind: Service
metadata: { name: early-l4, namespace: shop }
spec: { selector: { app: echo, version: v1 }, clusterIPs: [10.96.0.51], ports: [{ name: http, port: 8492 }] }
---
kind: Namespace
metadata: { name: outside }
---
apiVersion: v1
kind: Pod
metadata: { name: plain-a, namespace: outside, annotations: { weft.dev/netns: weft-plain-a } }
spec: { nodeName: node-a }
status: { podIPs: [{ ip: 10.244.1.30 }, { ip: 'fd00:244:1::30' }] }
`,
  );
  testbed = mesh.create();
  testbed.start('early', 'weft-echo-v1', 'python3', [program, 'serve', '8491', '8492']);
  await testbed.up();
  await startWaypoint(testbed, place);
  await until('the waypoint serves the Service', 30_000, async () =>
    (await ask('10.96.0.50', 8491, 10, 1)).includes('413'),
  );
});
after(() => mesh.remove());

async function ask(
  host: string,
  port: number,
  size: number,
  times: number,
  netns = 'weft-web',
): Promise<string> {
  const args = [program, 'upload', host, `${port}`, `${size}`, `${times}`];
  return (await run(netns, 'python3', args, 60_000)).stdout.trim();
}

const ways: readonly [string, string, number, string?][] = [
  ['across nodes', '10.96.0.51', 8492],
  ['through a waypoint', '10.96.0.50', 8491],
  ['from a client outside the mesh', '10.244.2.60', 8492, 'weft-plain-a'],
];
for (const [way, host, port, netns] of ways) {
  test(`${way}: the response of each upload is read`, async () => {
    for (const size of [10_000, 200_000, 5_000_000])
      assert.equal(
        await ask(host, port, size, 40, netns),
        '40 HTTP/1.1 413 Payload Too Large whole',
        `${size} bytes`,
      );
  });
}
