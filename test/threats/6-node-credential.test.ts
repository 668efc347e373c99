/** Row 6 of docs/security.md: a stolen node credential: discovery and certificates as that node, and nothing of others. */
import assert from 'node:assert/strict';
import type http2 from 'node:http2';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { KubeConfig } from '@kubernetes/client-node';
import { after, test } from 'node:test';
import { CertificateAuthority } from '../../control/certificates/ca.js';
import { TokenReviewer } from '../../control/authentication/token-review.js';
import { revoke } from '../../control/authentication/revocations.js';
import { makeToken, readToken } from '../../control/authentication/join-tokens.js';
import { issueToken } from '../support/tokens.js';
import { sleep, until } from '../../src/base/wait.js';
import { createCertificateClient } from '../../src/discovery/certificate-client.js';
import { decodeAddress, readAddress } from '../../src/discovery/codec/address.js';
import { decodeNodePod } from '../../src/discovery/codec/node-pod.js';
import { decodeAuthorization } from '../../src/discovery/codec/policy.js';
import { keepOr, subscribe } from '../../src/discovery/subscription.js';
import { DeltaDiscoveryRequest } from '../../src/discovery/gen/discovery.js';
import type { NodeReport } from '../../src/discovery/gen/weft.js';
import { sendNodeReport } from '../../src/discovery/node-report-client.js';
import { typeUrls } from '../../src/discovery/types.js';
import { parseIp } from '../../src/model/address.js';
import { parseSpiffeId, parseTrustDomain } from '../../src/model/identity.js';
import { parseLeaf } from '../../src/tls/certificate.js';
import { createCsr } from '../../src/tls/csr.js';
import {
  call,
  certificatePath,
  connect,
  discoveryPath,
  follow,
  frame,
  startControl,
  stateDir,
  type Closers,
  type Control,
  type RawCall,
} from './support/control.js';

const closers: Closers = [];
after(() => closers.reverse().forEach((close) => close()));

const pod = (name: string, node: string, ip: string, namespace = 'shop'): string => `---
kind: Pod
metadata: { name: ${name}, namespace: ${namespace}, uid: uid-${name}, annotations: { weft.dev/netns: weft-${name} } }
spec: { nodeName: ${node}, serviceAccountName: ${name} }
status: { podIPs: [{ ip: ${ip} }] }
`;
const manifests = `---
kind: Namespace
metadata: { name: shop, labels: { weft.dev/mesh: enabled } }
---
kind: Namespace
metadata: { name: bank, labels: { weft.dev/mesh: enabled } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: shop }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
${pod('a', 'n1', '10.0.0.1')}${pod('b', 'n2', '10.0.0.2')}${pod('teller', 'n1', '10.0.0.3', 'bank')}`;
const id = (name: string, namespace = 'shop') =>
  parseSpiffeId(`spiffe://cluster.local/ns/${namespace}/sa/${name}`);
const issuerOf = ({ target, ca }: Control, token: string): ReturnType<typeof createCertificateClient> =>
  createCertificateClient({ target, rootPem: () => ca.roots, token: () => token });
const report = (more: Partial<NodeReport> = {}): NodeReport => ({
  version: '1',
  pods: [],
  missing: [],
  cniProblem: '',
  ...more,
});

test('no certificate for an identity of which no pod runs on the node, however it is asked for', async () => {
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
  // The request's own name does not count beside the identity that is asked for and checked.
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

test('no configuration of pods elsewhere: what is needed to hold a pod is told to its node alone, whatever name the stream gives', async () => {
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
    // The node of the token counts.
    { nodeName: 'n2', nodeId: 'ztunnel~10.0.0.2~n2.x~x.svc.cluster.local' },
  );
  await until('synced', 30_000, () => seen.synced);
  assert.deepEqual(pods.sort(), ['a', 'teller']);
  control.change(`${manifests}${pod('c', 'n2', '10.0.0.4')}${pod('d', 'n1', '10.0.0.5')}`);
  await until('its own new pod', 30_000, () => pods.includes('d'));
  await sleep(50);
  assert.ok(!pods.includes('c') && !pods.includes('b'));
});

test('addresses and policies of the whole mesh are told to every node: the residual risk of the open contract, without keys', async () => {
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

test('no state of pods elsewhere: a report comes under the name of the node, is bounded, and waypoints give none', async () => {
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
  assert.deepEqual(reports, ['n1'], 'whose pods are believed of it, the status writer decides by this name');
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
    /only the agents/,
  );
  assert.deepEqual(reports, ['n1']);
  assert.ok(control.limits.includes('control-report'));
});

test('a waypoint gets no certificate by a node\u2019s token, and a node none by a waypoint\u2019s', async () => {
  const control = await startControl(closers, manifests);
  const node = issuerOf(control, await issueToken(control.state, 'n1', 60));
  const waypoint = issuerOf(control, await issueToken(control.state, 'waypoint:shop/wp', 60));
  await waypoint(createCsr(id('wp')).csrPem, id('wp'), 60);
  await assert.rejects(node(createCsr(id('wp')).csrPem, id('wp'), 60));
  await assert.rejects(waypoint(createCsr(id('a')).csrPem, id('a'), 60));
});

test('many streams and large requests of one credential do not add up', async () => {
  const control = await startControl(closers, manifests);
  const token = await issueToken(control.state, 'n1', 60);
  const session = connect(closers, control);
  const first = call(session, discoveryPath, token);
  await until('the connection is known', 30_000, () => control.server.streams === 1);
  const calls = [first, ...Array.from({ length: 11 }, () => call(session, discoveryPath, token))];
  await until(
    'the oldest are ended',
    30_000,
    () => calls.filter(({ ended }) => ended()?.status === '8').length === 8,
  );
  assert.equal(control.server.streams, 4);
  assert.ok(control.limits.includes('control-streams'));
  // One message is at most 32 MiB.
  const large = call(connect(closers, control), certificatePath, token);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(33 << 20, 1);
  large.stream.write(head);
  await until(
    'a message that is too large is refused by its head',
    30_000,
    () => large.ended()?.status === '8',
  );
  // A stream that asks for types that there are none of keeps nothing of it.
  const odd = call(connect(closers, control), discoveryPath, token);
  for (let i = 0; i < 200; i++)
    odd.stream.write(
      frame(
        DeltaDiscoveryRequest.encode(
          DeltaDiscoveryRequest.fromPartial({ typeUrl: `type.googleapis.com/x${i}` }),
        ).finish(),
      ),
    );
  await sleep(100);
  assert.equal(odd.ended(), undefined);
});

/** A discovery stream that asks and reads nothing. */
function stall(
  session: http2.ClientHttp2Session,
  token: string,
  ...requests: DeltaDiscoveryRequest[]
): RawCall {
  const one = call(session, discoveryPath, token);
  one.stream.pause();
  for (const request of requests) one.stream.write(frame(DeltaDiscoveryRequest.encode(request).finish()));
  return one;
}

test('callers that ask for whole answers and do not read them do not keep other nodes waiting', async () => {
  const many = Array.from({ length: 3_000 }, (_, i) => pod(`m${i}`, 'n9', `10.1.${i >> 8}.${i & 255}`));
  const gateways = Array.from(
    { length: 9 },
    (_, i) => `---
kind: Namespace
metadata: { name: t${i}, labels: { weft.dev/mesh: enabled } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: t${i} }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
`,
  );
  const control = await startControl(closers, manifests + many.join('') + gateways.join(''));
  const ask = DeltaDiscoveryRequest.fromPartial({ typeUrl: typeUrls.address });
  const stalled = async (subject: string, count: number): Promise<void> => {
    const before = control.server.streams;
    const token = await issueToken(control.state, subject, 60);
    for (let i = 0; i < count; i++) stall(connect(closers, control), token, ask);
    await until(`${subject} is there`, 30_000, () => control.server.streams === before + count);
  };
  await stalled('n2', 4);
  await stalled('waypoint:shop/wp', 20);
  for (let i = 0; i < 9; i++) await stalled(`waypoint:t${i}/wp`, 2);
  await sleep(200);
  let addresses = 0;
  const seen = follow(closers, control, await issueToken(control.state, 'n1', 60), [
    subscribe(
      typeUrls.address,
      readAddress,
      () => addresses++,
      () => undefined,
    ),
  ]);
  await until('a node that comes is told all', 30_000, () => seen.synced);
  assert.ok(addresses > 3_000);
});

test('a node that waits for its turn does not give it up', async () => {
  const control = await startControl(closers, manifests);
  const token = await issueToken(control.state, 'n1', 60);
  const states: string[] = [];
  const waits: { readonly ms: number; cancelled: boolean }[] = [];
  const clock = {
    now: () => 0,
    after: (ms: number) => {
      const wait = { ms, cancelled: false };
      waits.push(wait);
      return () => void (wait.cancelled = true);
    },
  };
  follow(closers, control, token, [], { clock, onState: (now) => states.push(now) });
  await until('it knows that somebody is there', 30_000, () => waits[0]?.cancelled === true);
  assert.deepEqual(states, []);
});

test('requests that wait for their answer do not add up', async () => {
  const control = await startControl(closers, manifests, { waitingNamesMax: 20_000 });
  const has = Object.fromEntries(Array.from({ length: 8_000 }, (_, i) => [`name-of-${i}`, '1']));
  const big = (typeUrl: string): DeltaDiscoveryRequest =>
    DeltaDiscoveryRequest.fromPartial({ typeUrl, initialResourceVersions: has });
  const token = await issueToken(control.state, 'waypoint:shop/wp', 60);
  // The first answer removes all that is not there, and is not read.
  const odd = Array.from({ length: 8 }, (_, i) => `type.googleapis.com/x${i}`);
  const bearable = stall(
    connect(closers, control),
    token,
    ...[typeUrls.address, ...odd, typeUrls.route].map(big),
  );
  await sleep(500);
  assert.equal(bearable.ended(), undefined);
  assert.deepEqual(control.limits, [], 'of types that there are none of nothing is kept');
  stall(connect(closers, control), token, ...Object.values(typeUrls).map(big));
  await until('they are too many', 30_000, () => control.limits.includes('control-waiting-names'));
  await until('the stream that is too much is ended', 30_000, () => control.server.streams === 1);
});

test('one credential has so many connections, and others are not kept out', async () => {
  const control = await startControl(closers, manifests, { connectionLimits: { perCallerMax: 3 } });
  const token = await issueToken(control.state, 'n2', 60);
  const calls = [1, 2, 3, 4, 5].map(() =>
    call(connect(closers, control), '/weft.v1.NodeReports/Report', token),
  );
  await until(
    'two are refused',
    30_000,
    () => calls.filter(({ ended }) => ended()?.status === '8').length === 2,
  );
  assert.equal(control.limits.filter((limit) => limit === 'control-caller-connections').length, 2);
  const issue = issuerOf(control, await issueToken(control.state, 'n1', 60));
  await issue(createCsr(id('a')).csrPem, id('a'), 60);
  // One that ends makes room.
  calls.find(({ ended }) => ended() === undefined)?.stream.session?.destroy();
  const again = async (): Promise<boolean> => {
    const { ended, stream } = call(connect(closers, control), '/weft.v1.NodeReports/Report', token);
    await sleep(100);
    stream.session?.destroy();
    return ended() === undefined;
  };
  assert.ok((await again()) || (await again()));
});

test('calls of one credential that send slowly do not hold up other nodes, nor add up', async () => {
  const control = await startControl(closers, manifests);
  const slow = await issueToken(control.state, 'n2', 60);
  const sessions = [connect(closers, control), connect(closers, control)];
  const calls = sessions.flatMap((session) =>
    Array.from({ length: 40 }, () => call(session, certificatePath, slow)),
  );
  for (const { stream } of calls) stream.write(Buffer.alloc(3));
  await sleep(100);
  const issue = issuerOf(control, await issueToken(control.state, 'n1', 60));
  await issue(createCsr(id('a')).csrPem, id('a'), 60);
  // Each ends by its time at the latest.
  await until('all ended', 30_000, () =>
    calls.every(({ ended }) => ended()?.status === '4' || ended()?.status === '14'),
  );
});

test('a revoked credential gets nothing more, and its streams end within seconds', async () => {
  const state: { token?: { readonly token: string; readonly id: string } } = {};
  const control = await startControl(closers, manifests, {
    callerOfToken: async (token) => {
      const read = await readToken(control.state, token);
      return (
        read && {
          name: read.subject,
          recheck: async () => (await readToken(control.state, token)) !== undefined,
        }
      );
    },
  });
  state.token = await makeToken(control.state, { subject: 'n1', ttlS: 600 });
  const { token, id: tokenId } = state.token;
  const pods: string[] = [];
  const seen = follow(closers, control, token, [
    subscribe(
      typeUrls.nodePod,
      keepOr(decodeNodePod),
      ({ name }) => pods.push(name),
      () => undefined,
    ),
  ]);
  await until('synced', 30_000, () => seen.synced);
  revoke(control.state, { id: tokenId });
  await assert.rejects(
    issuerOf(control, token)(createCsr(id('a')).csrPem, id('a'), 60),
    /no valid node token/,
  );
  await until('its stream is ended', 30_000, () => control.server.streams === 0);
  await until('the client sees it', 30_000, () => seen.states.includes('disconnected'));
  assert.deepEqual(pods.sort(), ['a', 'teller'], 'what it knew stays');
});

test('streams of a service account end with the pod, the node and the Gateway that its token is of; while nobody can say, they go on', async () => {
  let authenticated: boolean | 'error' = true;
  const ca = new CertificateAuthority(stateDir(closers), parseTrustDomain('cluster.local'));
  const { keyPem, certPem } = ca.serverCertificate([parseIp('127.0.0.1')], ['api']);
  const api = createServer({ key: keyPem, cert: certPem }, (request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const { spec } = JSON.parse(Buffer.concat(parts).toString()) as { spec: { token: string } };
      const claims = spec.token.split('.')[1] ?? '';
      const { sub } = JSON.parse(Buffer.from(claims, 'base64url').toString()) as { sub: string };
      const extra = {
        'authentication.kubernetes.io/node-name': ['n1'],
        'authentication.kubernetes.io/pod-uid': ['u'],
      };
      response.statusCode = authenticated === 'error' ? 500 : 201;
      response.end(
        JSON.stringify({
          status: { authenticated, audiences: ['istio-ca'], user: { username: sub, extra } },
        }),
      );
    });
  });
  await new Promise<void>((resolve) => api.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    api.closeAllConnections();
    api.close();
  });
  const config = new KubeConfig();
  const server = `https://127.0.0.1:${(api.address() as AddressInfo).port}`;
  config.loadFromOptions({
    clusters: [{ name: 'c', server, caData: Buffer.from(ca.roots).toString('base64') }],
    users: [{ name: 'u' }],
    contexts: [{ name: 'x', cluster: 'c', user: 'u' }],
    currentContext: 'x',
  });
  const gateways = new Set(['shop/wp']);
  let nowMs = 0;
  const reviewer = new TokenReviewer(
    config,
    'system:serviceaccount:weft-system:weft-agent',
    ({ namespace, name }) => gateways.has(`${namespace}/${name}`),
    undefined,
    0,
    () => nowMs,
  );
  const control = await startControl(closers, manifests, {
    callerOfToken: (token, address) => reviewer.callerOf(token, address),
  });
  const tokenOf = (account: string): string =>
    [
      { alg: 'RS256' },
      { aud: ['istio-ca'], iss: 'https://api', sub: account, exp: Math.floor(Date.now() / 1000) + 3_600 },
      'x',
    ]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.');
  const open = async (account: string): Promise<RawCall> => {
    const before = control.server.streams;
    const one = call(connect(closers, control), discoveryPath, tokenOf(account));
    await until(`${account} is there`, 30_000, () => control.server.streams === before + 1);
    return one;
  };
  const agent = await open('system:serviceaccount:weft-system:weft-agent');
  const waypoint = await open('system:serviceaccount:shop:wp');
  await control.server.recheck();
  assert.equal(control.server.streams, 2);
  gateways.clear();
  await control.server.recheck();
  await until(
    'the stream of a Gateway that is gone is ended',
    30_000,
    () => waypoint.ended()?.status === '16',
  );
  nowMs = 1_000_000;
  authenticated = 'error';
  await control.server.recheck();
  assert.equal(agent.ended(), undefined, 'the API server does not say');
  assert.ok(control.warnings.includes('a token could not be checked again'));
  nowMs = 2_000_000;
  authenticated = false;
  await control.server.recheck();
  await until(
    'the stream of an agent whose pod is gone is ended',
    30_000,
    () => agent.ended()?.status === '16',
  );
});

test('a credential for some namespaces gets no certificate of others on its node', async () => {
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

test('an expired, foreign or altered token is nobody\u2019s', async () => {
  const control = await startControl(closers, manifests);
  const other = await startControl(closers, manifests);
  const good = await issueToken(control.state, 'n1', 60);
  const [head = '', , signature = ''] = good.split('.');
  const body = Buffer.from(
    JSON.stringify({ sub: 'n2', aud: 'istio-ca', exp: Math.floor(Date.now() / 1000) + 60 }),
  ).toString('base64url');
  const none = Buffer.from('{"alg":"none"}').toString('base64url');
  for (const token of [
    await issueToken(control.state, 'n1', -1),
    await issueToken(other.state, 'n1', 60),
    [head, body, signature].join('.'),
    [none, body, ''].join('.'),
    `${good}x`,
  ])
    await assert.rejects(
      issuerOf(control, token)(createCsr(id('a')).csrPem, id('a'), 60),
      /no valid node token/,
    );
});
