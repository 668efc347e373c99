/** `weft dashboard` of a testbed: what its snapshot says, what its page shows in Chromium, and the page as a file. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import type { Browser } from 'puppeteer-core';
import { until } from '../../src/base/wait.js';
import { noRatesText } from '../../src/cli/edges/with-rates.js';
import { distRoot } from '../../src/cli/run.js';
import { serverEvents } from '../../src/dashboard/session.js';
import type { EdgeState, MeshSnapshot } from '../../src/model/mesh-snapshot.js';
import {
  axeViolations,
  openPage,
  policyViolations,
  startBrowser,
  takeScreenshot,
  type View,
} from '../support/browser.js';
import { startDashboard, type Dashboard } from '../support/dashboard.js';
import { DemoMesh } from '../support/demo-mesh.js';
import { startObserved, statusOf } from '../support/observed-mesh.js';

const mesh = new DemoMesh('dashboard');
let dashboard: Dashboard;
let browser: Browser;
/** Reports come every 10 s, on a slow machine later. */
const reportedMs = 60_000;

const serving = (client: string, url: string, wanted = '200'): Promise<unknown> =>
  until(`${url} says ${wanted} to ${client}`, 30_000, async () => (await statusOf(client, url)) === wanted);

/** The snapshot, once `holds`. */
async function snapshot(what: string, holds: (one: MeshSnapshot) => boolean): Promise<MeshSnapshot> {
  let last: MeshSnapshot | undefined;
  return until(
    what,
    reportedMs,
    async () => {
      last = await dashboard.snapshot();
      return holds(last) && last;
    },
    500,
  ).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(last)}`);
  });
}
const edgeOf = (
  { edges }: MeshSnapshot,
  source: string,
  destination: string,
  path: string,
): EdgeState | undefined =>
  edges.find((one) => one.source === source && one.destination === destination && one.path === path);

before(async () => {
  await startObserved(mesh);
  dashboard = await startDashboard(['--state', mesh.state]);
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await dashboard?.stop();
  await mesh.remove();
});

test('the snapshot has the edges that were made: mutual TLS, the kernel path, requests at a waypoint, and refusals with their policy', async () => {
  await serving('web', 'http://10.96.0.10/');
  await serving('intruder', 'http://10.96.0.10/', '000');
  await serving('web', 'http://10.96.0.20/orders/7');
  await until('a connection takes the kernel path', reportedMs, async () => {
    await statusOf('web', 'http://10.244.1.12:6379/');
    return edgeOf(await dashboard.snapshot(), 'shop/web', 'shop/cache', 'kernel') !== undefined;
  });
  const taken = await snapshot(
    'edges to api and echo, and the refusal',
    (one) =>
      edgeOf(one, 'shop/web', 'shop/api', 'hbone') !== undefined &&
      edgeOf(one, 'shop/intruder', 'shop/api', 'refused')?.policies.length === 1 &&
      one.edges.some(({ path, requests }) => path === 'waypoint' && requests > 0),
  );
  assert.equal(edgeOf(taken, 'shop/web', 'shop/api', 'hbone')?.security, 'mutual-tls');
  assert.equal(edgeOf(taken, 'shop/web', 'shop/cache', 'kernel')?.security, 'same-node');
  assert.deepEqual(edgeOf(taken, 'shop/intruder', 'shop/api', 'refused')?.policies, ['shop/only-web']);
  const requests = taken.edges.find(({ path }) => path === 'waypoint');
  assert.equal(requests?.successShare, 1);
  assert.deepEqual(
    requests?.routes.map(({ method, pathTemplate }) => `${method} ${pathTemplate}`),
    ['GET /orders/*'],
  );
  // The control plane may have started less than a minute ago.
  assert.deepEqual(
    taken.incomplete.filter((one) => one !== `edges: ${noRatesText}`),
    [],
  );
  assert.equal(taken.unknown, undefined);
  // Without rates the edges are read in part.
  assert.deepEqual(taken.partial?.filter((part) => part !== 'edges') ?? [], []);
  assert.equal(taken.mesh.kind, 'testbed');
  const { history, edges } = await snapshot(
    'the line of success has the requests',
    (one) => one.history?.points.some(({ successShare }) => successShare === 1) === true,
  );
  assert.ok(
    history?.points.every(({ timeMs }) => timeMs >= history.fromMs),
    'it begins where data begins',
  );
  assert.ok(edges.find(({ path }) => path === 'waypoint')?.shares?.includes(1), 'also that of the edge');
});

test('the snapshot says who is in the mesh, which programs are ready and until when their certificates are valid', async () => {
  const { workloads, programs } = await snapshot('all programs are ready and in sync', (one) =>
    one.programs.every(({ health, isInSync }) => health === 'ready' && isInSync !== false),
  );
  assert.deepEqual(
    programs.map(({ kind, name }) => `${kind} ${name}`),
    ['control-plane control', 'agent node-a', 'agent node-b', 'waypoint shop/waypoint'],
  );
  for (const { name, certificateExpiresMs = 0 } of programs)
    assert.ok(certificateExpiresMs > Date.now(), name);
  const api = workloads.find(({ id }) => id === 'shop/api');
  assert.deepEqual(
    [api?.identity, api?.pods, api?.services],
    [
      'spiffe://cluster.local/ns/shop/sa/api',
      [{ name: 'api', node: 'node-b', isEnrolled: true }],
      ['shop/api'],
    ],
  );
  assert.equal(workloads.find(({ id }) => id === 'shop/echo')?.waypoint, 'shop/waypoint');
});

test('policies say who may do what, to which workloads, and how many they refused', async () => {
  const { policies } = await snapshot('the policy refused', (one) =>
    one.policies.some(({ refused }) => refused > 0),
  );
  const policy = policies.find(({ name }) => name === 'only-web');
  assert.deepEqual(
    [policy?.kind, policy?.namespace, policy?.action, policy?.workloads],
    ['AccessPolicy', 'shop', 'allow', ['shop/api']],
  );
  assert.match(policy?.rules[0] ?? '', /^Allows clients with identity \*\/sa\/web\.$/);
});

test('an object that is not in force as written is a problem with what to do, and a change; both go when it is corrected', async () => {
  mesh.write(
    'wrong.yaml',
    'apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: wrong, namespace: shop }\nspec: { action: MAYBE, rules: [] }\n',
  );
  const { problems } = await snapshot('the problem', ({ problems: all }) =>
    all.some(({ what }) => what.includes('wrong')),
  );
  const problem = problems.find(({ what }) => what.includes('wrong'));
  assert.equal(problem?.level, 'fail');
  assert.match(problem?.help ?? '', /correct it/);
  mesh.write(
    'wrong.yaml',
    'apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: wrong, namespace: shop }\nspec: { action: DENY, rules: [] }\n',
  );
  const { changes } = await snapshot(
    'the change, and no problem',
    (one) =>
      !one.problems.some(({ what }) => what.includes('wrong')) &&
      one.changes.some(({ name }) => name === 'wrong'),
  );
  assert.equal(changes.find(({ name }) => name === 'wrong')?.kind, 'AccessPolicy');
});

test('explain answers as the command does', async () => {
  const allowed = await dashboard.ask('/api/explain?source=shop/web&destination=shop/api&port=80');
  assert.equal(allowed.status, 200);
  assert.equal(((await allowed.json()) as { outcome: string }).outcome, 'allowed');
  const refused = await dashboard.ask('/api/explain?source=shop/intruder&destination=shop/api&port=80');
  assert.equal(((await refused.json()) as { outcome: string }).outcome, 'refused');
  const unknown = await dashboard.ask('/api/explain?source=shop/none&destination=shop/api&port=80');
  assert.equal(unknown.status, 400);
  assert.match(((await unknown.json()) as { error: string }).error, /namespace shop has/);
});

test('without the token nothing is said about the mesh', async () => {
  for (const headers of [{ authorization: '' }, { authorization: `Bearer ${'x'.repeat(32)}` }])
    assert.equal((await fetch(`${dashboard.origin}/api/snapshot`, { headers })).status, 401);
  const page = await (await fetch(dashboard.origin)).text();
  assert.ok(!page.includes(dashboard.token) && !page.includes('shop'));
});

test('the live tap has connections as they happen', async () => {
  const ending = new AbortController();
  const { status, body } = await dashboard.ask('/api/tap?namespace=shop', { signal: ending.signal });
  assert.equal(status, 200);
  const calls = setInterval(() => void statusOf('web', 'http://10.96.0.10/'), 500);
  try {
    for await (const { event, data } of serverEvents(body as unknown as AsyncIterable<Uint8Array>)) {
      if (event !== 'message') continue;
      const { kind, source, destination } = JSON.parse(data) as { [name: string]: { workload: string } };
      assert.ok(kind);
      if (source?.workload === 'web' && destination?.workload === 'api') break;
    }
  } finally {
    clearInterval(calls);
    ending.abort();
  }
});

const views: readonly View[] = [
  { width: 1400, height: 900, scheme: 'light' },
  { width: 1400, height: 900, scheme: 'dark' },
  { width: 400, height: 800, scheme: 'light' },
  { width: 400, height: 800, scheme: 'dark' },
];
const graphUrl = (url: string): string => url.replace('#', '#/graph?');

for (const view of views)
  test(`the page at ${view.width} px, ${view.scheme}: each edge is in the graph's table; no error, nothing its policy refuses, nothing axe finds`, async () => {
    const { edges } = await dashboard.snapshot('?since=5m');
    const { page, problems, close } = await openPage(
      browser,
      graphUrl(dashboard.url),
      view,
      '[data-edge-id]',
    );
    try {
      const shown = (await page.$$eval('[data-edge-id]', (rows) =>
        rows.map((row) => row.getAttribute('data-edge-id')),
      )) as string[];
      assert.deepEqual(
        edges.map(({ id }) => id).filter((id) => !shown.includes(id)),
        [],
      );
      assert.ok(!page.url().includes(dashboard.token), 'the token is not in the address bar');
      for (const name of ['overview', 'graph', 'policies', 'problems', 'changes', 'tap'])
        for (const step of ['open', 'check']) {
          if (step === 'open') await page.evaluate(`location.hash = '#/${name === 'overview' ? '' : name}'`);
          else {
            await page.waitForSelector('h1', { timeout: 30_000 });
            assert.deepEqual(await axeViolations(page), [], name);
            await takeScreenshot(page, `dashboard-${name}-${view.width}-${view.scheme}`);
          }
        }
      assert.deepEqual(await policyViolations(page), []);
      assert.deepEqual(problems, []);
    } finally {
      await close();
    }
  });

test('the page as a file shows the same without a server', async () => {
  const file = join(mesh.state, 'mesh.html');
  await new Promise<void>((resolve, reject) =>
    execFile(
      process.execPath,
      [join(distRoot, 'src', 'cli', 'weft.js'), 'dashboard', '--state', mesh.state, '--static', file],
      (error) => (error ? reject(error) : resolve()),
    ),
  );
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const text = readFileSync(file, 'utf8');
  assert.ok(!text.includes(mesh.state) && !text.includes(mesh.manifests), 'no directories of this machine');
  assert.doesNotMatch(text, /PRIVATE KEY|Bearer [A-Za-z0-9]/);
  const url = `${pathToFileURL(file).href}#/graph`;
  const view = { width: 1400, height: 900, scheme: 'light' } as const;
  const { page, problems, close } = await openPage(browser, url, view, '[data-edge-id]');
  try {
    assert.ok((await page.$$('[data-edge-id]')).length > 0);
    await page.evaluate("location.hash = '#/changes'");
    await page.waitForSelector('.share-chart .line', { timeout: 30_000 });
    assert.deepEqual(await policyViolations(page), []);
    assert.deepEqual(problems, []);
    assert.deepEqual(await axeViolations(page), []);
  } finally {
    await close();
  }
});

test('it ends when it is told to, with open taps', async () => {
  const other = await startDashboard(['--state', mesh.state]);
  const tap = await other.ask('/api/tap');
  assert.equal(await other.stop(), 0);
  await tap.body?.cancel().catch(() => undefined);
});
