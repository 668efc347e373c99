/**
 * `weft explain` on a real cluster: the one of KUBECONFIG, or else one on this machine (test/cluster/up), which is removed afterwards. The tests
 * share the cluster and run in this order.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import type { Explanation } from '../../src/cli/explain/result.js';
import { distRoot } from '../../src/cli/run.js';
import { applyText, env, kubectl, releaseCluster, takeCluster, weft } from '../support/cluster.js';
import { accountOf, bind, installBeside, observeServed } from '../support/observed-cluster.js';
import { askAll } from './waypoint/client.js';

const dir = mkdtempSync(join(tmpdir(), 'weft-explain-'));

interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}
const explain = (kubeconfig: string | undefined, ...args: readonly string[]): Promise<Said> =>
  new Promise((resolve) => {
    execFile(
      process.execPath,
      [join(distRoot, 'src', 'cli', 'weft.js'), 'explain', ...args],
      {
        encoding: 'utf8',
        timeout: 120_000,
        env: { ...env, ...(kubeconfig ? { KUBECONFIG: kubeconfig } : {}) },
      },
      (error, stdout, stderr) => resolve({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr }),
    );
  });
async function explained(...args: readonly string[]): Promise<Explanation & { readonly code: number }> {
  const { code, stdout, stderr } = await explain(undefined, ...args, '--json');
  assert.notEqual(stdout, '', stderr);
  return { ...(JSON.parse(stdout) as Explanation), code };
}
/** All objects are read only if the control plane does not say what concerns both. */
const isOfControl = ({ notes }: Explanation): boolean => !notes.join().includes('all objects were read');

before(async () => {
  await takeCluster();
  await installBeside('smi-metrics.yaml', 'shop web', 'shop client', 'bank teller');
  await observeServed();
});
after(async () => {
  rmSync(dir, { recursive: true, force: true });
  await releaseCluster('shop', 'bank');
});

test('allowed: the control plane says what concerns both, and a request gets through', async () => {
  const one = await explained('bank/teller', 'shop/web:80', '--certificates');
  assert.deepEqual([one.outcome, one.code], ['allowed', 0], JSON.stringify(one));
  assert.ok(isOfControl(one), one.notes.join());
  assert.ok(['hbone', 'local', 'kernel'].includes(one.ways[0]?.path ?? ''), JSON.stringify(one.ways));
  const certificates = one.certificates ?? [];
  assert.ok(certificates.length > 0);
  for (const { notAfter = '', problem } of certificates)
    assert.ok(problem === undefined && Date.parse(notAfter) > Date.now(), JSON.stringify(certificates));
  const [answer] = await askAll('bank/teller', { url: 'http://web.shop/', count: 1 });
  assert.equal(answer?.status, 200);
});

test('denied: explain names the policy, before it is applied by --what-if, and afterwards', async () => {
  const policy = `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: no-bank, namespace: shop }
spec: { action: DENY, selector: { matchLabels: { app: web } }, rules: [{ from: [{ namespaces: [bank] }] }] }
`;
  const file = join(dir, 'policy.yaml');
  writeFileSync(file, policy);
  const { code, stdout } = await explain(undefined, 'bank/teller', 'shop/web:80', '--what-if', file);
  assert.equal(code, 3, stdout);
  assert.match(stdout, /^now: +allowed[^]*^with them: +refused[^]*policy shop\/no-bank rule 0/im);
  await applyText(policy);
  const refused = await until('the control plane has the policy', 30_000, async () => {
    const one = await explained('bank/teller', 'shop/web:80');
    return one.outcome === 'refused' && one;
  });
  assert.ok(isOfControl(refused), refused.notes.join());
  assert.deepEqual(
    [refused.code, refused.ways[0]?.policy, refused.ways[0]?.code],
    [3, 'shop/no-bank', 'WEFT_DENIED'],
  );
  await until('the agents have it', 30_000, async () => {
    const [answer] = await askAll('bank/teller', { url: 'http://web.shop/', count: 1 });
    return answer?.status !== 200;
  });
});

test('by the id of a connection: what happened, from the logs that the caller may read', async () => {
  const [, id = ''] = await until('an agent has logged the refusal', 60_000, async () => {
    const text = await kubectl('-n', 'weft-system', 'logs', '-l', 'app=weft-agent', '--tail=-1', '--prefix');
    const line = text
      .split('\n')
      .filter((one) => one.includes('"policy":"shop/no-bank"') && one.includes('"address"'))
      .at(-1);
    return line !== undefined && /"source":\{[^}]*"address":"([^"]+)"/.exec(line);
  });
  const { code, stdout, stderr } = await explain(undefined, id);
  assert.equal(code, 3, stdout + stderr);
  assert.match(stdout, /^REFUSED +.*policy shop\/no-bank rule 0/m);
  assert.match(stdout, /^now: REFUSED/m);
});

test('through a waypoint: the same caller is refused by a rule on the path, and allowed without it', async () => {
  await kubectl('-n', 'shop', 'delete', 'accesspolicy', 'no-bank');
  await until('the waypoint is ready', 120_000, () =>
    weft('waypoint', 'apply', '-n', 'shop', '--for-namespace').catch(() => ''),
  );
  await applyText(`apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: no-admin, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: web }]
  action: DENY
  rules: [{ from: [{ namespaces: [bank] }], to: [{ paths: ['/admin*'] }] }]
`);
  await until('the control plane has it', 30_000, async () => {
    const one = await explained('bank/teller', 'shop/web:80', '--path', '/admin/x');
    return one.outcome === 'refused' && one.ways[0]?.policy === 'shop/no-admin';
  });
  const allowed = await explained('bank/teller', 'shop/web:80', '--path', '/orders');
  assert.deepEqual(
    [allowed.outcome, allowed.ways[0]?.path],
    ['allowed', 'waypoint'],
    JSON.stringify(allowed),
  );
  assert.ok(isOfControl(allowed), allowed.notes.join());
  await until('the waypoint refuses', 60_000, async () => {
    const [answer] = await askAll('bank/teller', { url: 'http://web.shop/admin/x', count: 1 });
    return answer?.status === 403;
  });
});

test('by the caller’s right: of both namespaces all is said, of one nothing that the other decides, and without a right nothing', async () => {
  const [both, one, none] = [
    await accountOf(dir, 'shop', 'reader-of-both'),
    await accountOf(dir, 'shop', 'reader-of-shop'),
    await accountOf(dir, 'shop', 'mallory'),
  ];
  await bind('shop', 'both', 'weft-edges-reader', 'shop:reader-of-both');
  await bind('bank', 'both', 'weft-edges-reader', 'shop:reader-of-both');
  await bind('shop', 'one', 'weft-edges-reader', 'shop:reader-of-shop');
  const question = ['bank/teller', 'shop/web:80', '--path', '/admin/x', '--json'];
  const all = await until('the rights count', 30_000, async () => {
    const said = await explain(both, ...question);
    return said.code === 3 && said;
  });
  assert.match(all.stdout, /"policy":"shop\/no-admin"/);
  const some = await explain(one, ...question);
  assert.equal(some.code, 4, some.stdout + some.stderr);
  assert.match(some.stdout, /namespace bank, too, for which you lack the right to list explanations/);
  assert.match(some.stdout, /"endpoints":\[{"name":"shop\/web-/, 'what lies at the end that it may read');
  assert.match(some.stdout, /policies that apply at the destination[^"]*shop\/no-admin/);
  const hidden = (
    await kubectl('-n', 'bank', 'get', 'pods', '-o', 'jsonpath={.items[*].status.podIP}')
  ).split(' ');
  assert.ok(hidden.some((ip) => ip.startsWith('10.244.')));
  for (const text of ['sa/teller', ...hidden.map((ip) => `"${ip}"`), ...hidden.map((ip) => `"${ip}:`)])
    assert.ok(!some.stdout.includes(text), `nothing of the client, whose namespace it may not read: ${text}`);
  const byIdentity = await explain(
    one,
    'shop/web:80',
    ...['--identity', 'spiffe://cluster.local/ns/bank/sa/default', '--path', '/admin/x', '--json'],
  );
  assert.equal(byIdentity.code, 3, byIdentity.stdout + byIdentity.stderr);
  assert.match(byIdentity.stdout, /"policy":"shop\/no-admin"/);
  const reverse = await explain(one, 'shop/client', 'bank/teller:80', '--json');
  assert.equal(reverse.code, 4, reverse.stdout + reverse.stderr);
  assert.doesNotMatch(reverse.stdout, /sa\/teller/);
  const nothing = await explain(none, ...question);
  assert.notEqual(nothing.code, 0);
  assert.notEqual(nothing.code, 3);
  assert.doesNotMatch(nothing.stdout + nothing.stderr, /no-admin/);
  const past = await explain(none, '10.244.1.1:1');
  assert.match(past.stderr, /lack the right to list pods/);
});
