/**
 * `weft dashboard` on a real cluster: the one of KUBECONFIG, or else one on this machine (test/cluster/up), which is removed afterwards. Each user
 * sees what the user's own rights show. The tests share the cluster and run in this order.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { noRatesText } from '../../src/cli/edges/with-rates.js';
import type { MeshSnapshot } from '../../src/model/mesh-snapshot.js';
import { env, kubectl, releaseCluster, takeCluster } from '../support/cluster.js';
import { accountOf, bind, installBeside, observeServed } from '../support/observed-cluster.js';
import { startDashboard, type Dashboard } from '../support/dashboard.js';
import { askUntil } from './waypoint/client.js';

const dir = mkdtempSync(join(tmpdir(), 'weft-dashboard-'));
const open: Dashboard[] = [];
/** Of service accounts of `shop`, by name. */
const kubeconfigs = new Map<string, string>();

function writeManifest(name: string, lines: readonly string[]): string {
  const path = join(dir, name);
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}

async function dashboardOf(kubeconfig: string | undefined, ...args: string[]): Promise<Dashboard> {
  const one = await startDashboard(args, kubeconfig === undefined ? env : { ...env, KUBECONFIG: kubeconfig });
  open.push(one);
  return one;
}

/** The snapshot, once `holds`, and all that can be read was. */
async function snapshot(
  what: string,
  of: Dashboard,
  holds: (one: MeshSnapshot) => boolean,
): Promise<MeshSnapshot> {
  let last: MeshSnapshot | undefined;
  return until(
    what,
    90_000,
    async () => {
      last = await of.snapshot();
      return !last.incomplete.some((one) => one.includes('still being read')) && holds(last) && last;
    },
    1_000,
  ).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(last)}`);
  });
}

const hasEdge = ({ edges }: MeshSnapshot, source: string): boolean =>
  edges.some((one) => one.source === source && one.destination === 'shop/orders');

before(async () => {
  await takeCluster();
  await installBeside('adopt.yaml', 'shop orders', 'shop web', 'bank teller');
  await observeServed();
  await kubectl(
    '-n',
    'shop',
    'apply',
    '-f',
    writeManifest('waypoint.yaml', [
      'apiVersion: gateway.networking.k8s.io/v1',
      'kind: Gateway',
      'metadata: { name: unused, namespace: shop }',
      'spec:',
      '  gatewayClassName: weft-waypoint',
      '  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]',
    ]),
  );
  await kubectl('-n', 'shop', 'wait', 'gateway/unused', '--for=condition=Programmed', '--timeout=180s');
  for (const [account, ...roles] of [
    ['reader', 'weft-edges-reader'],
    ['viewer', 'weft-edges-reader', 'view'],
    ['nobody'],
  ] as const) {
    kubeconfigs.set(account, await accountOf(dir, 'shop', account));
    for (const role of roles) await bind('shop', `${account}-${role}`, role, `shop:${account}`);
  }
  for (const who of ['shop/web', 'bank/teller'])
    await askUntil(`${who} calls`, ({ status }) => status === 200, who, 'http://orders.shop/orders/1');
});
after(async () => {
  for (const one of open) await one.stop();
  rmSync(dir, { recursive: true, force: true });
  await releaseCluster('shop', 'bank');
});

test('an administrator sees edges of all namespaces, programs and workloads', async () => {
  const taken = await snapshot(
    'both edges, and programs',
    await dashboardOf(undefined),
    (one) =>
      hasEdge(one, 'shop/web') &&
      hasEdge(one, 'bank/teller') &&
      one.programs.length >= 4 &&
      one.programs.every(({ health }) => health === 'ready'),
  );
  // The control plane may have started less than a minute ago.
  assert.deepEqual(
    taken.incomplete.filter((one) => one !== `edges: ${noRatesText}`),
    [],
  );
  assert.equal(taken.mesh.kind, 'cluster');
  const kinds = taken.programs.map(({ kind, health, version }) => `${kind} ${health} ${version}`);
  assert.deepEqual([...new Set(kinds)].sort(), [
    'agent ready 0.1.0',
    'control-plane ready 0.1.0',
    'waypoint ready 0.1.0',
  ]);
  for (const { kind, certificateExpiresMs } of taken.programs)
    if (kind === 'agent') assert.ok((certificateExpiresMs ?? Infinity) > Date.now());
    else if (kind === 'waypoint') assert.ok((certificateExpiresMs ?? 0) > Date.now());
  assert.deepEqual(taken.unknown ?? [], []);
  assert.ok((taken.history?.points.length ?? 0) > 0, 'what was observed over time');
  const orders = taken.workloads.find(({ id }) => id === 'shop/orders');
  assert.deepEqual([orders?.services, orders?.pods[0]?.isEnrolled], [['shop/orders'], true]);
});

test('a reader of the edges of one namespace sees those, and is told what else may not be read', async () => {
  const reader = await dashboardOf(kubeconfigs.get('reader'), '-n', 'shop');
  const taken = await snapshot('the edges', reader, (one) => hasEdge(one, 'shop/web'));
  assert.deepEqual(
    taken.workloads.filter(
      ({ isObservedOnly, namespace }) => isObservedOnly !== true || namespace === 'bank',
    ),
    [],
    'nothing but ends of edges, and no workload of another namespace',
  );
  assert.deepEqual(taken.programs, []);
  assert.match(taken.incomplete.join('\n'), /objects of .*Pod.* cannot be read with this account.*forbidden/);
  assert.match(taken.incomplete.join('\n'), /agents: .*forbidden/);
  assert.doesNotMatch(JSON.stringify({ ...taken, incomplete: [] }), /teller-/);
});

test('with view in the namespace its workloads and Services are there, and nothing of other namespaces', async () => {
  const viewer = await dashboardOf(kubeconfigs.get('viewer'), '-n', 'shop');
  const { workloads, incomplete, programs, programsUnread } = await snapshot(
    'edges and workloads',
    viewer,
    (one) => one.workloads.some(({ id, services }) => id === 'shop/orders' && services.length > 0),
  );
  // The right to forward ports is not in `view`.
  const waypoint = programs.find(({ kind }) => kind === 'waypoint');
  if (waypoint) {
    assert.deepEqual([waypoint.name, waypoint.certificateExpiresMs], ['shop/unused', undefined]);
    assert.match(incomplete.join('\n'), /certificates and configuration of shop\/unused .*pods\/portforward/);
  } else assert.ok(programsUnread?.some(({ kind }) => kind === 'waypoint'));
  assert.ok(programsUnread?.some(({ kind }) => kind === 'agent'));
  assert.deepEqual(
    workloads.filter(({ isObservedOnly, namespace }) => isObservedOnly !== true && namespace !== 'shop'),
    [],
  );
  assert.match(incomplete.join('\n'), /only the objects of namespace shop can be read with this account/);
});

test('without a right nothing is shown, and the right that is missing is named', async () => {
  const kubeconfig = kubeconfigs.get('nobody');
  for (const [account, ...args] of [
    [kubeconfig, '-n', 'shop'],
    [kubeconfigs.get('reader'), '-n', 'bank'],
    [kubeconfigs.get('reader')],
  ] as const) {
    const { edges, changes, incomplete } = await snapshot(
      'it is refused',
      await dashboardOf(account, ...args),
      () => true,
    );
    assert.deepEqual([edges, changes], [[], []]);
    assert.match(incomplete.join('\n'), /^edges: .*forbidden.*weft-edges-reader/m);
  }
  const tap = await (await dashboardOf(kubeconfig, '-n', 'shop')).ask('/api/tap');
  assert.equal(tap.status, 502);
  assert.match(((await tap.json()) as { error: string }).error, /forbidden/);
});
