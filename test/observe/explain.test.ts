/** What `weft explain` says of a testbed is what happens there: the same path, the same decision, the same policy. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import type { Explanation } from '../../src/cli/explain/result.js';
import { distRoot } from '../../src/cli/run.js';
import { readLedger } from '../../src/cli/standalone/ledger.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';
import { listening } from '../support/demo-mesh.js';
import { RouteMesh, ask, httpRoute, inForce } from '../support/routes.js';

const mesh = new RouteMesh('explain');
const demo = join(distRoot, 'src', 'cli', 'demo');
const [apiVip, cacheVip, lonelyVip] = ['10.96.0.10', '10.96.0.12', '10.96.0.40'];

before(async () => {
  await mesh.up();
  for (const [name, port] of [
    ['api', '8080'],
    ['cache', '6379'],
    ['cache-2', '6379'],
  ] as const) {
    mesh.testbed.start(`app-${name}`, `weft-${name}`, process.execPath, [join(demo, 'echo.js'), name, port]);
    await listening(`weft-${name}`, Number(port));
  }
});
after(() => mesh.down());

function write(file: string, text: string): void {
  writeFileSync(join(readLedger(mesh.testbed.state)?.from ?? '', file), text);
}

interface Answer {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}
const weft = (...args: readonly string[]): Promise<Answer> =>
  new Promise((resolve) => {
    execFile(
      process.execPath,
      [join(distRoot, 'src', 'cli', 'weft.js'), 'explain', '--state', mesh.testbed.state, ...args],
      { encoding: 'utf8', timeout: 60_000 },
      (error, stdout, stderr) => resolve({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr }),
    );
  });
async function explained(...args: readonly string[]): Promise<Explanation & { readonly code: number }> {
  const { code, stdout, stderr } = await weft(...args, '--json');
  assert.notEqual(stdout, '', stderr);
  return { ...(JSON.parse(stdout) as Explanation), code };
}

/** The status of a response, or 0. */
const status = async (netns: string, url: string): Promise<number> =>
  (await ask('', { from: netns, url })).status;

const records = (node: string): ConnectionRecord[] => {
  const path = join(mesh.testbed.runDir(node), 'connections.log');
  return existsSync(path)
    ? readFileSync(path, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as ConnectionRecord)
    : [];
};
const seen = (node: string, isIt: (one: ConnectionRecord) => boolean): Promise<ConnectionRecord> =>
  until('the connection is logged', 30_000, () => records(node).find(isIt));

test('the kernel path: both pods are on one node', async () => {
  const { outcome, code, ways } = await explained('shop/web', 'shop/cache');
  assert.deepEqual([outcome, code, ways[0]?.path, ways.length], ['allowed', 0, 'kernel', 1]);
  await until('a kernel flow', 30_000, async () => {
    assert.equal(await status('weft-web', `http://${cacheVip}:6379/`), 200);
    return records('node-a').some(({ path, source }) => path === 'kernel' && source.pod === 'web');
  });
});

test('a tunnel: the pods are on different nodes, and no policy forbids it', async () => {
  const { outcome, code, ways, destination, certificates } = await explained('shop/web', 'shop/api:80');
  assert.deepEqual([outcome, code, ways[0]?.path, ways[0]?.mutualTls], ['allowed', 0, 'hbone', true]);
  assert.equal(await status('weft-web', `http://${apiVip}/`), 200);
  const {
    path,
    source,
    destination: there,
  } = await seen(
    'node-a',
    (one) => one.direction === 'outbound' && one.destination.pod === 'api' && one.source.pod === 'web',
  );
  assert.equal(path, 'hbone');
  assert.equal(source.identity, 'spiffe://cluster.local/ns/shop/sa/web');
  assert.equal(destination.identity, there.identity);
  assert.deepEqual(
    certificates?.map(({ node, identity, problem }) => [node, identity, problem]),
    [
      ['node-a', source.identity, undefined],
      ['node-b', there.identity, undefined],
    ],
  );
  assert.ok(certificates.every(({ notAfter = '' }) => Date.parse(notAfter) > Date.now()));
  // The same connection, from the logs. Each side writes its line when it has seen the end.
  const past = await until('both agents have logged it', 30_000, async () => {
    const { stdout } = await weft(source.address, '--json');
    const found = JSON.parse(stdout) as {
      readonly past: readonly { readonly file: string }[];
      readonly now: Explanation;
    };
    // Another connection of the pod may have had the same port, to another server or before.
    const files = [...new Set(found.past.map(({ file }) => file))].join();
    return files === 'agent-node-a/connections.log,agent-node-b/connections.log' && found;
  });
  assert.equal(past.now.outcome, 'allowed');
});

test('a policy refuses: before it is applied by --what-if, and afterwards', async () => {
  const policy = `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: no-intruder, namespace: shop }
spec:
  action: DENY
  selector: { matchLabels: { app: api } }
  rules: [{ from: [{ serviceAccounts: [shop/intruder] }] }]
`;
  const file = join(mesh.testbed.state, 'what-if.yaml');
  writeFileSync(file, policy);
  const changed = await weft('shop/intruder', 'shop/api:80', '--what-if', file, '--json');
  const { now, whatIf } = JSON.parse(changed.stdout) as { now: Explanation; whatIf: Explanation };
  assert.deepEqual([now.outcome, whatIf.outcome, changed.code], ['allowed', 'refused', 3]);
  assert.equal(await status('weft-intruder', `http://${apiVip}/`), 200, '--what-if applies nothing');
  write('no-intruder.yaml', policy);
  await until(
    'it is refused',
    30_000,
    async () => (await status('weft-intruder', `http://${apiVip}/`)) === 0,
  );
  const { outcome, code, ways } = await explained('shop/intruder', 'shop/api:80');
  const record = await seen('node-b', (one) => one.path === 'refused' && one.policy !== undefined);
  assert.deepEqual([outcome, code], ['refused', 3]);
  assert.deepEqual(
    [ways[0]?.code, ways[0]?.policy, ways[0]?.rule, ways[0]?.why, ways[0]?.decidedBy],
    [record.code, record.policy, record.rule, record.why, 'node node-b'],
  );
  assert.deepEqual(
    ways[0]?.policies.map(({ policy: name, decides, result }) => [name, decides, result]),
    [['shop/no-intruder', true, 'refuses']],
  );
  assert.equal((await explained('shop/web', 'shop/api:80')).outcome, 'allowed');
  assert.equal(await status('weft-web', `http://${apiVip}/`), 200);
});

test('a waypoint: the rule that matches, its backend, its filters, and what they respond', () =>
  mesh.withRoute(
    httpRoute(
      'explained',
      `
    - name: two
      matches: [{ path: { type: PathPrefix, value: /two } }]
      filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-set, value: secret }] } }]
      backendRefs: [{ name: echo-v2, port: 80 }]`,
    ),
    inForce('explained'),
    async () => {
      const { outcome, ways } = await explained('shop/web', 'shop/echo:80', '--path', '/two/x');
      assert.deepEqual(
        [outcome, ways[0]?.path, ways[0]?.waypoint?.name, ways[0]?.waypoint?.route],
        ['allowed', 'waypoint', 'shop/waypoint', 'shop/explained/two'],
      );
      assert.match(ways[0]?.to ?? '', /shop\/echo-v2/);
      assert.match(ways[0]?.waypoint?.filters.join() ?? '', /request headers.*x-set/);
      assert.doesNotMatch(JSON.stringify(ways), /secret/);
      assert.equal((await ask('/two/x')).pod, 'echo-v2');
      const redirected = await explained('shop/web', 'shop/echo:80', '--path', '/in-force/explained');
      assert.deepEqual([redirected.outcome, redirected.ways[0]?.waypoint?.status], ['allowed', 302]);
      const without = await explained('shop/web', 'shop/echo:80', '--path', '/else');
      assert.deepEqual([without.outcome, without.ways[0]?.code], ['refused', 'WEFT_NO_ROUTE']);
      assert.equal((await ask('/else')).status, 404);
    },
  ));

test('a policy at a waypoint: the same client is allowed one path and refused another', async () => {
  write(
    'public.yaml',
    `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: no-admin, namespace: shop }
spec:
  action: DENY
  selector: { matchLabels: { app: echo } }
  rules: [{ to: [{ paths: [/admin/*] }] }]
`,
  );
  await until('it is in force', 30_000, async () => (await ask('/admin/x')).status === 403);
  const refused = await explained('shop/web', 'shop/echo:80', '--path', '/admin/x');
  assert.deepEqual(
    [refused.outcome, refused.ways[0]?.policy, refused.ways[0]?.decidedBy],
    ['refused', 'shop/no-admin', 'waypoint shop/waypoint'],
  );
  const allowed = await explained('shop/web', 'shop/echo:80', '--path', '/x');
  assert.equal(allowed.outcome, 'allowed');
  assert.equal((await ask('/x')).status, 200);
});

test('no waypoint: the Service names one that does not exist, so nothing reaches its pods', async () => {
  write(
    'lonely.yaml',
    `kind: Service
metadata: { name: lonely, namespace: shop, labels: { weft.dev/waypoint: nowhere } }
spec:
  selector: { app: cache }
  clusterIPs: [${lonelyVip}]
  ports: [{ name: http, port: 80, targetPort: 6379 }]
`,
  );
  const record = await until('it is refused', 30_000, async () => {
    assert.equal(await status('weft-web', `http://${lonelyVip}/`), 0);
    return records('node-a').find(
      ({ service, code }) => service?.startsWith('lonely.') === true && code !== undefined,
    );
  });
  const { outcome, code, ways } = await explained('shop/web', 'shop/lonely');
  assert.deepEqual([outcome, code, ways[0]?.code, ways[0]?.why], ['refused', 3, record.code, record.why]);
});

test('what is not there is said with what there is', async () => {
  const { code, stderr } = await weft('shop/wbe', 'shop/api:80');
  assert.equal(code, 2);
  assert.match(stderr, /WEFT_EXPLAIN_INPUT.*there is no pod, Deployment or app shop\/wbe.*web/);
});
