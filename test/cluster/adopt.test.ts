/**
 * The way of docs/adopt.md on a real cluster, with its own commands: the one of KUBECONFIG, or else one on this machine (test/cluster/up), which is
 * removed afterwards. The tests share the cluster and run in this order.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { kubectl, releaseCluster, run, takeCluster, weft } from '../support/cluster.js';
import { impersonating, installBeside, observeServed } from '../support/observed-cluster.js';
import { ask, askUntil, type ClientResponse } from './waypoint/client.js';

const dir = mkdtempSync(join(tmpdir(), 'weft-adopt-'));
const suggested = join(dir, 'suggested.yaml');
const orders = 'http://orders.shop';

/** The commands of the page's first block, by a word that only one of them has. */
const [, way = ''] =
  /^```sh\n([^]*?)^```$/m.exec(readFileSync(join(projectRoot, 'docs', 'adopt.md'), 'utf8')) ?? [];
const lines = way.split('\n').map((line) => line.replace(/\s+# .*$/, '').trim());

/** Runs a command of the page. Rejects if its exit code is not 0. @param more further flags */
async function follow(word: string, ...more: string[]): Promise<string> {
  const found = lines.filter((line) => line.includes(word));
  const [line = ''] = found;
  assert.ok(found.length > 0, `the page has no command with ${word}`);
  const [command = '', target] = line.replaceAll('suggested.yaml', suggested).split(' > ');
  const [program = '', ...args] = command.replace(/^npx /, '').split(/\s+/);
  const text = await (program === 'weft' ? weft : kubectl)(...args, ...more);
  if (target !== undefined) writeFileSync(target, text);
  return text;
}

/** Runs a command of the page until its output matches: what is seen is reported within 20 s. */
async function followUntil(word: string, wanted: readonly RegExp[], ...more: string[]): Promise<string> {
  let last = '';
  return until(
    `${word} shows ${wanted.join(', ')}`,
    60_000,
    async () => {
      last = await follow(word, ...more);
      return wanted.every((one) => one.test(last)) && last;
    },
    1_000,
  ).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${last}`);
  });
}

const passes = ({ status }: ClientResponse): boolean => status === 200;
const mustPass = async (who: string, path: string, method = 'GET'): Promise<void> => {
  const answer = await ask(who, `${orders}${path}`, { method });
  assert.equal(answer.status, 200, `${who} ${method} ${path}: ${JSON.stringify(answer)}`);
};
const isRefused = (who: string, path: string, method = 'GET', status?: number): Promise<ClientResponse> =>
  askUntil(
    `${who} ${method} ${path} is refused`,
    (answer) => (status === undefined ? answer.error !== undefined : answer.status === status),
    who,
    `${orders}${path}`,
    { method },
  );

before(async () => {
  await takeCluster();
  await installBeside('adopt.yaml', 'shop orders', 'shop web', 'shop intruder', 'bank teller');
  await observeServed();
});
after(async () => {
  rmSync(dir, { recursive: true, force: true });
  await releaseCluster('shop', 'bank');
});

test('connections: what was seen keeps passing from audit mode to enforcement, and what was not seen is refused', async () => {
  for (const [who, path] of [
    ['shop/web', '/orders/1'],
    ['bank/teller', '/reports'],
  ] as const)
    await askUntil(`${who} calls`, passes, who, `${orders}${path}`);
  await followUntil('policy observe', [
    /^shop\/web +cluster\.local\/ns\/shop\/sa\/web +shop\/orders +8080 /m,
    /^bank\/teller +cluster\.local\/ns\/bank\/sa\/teller +shop\/orders +8080 /m,
  ]);
  assert.match(await follow('policy suggest'), /serviceAccounts: \[bank\/teller, shop\/web\]/);
  assert.match(await follow('policy diff'), /0 would be refused/);
  await follow('policy-mode=audit');
  await follow('kubectl apply');
  await mustPass('shop/web', '/orders/2');
  await mustPass('bank/teller', '/reports');
  // In audit mode a stranger passes, and is recorded once the policy is in force.
  await until(
    'the stranger is recorded',
    60_000,
    async () => {
      await mustPass('shop/intruder', '/orders/3');
      return /^shop\/intruder .* [1-9]\d* +\S+ +\S+Z +shop\/observed-orders$/m.test(
        await follow('policy observe'),
      );
    },
    2_000,
  );
  await follow('policy-mode=enforce');
  await isRefused('shop/intruder', '/orders/4');
  await mustPass('shop/web', '/orders/5');
  await mustPass('bank/teller', '/reports');
});

test('requests: with a waypoint the suggested rules have methods and paths, and refuse others', async () => {
  await kubectl('-n', 'shop', 'delete', 'accesspolicy', '--all');
  await kubectl('label', 'namespace', 'shop', 'weft.dev/policy-mode-');
  await until('the waypoint is ready', 120_000, () =>
    weft('waypoint', 'apply', '-n', 'shop', '--for-namespace').catch(() => ''),
  );
  // What was seen before, without a waypoint, is left out by --since. The control plane counts in intervals of 30 s.
  await until(
    'what was seen before is out of sight',
    120_000,
    async () => !(await weft('policy', 'observe', '-n', 'shop', '--since', '1s')).includes('shop/intruder'),
    1_000,
  );
  const beganMs = Date.now();
  const since = (): string[] => ['--since', `${Math.floor((Date.now() - beganMs) / 1000)}s`];
  await mustPass('shop/web', '/orders/101');
  await mustPass('shop/web', '/orders/102');
  await mustPass('bank/teller', '/reports', 'POST');
  await followUntil(
    'policy observe',
    [/^shop\/web .* GET \/orders\/\* +2 /m, /^bank\/teller .* POST \/reports +1 /m],
    '--since',
    '60s',
  );
  const policies = await follow('policy suggest', ...since());
  assert.match(
    policies,
    /serviceAccounts: \[shop\/web\]\n +to:\n +- \{ ports: \[8080\], methods: \[GET\], paths: \["\/orders\/\{\*\}"\] \}/,
  );
  assert.match(policies, /methods: \[POST\], paths: \[\/reports\]/);
  assert.doesNotMatch(policies, /intruder\]/);
  assert.match(await follow('policy diff', ...since()), /0 would be refused/);
  await follow('policy-mode=audit', '--overwrite');
  await follow('kubectl apply');
  await mustPass('shop/web', '/orders/103', 'DELETE');
  await followUntil(
    'policy observe',
    [/^shop\/web .* DELETE \/orders\/\* +\d+ +0 +[1-9]\d* .* shop\/observed-orders$/m],
    ...since(),
  ).catch(async () => {
    // The request was sent before the policy was in force.
    await mustPass('shop/web', '/orders/104', 'DELETE');
    return followUntil(
      'policy observe',
      [/^shop\/web .* DELETE \/orders\/\* +\d+ +0 +[1-9]\d* /m],
      ...since(),
    );
  });
  await follow('policy-mode=enforce');
  await isRefused('shop/web', '/orders/105', 'DELETE', 403);
  await isRefused('shop/intruder', '/orders/105', 'GET', 403);
  await isRefused('bank/teller', '/reports', 'GET', 403);
  await isRefused('bank/teller', '/orders/105', 'POST', 403);
  await mustPass('shop/web', '/orders/106');
  await mustPass('bank/teller', '/reports', 'POST');
});

test('forbidden: a viewer of a namespace reads who calls whom elsewhere, or in all namespaces', async () => {
  const file = impersonating(dir, 'shopper');
  const asShopper = (...args: string[]): Promise<string> =>
    run('env', `KUBECONFIG=${file}`, process.execPath, join(projectRoot, 'dist/src/cli/weft.js'), ...args);
  const own = await asShopper('edges', '-n', 'shop');
  assert.match(own, /^shop\/web /m);
  assert.match(
    own,
    /^spiffe:\/\/cluster\.local\/ns\/bank\/sa\/teller /m,
    'the workload elsewhere is not named',
  );
  assert.doesNotMatch(own, /bank\/teller/);
  assert.match(
    await asShopper('policy', 'observe', '-n', 'shop'),
    /^bank\/ +cluster\.local\/ns\/bank\/sa\/teller /m,
  );
  for (const args of [
    ['edges', '-n', 'bank'],
    ['edges'],
    ['policy', 'observe'],
    ['policy', 'observe', '-n', 'bank'],
  ])
    await assert.rejects(
      asShopper(...args),
      /cannot list resource "edges" in API group "observe\.weft\.dev"/,
      args.join(' '),
    );
});
