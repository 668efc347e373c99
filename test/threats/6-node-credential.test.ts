/** Row 6 of docs/security.md: a stolen node credential gives discovery and certificates as that node, and nothing of other nodes. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { makeToken, readToken } from '../../control/authentication/join-tokens.js';
import { issueToken } from '../support/tokens.js';
import { sleep, until } from '../../src/base/wait.js';
import { decodeAddress } from '../../src/discovery/codec/address.js';
import { decodeNodePod } from '../../src/discovery/codec/node-pod.js';
import { decodeAuthorization } from '../../src/discovery/codec/policy.js';
import { keepOr, subscribe } from '../../src/discovery/subscription.js';
import { sendNodeReport } from '../../src/discovery/node-report-client.js';
import { typeUrls } from '../../src/discovery/types.js';
import { parseLeaf } from '../../src/tls/certificate.js';
import { createCsr } from '../../src/tls/csr.js';
import { follow, startControl, type Closers } from './support/control.js';
import { pod, manifests, id, issuerOf, report } from './support/two-nodes.js';

const closers: Closers = [];
after(() => closers.reverse().forEach((close) => close()));

test('no certificate for an identity without a pod on the node, however it is requested', async () => {
  const control = await startControl(closers, manifests);
  const issue = issuerOf(control, await issueToken(control.state, 'n1', 60));
  const [leaf = ''] = await issue(createCsr(id('a')).csrPem, id('a'), 60);
  const parsed = parseLeaf(leaf);
  assert.ok(parsed.ok && parsed.value.id === id('a'));
  for (const foreign of [
    id('b'),
    id('wp'),
    id('none'),
    'spiffe://cluster.local/ns/shop/sa/a/../b',
    'spiffe://other.domain/ns/shop/sa/a',
    'spiffe://cluster.local',
    'SPIFFE://cluster.local/ns/shop/sa/b',
  ])
    await assert.rejects(issue(createCsr(id('b')).csrPem, foreign as ReturnType<typeof id>, 60), foreign);
  // The name in the CSR is ignored; the requested identity is checked and used.
  const [own = ''] = await issue(createCsr(id('b')).csrPem, id('a'), 60);
  const leafOfOwn = parseLeaf(own);
  assert.ok(leafOfOwn.ok && leafOfOwn.value.id === id('a'));
});

test('no certificate for a pod that has left the node', async () => {
  const control = await startControl(closers, manifests);
  const issue = issuerOf(control, await issueToken(control.state, 'n1', 60));
  control.change(manifests.replace('nodeName: n1', 'nodeName: n2'));
  await assert.rejects(issue(createCsr(id('a')).csrPem, id('a'), 60), /no pod with identity/);
});

test('no lifetime beyond the limit', async () => {
  const control = await startControl(closers, manifests);
  const issue = issuerOf(control, await issueToken(control.state, 'n1', 60));
  const [leaf = ''] = await issue(createCsr(id('a')).csrPem, id('a'), 10 * 365 * 86_400);
  const parsed = parseLeaf(leaf);
  assert.ok(parsed.ok && parsed.value.notAfterMs - Date.now() <= 7 * 86_400_000);
});

test("a node's token gets no certificate of a waypoint, and a waypoint's token none of a node", async () => {
  const control = await startControl(closers, manifests);
  const node = issuerOf(control, await issueToken(control.state, 'n1', 60));
  const waypoint = issuerOf(control, await issueToken(control.state, 'waypoint:shop/wp', 60));
  await waypoint(createCsr(id('wp')).csrPem, id('wp'), 60);
  await assert.rejects(node(createCsr(id('wp')).csrPem, id('wp'), 60));
  await assert.rejects(waypoint(createCsr(id('a')).csrPem, id('a'), 60));
});

test('a credential limited to namespaces gets no certificate of other namespaces on its node', async () => {
  const control = await startControl(closers, manifests, {
    callerOfToken: async (token) => {
      const read = await readToken(control.state, token);
      return read && { name: read.subject, ...(read.namespaces ? { namespaces: read.namespaces } : {}) };
    },
  });
  const { token } = await makeToken(control.state, { subject: 'n1', ttlS: 60, namespaces: ['shop'] });
  const issue = issuerOf(control, token);
  await issue(createCsr(id('a')).csrPem, id('a'), 60);
  await assert.rejects(
    issue(createCsr(id('teller', 'bank')).csrPem, id('teller', 'bank'), 60),
    /not for the namespace/,
  );
});

test('no configuration of pods elsewhere: node-pod resources go only to the node of the token, whatever name the stream gives', async () => {
  const control = await startControl(closers, manifests);
  const pods: string[] = [];
  const seen = follow(
    closers,
    control,
    await issueToken(control.state, 'n1', 60),
    [
      subscribe(
        typeUrls.nodePod,
        keepOr(decodeNodePod),
        ({ name }) => pods.push(name),
        () => undefined,
      ),
      subscribe(
        typeUrls.uncapturedPod,
        keepOr(decodeNodePod),
        ({ name }) => pods.push(name),
        () => undefined,
      ),
    ],
    // The control plane uses the node of the token.
    { nodeName: 'n2', nodeId: 'ztunnel~10.0.0.2~n2.x~x.svc.cluster.local' },
  );
  await until('synced', 30_000, () => seen.synced);
  assert.deepEqual(pods.sort(), ['a', 'teller']);
  control.change(`${manifests}${pod('c', 'n2', '10.0.0.4')}${pod('d', 'n1', '10.0.0.5')}`);
  await until('its own new pod', 30_000, () => pods.includes('d'));
  await sleep(50);
  assert.ok(!pods.includes('c') && !pods.includes('b'));
});

test('every node gets addresses and policies of the whole mesh, without keys: a residual risk of the open protocol', async () => {
  const control = await startControl(closers, manifests);
  const addresses: string[] = [];
  const seen = follow(closers, control, await issueToken(control.state, 'n1', 60), [
    subscribe(
      typeUrls.address,
      keepOr(decodeAddress),
      (one) => one.kind === 'workload' && addresses.push(one.workload.name),
      () => undefined,
    ),
    subscribe(
      typeUrls.authorization,
      keepOr(decodeAuthorization),
      () => undefined,
      () => undefined,
    ),
  ]);
  await until('synced', 30_000, () => seen.synced);
  assert.deepEqual(addresses.sort(), ['a', 'b', 'teller']);
});

test('no state of pods elsewhere: a report is bounded and attributed to the node of the token, and waypoints cannot report', async () => {
  const reports: string[] = [];
  const control = await startControl(closers, manifests, { onReport: (node) => reports.push(node) });
  const of = (token: string) => ({
    target: control.target,
    rootPem: () => control.ca.roots,
    token: () => token,
  });
  const node = of(await issueToken(control.state, 'n1', 60));
  await sendNodeReport(
    node,
    report({
      pods: [{ uid: 'Kubernetes//Pod/shop/b', podUid: 'uid-b', captured: false, sinceMs: 0, why: 'x' }],
    }),
  );
  assert.deepEqual(
    reports,
    ['n1'],
    'the status writer uses this name to decide which pods the report may cover',
  );
  const state = { uid: 'u', podUid: 'p', captured: true, sinceMs: 0, why: '' };
  await assert.rejects(
    sendNodeReport(node, report({ pods: Array(5_000).fill(state) as never })),
    /more than 4096 pods/,
  );
  await assert.rejects(
    sendNodeReport(node, report({ pods: [{ ...state, why: 'x'.repeat(10_000) }] })),
    /more than 4096 char/,
  );
  await assert.rejects(
    sendNodeReport(of(await issueToken(control.state, 'waypoint:shop/wp', 60)), report()),
    /only node agents/,
  );
  assert.deepEqual(reports, ['n1']);
  assert.ok(control.limits.includes('control-report'));
});
