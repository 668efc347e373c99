/**
 * `weft bug-report` on a real cluster: the one of KUBECONFIG, or else one on this machine (test/cluster/up), which is removed afterwards. The
 * tests share the cluster and run in this order.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import type { Change, ChangesAnswer } from '../../src/model/change.js';
import { leaksIn, readArchive } from '../support/archive.js';
import { applyText, env, kubectl, releaseCluster, takeCluster, weft } from '../support/cluster.js';
import { accountOf, bind, installBeside } from '../support/observed-cluster.js';

const exec = promisify(execFile);
const dir = mkdtempSync(join(tmpdir(), 'weft-report-'));
const opaque = (): string => randomBytes(18).toString('hex');
const pem = String(
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }),
);
const planted = { secret: opaque(), configMap: opaque(), environment: opaque(), header: opaque() };
/** Parts of a token or key that are long enough to be searched for. */
const piecesOf = (text: string): string[] =>
  text.split(/[\n.]/).filter((part) => part.length >= 40 && !part.startsWith('-----'));

const objects = `apiVersion: v1
kind: Secret
metadata: { name: planted, namespace: shop }
stringData: { tls.key: ${JSON.stringify(pem)}, password: ${planted.secret} }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: planted, namespace: shop }
data: { password: ${planted.configMap} }
---
apiVersion: v1
kind: Pod
metadata: { name: planted, namespace: shop, labels: { weft.dev/mesh: disabled } }
spec:
  # It is never scheduled.
  nodeSelector: { kubernetes.io/hostname: nowhere }
  containers: [{ name: app, image: app:1, env: [{ name: PASSWORD, value: ${planted.environment} }] }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: planted, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: web, port: 80 }]
  rules:
    - filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-partner-key, value: ${planted.header} }] } }]
      backendRefs: [{ name: web, port: 80 }]
`;

/** Parts of every Secret of the cluster. */
async function secretPieces(): Promise<string[]> {
  const { items } = JSON.parse(await kubectl('get', 'secrets', '-A', '-o', 'json')) as {
    readonly items: readonly { readonly data?: Readonly<Record<string, string>> }[];
  };
  return items
    .flatMap(({ data = {} }) => Object.entries(data))
    .filter(([name]) => !/cert|root|\.crt$/.test(name))
    .flatMap(([, value]) => piecesOf(Buffer.from(value, 'base64').toString('latin1')));
}

before(async () => {
  await takeCluster();
  await installBeside('smi-metrics.yaml', 'shop web');
  await until('the waypoint is ready', 120_000, () =>
    weft('waypoint', 'apply', '-n', 'shop', '--for-namespace').catch(() => ''),
  );
  // As a user applies it, so that the objects have last-applied-configuration.
  await applyText(objects);
});
after(async () => {
  rmSync(dir, { recursive: true, force: true });
  await releaseCluster('shop', 'bank');
});

test('the archive has state, objects, logs, metrics and events of the whole installation, and no secret', async () => {
  const archive = join(dir, 'admin.tar.gz');
  const printed = await weft('bug-report', '-o', archive);
  const files = await readArchive(archive);
  const names = [...files.keys()].join(' ');
  assert.match(printed, /^objects\/ \(\d+ files\)$/m);
  for (const wanted of [
    /^versions\.json$/,
    /^status\.json$/,
    /^findings\.json$/,
    /^installation\/deployments\.json$/,
    /^installation\/events\.json$/,
    /^events\.json$/,
    /^installation\/root-certificates\.json$/,
    /^objects\/pods\.json$/,
    /^objects\/httproutes\.gateway\.networking\.k8s\.io\.json$/,
    /^objects\/accesspolicies\.weft\.dev\.json$/,
    /^pods\/weft-system\/weft-control-[\w-]+\/control\.log$/,
    /^control\/edges\.json$/,
    /^control\/changes\.json$/,
    /^pods\/weft-system\/weft-control-[\w-]+\/metrics\.txt$/,
    /^pods\/weft-system\/weft-agent-\w+\/agent\.log$/,
    /^pods\/weft-system\/weft-agent-\w+\/dump\.json$/,
    /^pods\/weft-system\/weft-agent-\w+\/metrics\.txt$/,
    /^pods\/shop\/[\w-]+\/clusters\.json$/,
  ])
    assert.ok(
      [...files].some(([name, text]) => wanted.test(name) && text.length > 2),
      `${wanted} is not in ${names}: ${files.get('errors.txt')}`,
    );
  assert.match(files.get('versions.json') ?? '', /"gitVersion"/);
  assert.match(files.get('objects/httproutes.gateway.networking.k8s.io.json') ?? '', /"x-partner-key"/);
  assert.match(files.get('objects/pods.json') ?? '', /"manager"/);
  assert.doesNotMatch([...files.values()].join('\n'), /last-applied-configuration/);
  const secrets = [...Object.values(planted), ...piecesOf(pem), ...(await secretPieces())];
  assert.ok(secrets.length > 8, String(secrets.length));
  assert.deepEqual(leaksIn(files, secrets), []);
});

test('weft changes has the field manager of a change, and the agents and the waypoint that have acknowledged it', async () => {
  // Agents and waypoints are sent policies; routes are sent to waypoints only.
  await applyText(`apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: changed, namespace: shop }
spec: { selector: { matchLabels: { app: nobody } }, action: ALLOW, rules: [{ from: [{ identities: ['*/sa/web'] }] }] }
`);
  const nodes = (await kubectl('get', 'nodes', '-o', 'jsonpath={.items[*].metadata.name}')).split(' ').sort();
  let change: Change | undefined;
  let names: readonly string[] = [];
  await until('all have acknowledged the change', 60_000, async () => {
    const { changes } = JSON.parse(await weft('changes', '-n', 'shop', '--json')) as ChangesAnswer;
    change = changes.find(({ kind, name }) => kind === 'AccessPolicy' && name === 'changed');
    names = change?.receivers.map(({ name }) => name) ?? [];
    return names.length > nodes.length && change?.receivers.every((one) => one.acknowledgedMs !== undefined);
  });
  assert.equal(change?.operation, 'created');
  assert.equal(change?.by, 'kubectl-client-side-apply');
  assert.deepEqual(names.filter((name) => nodes.includes(name)).sort(), nodes);
  for (const name of names.filter((one) => !nodes.includes(one)))
    assert.match(name, /^waypoint:shop\/waypoint\/waypoint-/);
});

test('a caller who may read one namespace gets what it may read, and errors.txt has the rest', async () => {
  const kubeconfig = await accountOf(dir, 'shop', 'reader');
  await bind('shop', 'reader', 'view', 'shop:reader');
  const { users } = JSON.parse(readFileSync(kubeconfig, 'utf8')) as {
    readonly users: readonly { readonly user: { readonly token: string } }[];
  };
  const token = users[0]?.user.token ?? '';
  assert.notEqual(token, '');
  const archive = join(dir, 'reader.tar.gz');
  await exec(process.execPath, [join(projectRoot, 'dist/src/cli/weft.js'), 'bug-report', '-o', archive], {
    env: { ...env, KUBECONFIG: kubeconfig },
  });
  const files = await readArchive(archive);
  const errors = files.get('errors.txt') ?? '';
  assert.match(errors, /^objects\/pods\.json: WEFT_KUBERNETES_API: .*403.*forbidden/m);
  assert.match(errors, /^pods of the installation: WEFT_KUBERNETES_API: .*403/m);
  assert.match(errors, /^control\/edges\.json: WEFT_ADMIN: .*weft-edges-reader/m);
  assert.match(errors, /^control\/changes\.json: WEFT_ADMIN: .*right to list changes\.observe\.weft\.dev/m);
  assert.ok((files.get('versions.json') ?? '').length > 2);
  assert.equal(files.has('objects/pods.json'), false);
  assert.deepEqual(leaksIn(files, [...Object.values(planted), ...piecesOf(pem), ...piecesOf(token)]), []);
});
