/** Who called whom, as programs report it and `weft edges` shows it: each path, refusals, and requests at a waypoint. */
import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { askState } from '../../src/cli/control-admin.js';
import { edgesQuestion } from '../../src/cli/edges/edges-question.js';
import { sh } from '../../src/cli/run.js';
import type { Edge } from '../../src/model/edge.js';
import { DemoMesh } from '../support/demo-mesh.js';
import { startObserved, statusOf } from '../support/observed-mesh.js';

const mesh = new DemoMesh('edges');
/** Reports come every 10 s, on a slow machine later. */
const reportedMs = 60_000;

type Wanted = Partial<Omit<Edge, 'source' | 'destination' | 'counts'>> & {
  readonly from: string;
  readonly to: string;
};
const isWanted = (edge: Edge, { from, to, ...rest }: Wanted): boolean =>
  edge.source.workload === from &&
  edge.destination.workload === to &&
  Object.entries(rest).every(([name, value]) => edge[name as keyof Edge] === value);

/** The edge, once a report has it and `holds`. */
async function edge(wanted: Wanted, holds: (edge: Edge) => boolean = () => true): Promise<Edge> {
  let found: readonly Edge[] = [];
  let seen: readonly Edge[] = [];
  try {
    await until(`the edge ${JSON.stringify(wanted)}`, reportedMs, async () => {
      ({ edges: seen } = await askState(mesh.state, edgesQuestion({ sinceMs: 0 })));
      found = seen.filter((one) => isWanted(one, wanted) && holds(one));
      return found.length > 0;
    });
  } catch (error) {
    throw new Error(`${String(error)}; there are ${JSON.stringify(seen)}`);
  }
  assert.equal(found.length, 1);
  return found[0] as Edge;
}

const spiffe = (account: string): string => `spiffe://cluster.local/ns/shop/sa/${account}`;

const serving = async (url: string): Promise<void> => {
  await until(`${url} responds`, 30_000, async () => (await statusOf('web', url)) === '200');
};

before(async () => {
  await startObserved(mesh);
});
after(() => mesh.remove());

test('a connection between nodes is reported by the agents of both, with identities, Service and bytes', async () => {
  await serving('http://10.96.0.10/');
  const client = await edge(
    { reporter: 'source', from: 'web', to: 'api', path: 'hbone' },
    ({ counts }) => counts.bytesReceived > 0,
  );
  assert.deepEqual(
    [client.source.identity, client.source.pod, client.destination.identity, client.service, client.port],
    [spiffe('web'), 'web', spiffe('api'), 'api.shop.svc.cluster.local', 8080],
  );
  assert.ok(client.counts.connections >= 1);
  assert.equal(client.counts.refused, 0);
  const server = await edge(
    { reporter: 'destination', from: 'web', to: 'api', path: 'inbound-hbone' },
    ({ counts }) => counts.bytesReceived > 0,
  );
  assert.equal(server.source.identity, spiffe('web'));
  assert.equal(
    server.counts.bytesReceived > server.counts.bytesSent,
    true,
    'the response is the larger part',
  );
});

test('a refused connection names the policy on the side of the server', async () => {
  await until('the policy is in force', 30_000, async () => {
    const before = await statusOf('intruder', 'http://10.96.0.10/');
    return before === '000';
  });
  const refused = await edge({ reporter: 'destination', from: 'intruder', to: 'api', path: 'refused' });
  assert.equal(refused.policy, 'shop/only-web');
  assert.ok(refused.counts.refused >= 1);
  assert.equal(refused.counts.connections, 0);
  const asked = await edge({ reporter: 'source', from: 'intruder', to: 'api', path: 'refused' });
  assert.ok(asked.counts.refused >= 1);
});

test('the kernel path is reported as such', async () => {
  await serving('http://10.244.1.12:6379/');
  await until('a connection takes the kernel path', 60_000, async () => {
    assert.equal(await statusOf('web', 'http://10.244.1.12:6379/'), '200');
    const { edges } = await askState(mesh.state, edgesQuestion({ sinceMs: 0, namespace: 'shop' }));
    return edges.some((one) => one.path === 'kernel');
  });
  const kernel = await edge({ reporter: 'source', from: 'web', to: 'cache', path: 'kernel', port: 6379 });
  assert.ok(kernel.counts.connections >= 1);
  assert.ok(kernel.counts.bytesReceived > kernel.counts.bytesSent);
  assert.equal(kernel.destination.identity, spiffe('cache'));
});

test("a waypoint reports requests by method and path template, with the client's workload and the endpoint's", async () => {
  await serving('http://10.96.0.21/ready');
  const hop = await edge({
    reporter: 'source',
    from: 'web',
    to: '',
    service: 'echo-v1.shop.svc.cluster.local',
  });
  assert.deepEqual([hop.path, hop.port], ['hbone', 80], 'the waypoint chooses the endpoint');
  for (const id of [17, 18, 19])
    assert.equal(await statusOf('web', `http://10.96.0.21/orders/${id}?x=1`), '200');
  const orders = await edge(
    { reporter: 'waypoint', from: 'web', to: 'echo', pathTemplate: '/orders/*' },
    ({ counts }) => counts.requests === 3,
  );
  assert.deepEqual(
    [orders.method, orders.service, orders.port, orders.path, orders.source.identity, orders.destination.pod],
    ['GET', 'echo-v1.shop.svc.cluster.local', 8080, 'waypoint', spiffe('web'), 'echo-v1'],
  );
  assert.equal(orders.counts.failures, 0);
  assert.equal(
    orders.counts.latencyCounts.reduce((sum, one) => sum + one, 0),
    3,
  );
});

test('weft edges shows one row for each pair and path; only the owner may open the socket', async () => {
  const weft = join(projectRoot, 'dist', 'src', 'cli', 'weft.js');
  const out = sh(process.execPath, [weft, 'edges', '--state', mesh.state, '-n', 'shop']);
  assert.match(out, /^SOURCE +DESTINATION +PORT +PATH +SECURITY/m);
  assert.match(out, /^shop\/web +shop\/api +8080 +hbone +mutual TLS +[1-9]/m);
  assert.match(out, /^shop\/web +shop\/cache +6379 +kernel +same node +[1-9]/m);
  assert.match(out, /^shop\/intruder +shop\/api +\d+ +refused +- +0 +0 +[1-9]/m);
  assert.match(out, /^shop\/web +shop\/echo +8080 +waypoint +mutual TLS +0 +[1-9]/m);
  assert.doesNotMatch(out, /inbound-hbone/);
  assert.equal(statSync(join(mesh.state, 'control', 'admin.sock')).mode & 0o777, 0o600);
  const json = JSON.parse(
    sh(process.execPath, [weft, 'edges', '--state', mesh.state, '-n', 'other', '--json']),
  ) as {
    readonly edges: readonly unknown[];
  };
  assert.deepEqual(json.edges, []);
});
