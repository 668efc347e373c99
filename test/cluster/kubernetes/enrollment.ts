/** Enrollment of running pods under load, and of new pods before their first connection. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sleep, until } from '../../../src/base/wait.js';
import { applyText, connectionRecords, httpGet, kubectl } from '../../support/cluster.js';
import { ofWeb, shop, since, traffic } from './shop.js';

const shopIsEnrolled = (): Promise<string> =>
  kubectl('wait', 'namespace/shop', '--for=condition=weft.dev/Enrolled', '--timeout=90s');

test('a label enrolls running pods under load: no request fails, and their connections use mutual TLS or stay on their node', async () => {
  const before = await traffic();
  await shop('label', 'namespace', 'shop', 'weft.dev/mesh=enabled');
  await until('both paths are used', 20_000, async () => {
    const paths = new Set((await connectionRecords(3)).filter(ofWeb).map(({ path }) => path));
    return paths.has('hbone') && paths.has('local');
  });
  const { bad, errors } = await since(before);
  assert.equal(bad, 0, errors.join('\n'));
  // In the namespace's first enrollment, connections to pods that the other node has not enrolled yet are in plaintext.
  await shopIsEnrolled();
  await until('no connection is in plaintext', 20_000, async () => {
    const seen = (await connectionRecords(2)).filter(ofWeb);
    return seen.length > 0 && seen.every(({ destination }) => destination.identity !== 'unknown');
  });
  for (const { source, destination, service } of (await connectionRecords(2)).filter(ofWeb)) {
    assert.equal(source.identity, 'spiffe://cluster.local/ns/shop/sa/web');
    assert.equal(destination.identity, 'spiffe://cluster.local/ns/shop/sa/api');
    assert.equal(service, 'api.shop.svc.cluster.local');
  }
  const restarts = await shop(
    'get',
    'pods',
    '-o',
    'jsonpath={.items[*].status.containerStatuses[0].restartCount}',
  );
  assert.match(restarts, /^[0 ]+$/);
});

test('in strict mode probes pass, and a pod outside of the mesh is refused', async () => {
  await kubectl('label', 'namespace', 'shop', 'weft.dev/mode=strict');
  await shopIsEnrolled();
  const before = await traffic();
  const args = [
    'run',
    'outsider',
    '--image=docker.io/testcluster/node:1',
    '--restart=Never',
    '--command',
    '--',
  ];
  await kubectl('-n', 'default', ...args, 'node', '-e', 'setTimeout(() => 0, 1e6)');
  try {
    await kubectl('-n', 'default', 'wait', 'pod/outsider', '--for=condition=Ready', '--timeout=30s');
    const ips = (await shop('get', 'pod', '-l', 'app=api', '-o', 'jsonpath={.items[*].status.podIP}')).split(
      ' ',
    );
    for (const ip of ips) {
      const answer = await kubectl(
        '-n',
        'default',
        'exec',
        'outsider',
        '--',
        'node',
        '-e',
        httpGet(`http://${ip}:8080/`),
      );
      assert.match(answer, /^refused:/, ip);
    }
    // Longer than three failing probes take.
    await sleep(5_000);
    assert.match(
      await shop(
        'get',
        'pod',
        '-l',
        'app=api',
        '-o',
        'jsonpath={.items[*].status.containerStatuses[0].ready}',
      ),
      /^(true ?)+$/,
    );
    const { bad, errors } = await since(before);
    assert.equal(bad, 0, errors.join('\n'));
  } finally {
    await kubectl('-n', 'default', 'delete', 'pod', 'outsider', '--now', '--wait=false');
  }
});

test('a hundred pods that connect as they start, all at once: each connection has identities at both ends', async () => {
  const count = 100;
  const began = Date.now();
  const get = `require('http').get('http://api.shop/', (a) => a.on('data', () => 0).on('end', () => process.exit(0))).on('error', (e) => { console.log(e.message); process.exit(1); })`;
  await applyText(`apiVersion: apps/v1
kind: Deployment
metadata: { name: race, namespace: shop }
spec:
  replicas: ${count}
  selector: { matchLabels: { app: race } }
  template:
    metadata: { labels: { app: race } }
    spec:
      serviceAccountName: web
      terminationGracePeriodSeconds: 0
      automountServiceAccountToken: false
      initContainers:
        - name: connect
          image: docker.io/testcluster/node:1
          command: [node, -e, ${JSON.stringify(get)}]
      containers: [{ name: stay, image: docker.io/testcluster/pause:1 }]
`);
  try {
    await shop('rollout', 'status', 'deploy/race', '--timeout=240s');
    // Strict mode refuses plaintext: an init container that ran before enrollment would have failed and been restarted.
    const restarts = await shop(
      'get',
      'pod',
      '-l',
      'app=race',
      '-o',
      'jsonpath={.items[*].status.initContainerStatuses[0].restartCount}',
    );
    assert.deepEqual([...new Set(restarts.split(' '))], ['0']);
    const seen = new Map(
      (await connectionRecords(Math.ceil((Date.now() - began) / 1000) + 5))
        .filter(({ direction, source }) => direction === 'outbound' && source.pod?.startsWith('race-'))
        .map((line) => [line.source.pod, line]),
    );
    assert.equal(seen.size, count);
    for (const { path, source, destination } of seen.values()) {
      assert.ok(['hbone', 'local', 'kernel'].includes(path), path);
      assert.equal(source.identity, 'spiffe://cluster.local/ns/shop/sa/web');
      assert.equal(destination.identity, 'spiffe://cluster.local/ns/shop/sa/api');
    }
  } finally {
    await shop('delete', 'deploy', 'race', '--wait=false');
  }
  await until(
    'the pods are gone',
    120_000,
    async () => (await shop('get', 'pod', '-l', 'app=race', '-o', 'name')) === '',
  );
});
