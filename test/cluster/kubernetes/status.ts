/** Reports of the CLI and conditions of objects. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../../../src/base/wait.js';
import { applyText, kubectl, weft } from '../../support/cluster.js';
import { denyWeb, shop } from './shop.js';

test('weft status shows the control plane and every node, and weft check has no failing finding', async () => {
  const status = await weft('status');
  assert.match(status, /^control plane +2 of 2 ready/);
  for (const node of (await kubectl('get', 'nodes', '-o', 'jsonpath={.items[*].metadata.name}')).split(' '))
    assert.match(
      status,
      new RegExp(`^${node} +ready +in sync +(\\d+) of \\1 .*first ends in .* in its place`, 'm'),
    );
  assert.match(await weft('status', '--all'), /kube-system\/coredns-\S+ +node\d +namespace-not-enrolled/);
  const findings = JSON.parse(await weft('check', '--json')) as { level: string; what: string }[];
  assert.deepEqual(
    findings.filter(({ level }) => level === 'fail'),
    [],
  );
});

test('weft check finds a NetworkPolicy that blocks tunnels, and names the rule to add', async () => {
  const policy = (ports: string): string => `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: only-http, namespace: shop }
spec: { podSelector: {}, policyTypes: [Ingress], ingress: [{ ports: [${ports}] }] }
`;
  await applyText(policy('{ port: 8080 }'));
  await assert.rejects(weft('check'), (error: { stdout: string }) => {
    assert.match(error.stdout, /FAIL {2}NetworkPolicy shop\/only-http .* 15008\n +.*add \{ port: 15008 \}/);
    return true;
  });
  await applyText(policy('{ port: 8080 }, { port: 15008 }'));
  assert.doesNotMatch(await weft('check'), /only-http/);
  await shop('delete', 'networkpolicy', 'only-http');
});

test("pods and policies have conditions, and the namespace has the roots' ConfigMap", async () => {
  const jsonpath = (condition: string): string =>
    `jsonpath={.items[*].status.conditions[?(@.type=="${condition}")].status}`;
  assert.match(await shop('get', 'pods', '-o', jsonpath('weft.dev/captured')), /^(True ?)+$/);
  await applyText(denyWeb.replace('no-web', 'other').replace('shop/web', 'shop/nobody'));
  assert.equal(
    await until('the policy has a status', 20_000, () =>
      shop('get', 'accesspolicy', '-o', jsonpath('Accepted')),
    ),
    'True',
  );
  await shop('delete', 'accesspolicy', 'other');
  assert.match(await shop('get', 'configmap', 'weft-ca-root-cert', '-o', 'yaml'), /BEGIN CERTIFICATE/);
});
