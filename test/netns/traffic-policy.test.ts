/** Which TrafficPolicy is in force for a request: by target, by client, by age, in dry run, and while it cannot be read. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import { startWaypoint, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh } from '../support/demo-mesh.js';

const mesh = new DemoMesh('policy');
const waypoint: WaypointReplica = { namespace: 'shop', name: 'waypoint', node: 'node-b', workers: 1 };
let testbed: Testbed;

const service = "{ group: '', kind: Service, name: echo }";
const port = "{ group: '', kind: Service, name: echo, sectionName: '80' }";
const gateway = '{ group: gateway.networking.k8s.io, kind: Gateway, name: waypoint }';
/** A policy whose effect is seen: all requests get this status. */
const policy = (
  name: string,
  target: string,
  status: number,
  more = '',
): string => `apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: ${name}, namespace: shop }
spec:
  targetRefs: [${target}]
  faults: [{ name: seen, abort: { httpStatus: ${status}, percent: '100' } }]
  ${more}
`;

async function statusOf(client: string): Promise<string> {
  const args = ['-sS', '-m', '10', '--noproxy', '*', '-o', '/dev/null', '-w', '%{http_code}'];
  return (await run(`weft-${client}`, 'curl', [...args, 'http://10.96.0.20/'], 20_000)).stdout;
}
const become = (what: string, web: number, other: number): Promise<unknown> =>
  until(what, 15_000, async () => {
    const found = await Promise.all([statusOf('web'), statusOf('intruder')].map((one) => one.catch(String)));
    return found.join() === [web, other].join();
  });

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  testbed = mesh.create();
  const echo = join(projectRoot, 'dist', 'src', 'cli', 'demo', 'echo.js');
  for (const version of ['v1', 'v2'])
    testbed.start(`echo-${version}`, `weft-echo-${version}`, process.execPath, [echo, version, '8080']);
  await testbed.up();
  await startWaypoint(testbed, waypoint);
  await become('no policy', 200, 200);
});
after(() => mesh.remove());

test('the most specific policy is in force: Gateway, Service, its clients, its port; a dry run changes nothing', async () => {
  mesh.write('default.yaml', policy('of-gateway', gateway, 410));
  await become('the default of the waypoint', 410, 410);
  mesh.write('dry.yaml', policy('tried', service, 444, 'dryRun: true'));
  mesh.write('some.yaml', policy('of-web', service, 411, 'from: [{ serviceAccount: web }]'));
  await become('a policy for one client', 411, 410);
  mesh.write('service.yaml', policy('of-service', service, 412));
  await become('the Service before the Gateway', 411, 412);
  // Of two policies of one target without an age, the first by name is in force.
  mesh.write('other.yaml', policy('z-of-service', service, 444));
  mesh.write('port.yaml', policy('of-port', port, 413));
  await become('the port before all of them', 413, 413);
  // A file with an error leaves its last valid content in force.
  mesh.write('port.yaml', policy('of-port', port, 99));
  mesh.write('service.yaml', policy('of-service', service, 415));
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  assert.deepEqual([await statusOf('web'), await statusOf('intruder')], ['413', '413']);
});
