/** Row 4 of docs/security.md: an unauthenticated client reaches the control plane's port. */
import assert from 'node:assert/strict';
import { version } from '../../src/base/version.js';
import { metricsText } from '../../src/telemetry/exposition.js';
import { randomBytes } from 'node:crypto';
import type http2 from 'node:http2';
import net from 'node:net';
import { after, test } from 'node:test';
import type { KubeConfig } from '@kubernetes/client-node';
import { TokenReviewer } from '../../control/authentication/token-review.js';
import { ControlMetrics } from '../../control/serve/metrics.js';
import { sleep, until } from '../../src/base/wait.js';
import { close, createApiServer, listen } from '../support/api-server.js';
import { issueToken } from '../support/tokens.js';
import {
  call,
  certificatePath,
  connect,
  discoveryPath,
  frame,
  startControl,
  type Closers,
  type RawCall,
} from './support/control.js';

const closers: Closers = [];
after(() => closers.reverse().forEach((close) => close()));

const manifests = `
kind: Namespace
metadata: { name: secretive, labels: { weft.dev/mesh: enabled } }
---
kind: Pod
metadata: { name: hidden, namespace: secretive, uid: u1, annotations: { weft.dev/netns: weft-a } }
spec: { nodeName: n1, serviceAccountName: hidden }
status: { podIPs: [{ ip: 10.0.0.1 }] }
---
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: closed, namespace: secretive }
spec: { action: DENY, rules: [{}] }
`;
const never = (): Promise<undefined> => new Promise(() => undefined);

/** Sends a message of `bytes` until the peer reads nothing for 500 ms; returns the number of bytes sent. */
async function flood(stream: http2.ClientHttp2Stream, bytes: number): Promise<number> {
  const part = randomBytes(64 << 10);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(bytes, 1);
  stream.write(head);
  let taken = 0;
  let last = Date.now();
  const write = (): void => {
    if (stream.destroyed || taken >= bytes) return;
    stream.write(part, (error) => {
      if (error) return;
      taken += part.length;
      last = Date.now();
      write();
    });
  };
  write();
  while (Date.now() - last < 500 && taken < bytes) await sleep(20);
  return taken;
}

for (const [name, path] of [
  ['a certificate', certificatePath],
  ['discovery', discoveryPath],
] as const)
  test(`a message for ${name} is not buffered before the token is verified`, async () => {
    const control = await startControl(closers, manifests, { callerOfToken: never });
    const { stream } = call(connect(closers, control), path, 'x.y.z');
    // The gRPC header announces 30 MiB, below the limit of one message.
    const taken = await flood(stream, 30 << 20);
    assert.ok(taken <= 256 << 10, `${taken} bytes were read from a call whose token is not verified`);
  });

test('the number of calls that wait for token verification is limited per connection: further calls are refused at once, and counted', async () => {
  const refusals: string[] = [];
  const control = await startControl(closers, manifests, {
    callerOfToken: never,
    onRefused: (why) => refusals.push(why),
  });
  const session = connect(closers, control);
  const calls = Array.from({ length: 60 }, () => call(session, discoveryPath, 'x.y.z'));
  const refused = (): RawCall[] => calls.filter(({ ended }) => ended()?.status === '14');
  await until('all but 8 are refused', 30_000, () => refused().length === 52);
  assert.deepEqual(refusals, Array(52).fill('checking'));
});

test('refused calls do not fill the log', async () => {
  let refused = 0;
  const control = await startControl(closers, manifests, { onRefused: () => refused++ });
  const session = connect(closers, control);
  for (let round = 0; round < 20; round++) {
    const calls = Array.from({ length: 30 }, () => call(session, discoveryPath));
    await until('refused', 30_000, () => calls.every(({ ended }) => ended() !== undefined));
    for (const { stream } of calls) stream.close();
  }
  assert.equal(refused, 600);
  assert.ok(control.warnings.length < 300, `${control.warnings.length} lines`);
});

test('connections without a token do not block one with a token, and are ended', async () => {
  const control = await startControl(closers, manifests, {
    connectionLimits: { unauthenticatedMax: 8, unauthenticatedPerAddressMax: 4, authenticateMsMax: 1_000 },
  });
  const [, port = ''] = control.target.split(':');
  let closed = 0;
  const silent = (from: string): void => {
    const socket = net.connect({ port: Number(port), host: '127.0.0.1', localAddress: from });
    socket.on('error', () => undefined);
    socket.on('close', () => closed++);
    closers.push(() => void socket.destroy());
  };
  for (let i = 0; i < 40; i++) silent('127.0.0.2');
  await sleep(200);
  // A connection from another address is accepted at once.
  const session = connect(closers, control);
  const token = await issueToken(control.state, 'n1', 60);
  const { stream } = call(session, discoveryPath, token);
  await until('the node is served', 30_000, () => control.server.streams === 1);
  await until('silent connections are ended', 30_000, () => closed >= 8);
  assert.ok(control.limits.includes('control-authenticate-time'));
  assert.equal(stream.destroyed, false, 'a connection that showed a token stays');
});

test('connections beyond the waiting limit are ended at once, and counted', async () => {
  const control = await startControl(closers, manifests, {
    connectionLimits: { unauthenticatedMax: 2, waitingMax: 5 },
  });
  const [, port = ''] = control.target.split(':');
  let closed = 0;
  for (let i = 0; i < 20; i++) {
    const socket = net.connect(Number(port), '127.0.0.1');
    socket.on('error', () => undefined);
    socket.on('close', () => closed++);
    closers.push(() => void socket.destroy());
  }
  await until('two are being authenticated, five wait', 30_000, () => closed === 13);
  assert.equal(control.limits.filter((limit) => limit === 'control-connections').length, 13);
});

test('a stream canceled during or after token verification leaves no state', async () => {
  let release: (() => void) | undefined;
  const control = await startControl(closers, manifests, {
    callerOfToken: (token) =>
      token === 'slow' ? new Promise((resolve) => (release = () => resolve('n1'))) : Promise.resolve('n1'),
  });
  const session = connect(closers, control);
  const early = call(session, discoveryPath, 'slow');
  await until('the check has begun', 30_000, () => release !== undefined);
  const late = call(session, discoveryPath, 'quick');
  await until('one follows', 30_000, () => control.server.streams === 1);
  early.stream.close(8);
  await sleep(50);
  release?.();
  late.stream.close(8);
  await until('none is left', 30_000, () => control.server.streams === 0);
  await sleep(50);
  assert.equal(control.server.streams, 0);
});

/** An API server that reviews tokens and counts the reviews. */
async function apiServer(
  review: (token: string) => object,
): Promise<{ config: KubeConfig; asked: () => number }> {
  let asked = 0;
  const server = createApiServer((request, response) => {
    let text = '';
    request.on('data', (part) => (text += String(part)));
    request.on('end', () => {
      asked++;
      const { spec } = JSON.parse(text) as { spec: { token: string } };
      response.setHeader('content-type', 'application/json');
      setTimeout(() => response.end(JSON.stringify({ status: review(spec.token) })), 5);
    });
  });
  closers.push(() => close(server));
  return { config: await listen(server), asked: () => asked };
}
const base64 = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const madeUp = (more: object = {}): string =>
  [
    base64({ alg: 'RS256', kid: 'k' }),
    base64({
      iss: 'https://kubernetes.default.svc',
      aud: ['istio-ca'],
      sub: 'system:serviceaccount:weft-system:weft-agent',
      exp: Math.floor(Date.now() / 1000) + 600,
      jti: randomBytes(8).toString('hex'),
      ...more,
    }),
    randomBytes(256).toString('base64url'),
  ].join('.');
const agents = 'system:serviceaccount:weft-system:weft-agent';
const good = (): object => ({
  authenticated: true,
  audiences: ['istio-ca'],
  user: {
    username: agents,
    extra: {
      'authentication.kubernetes.io/node-name': ['n1'],
      'authentication.kubernetes.io/pod-uid': ['u'],
    },
  },
});

test('token reviews at the API server for random tokens are rate limited', async () => {
  const { config, asked } = await apiServer(() => ({ authenticated: false }));
  const limits: string[] = [];
  const reviewer = new TokenReviewer(
    config,
    agents,
    () => false,
    (limit) => limits.push(limit),
  );
  const results = await Promise.allSettled(
    Array.from({ length: 500 }, () => reviewer.callerOf(madeUp(), '10.0.0.9')),
  );
  assert.ok(asked() <= 25, `${asked()} reviews for one address`);
  assert.ok(
    results.some(({ status }) => status === 'rejected'),
    'a token that could not be checked is an error, not a refusal',
  );
  assert.ok(!results.some((one) => one.status === 'fulfilled' && one.value !== undefined));
  assert.ok(limits.includes('token-review-rate'));
  // Many addresses, one token each: a second limit applies to all addresses together.
  const before = asked();
  await Promise.allSettled(
    Array.from({ length: 500 }, (_, i) => reviewer.callerOf(madeUp(), `10.1.${i >> 8}.${i & 255}`)),
  );
  assert.ok(asked() - before <= 130, `${asked() - before} reviews for many addresses`);
});

test('a string that is not a service account token for Weft is never sent for review', async () => {
  const { config, asked } = await apiServer(good);
  const reviewer = new TokenReviewer(config, agents, () => false);
  for (const token of [
    'x',
    'a.b.c',
    '',
    madeUp({ aud: ['other'] }),
    madeUp({ exp: 1 }),
    madeUp({ exp: undefined }),
    madeUp({ sub: 'system:admin' }),
    madeUp({ pad: 'x'.repeat(20_000) }),
    madeUp().replace(/^[^.]+/, base64({ alg: 'none' })),
  ])
    assert.equal(await reviewer.callerOf(token, '10.0.0.9'), undefined);
  assert.equal(asked(), 0);
});

test('a token used by many calls at once is reviewed once, and a flood of made-up tokens does not evict it from the cache', async () => {
  const token = madeUp();
  const { config, asked } = await apiServer((shown) => (shown === token ? good() : { authenticated: false }));
  const reviewer = new TokenReviewer(config, agents, () => false);
  const callers = await Promise.all(Array.from({ length: 50 }, () => reviewer.callerOf(token, '10.0.0.1')));
  assert.ok(callers.every((caller) => caller?.name === 'n1'));
  assert.equal(asked(), 1);
  await Promise.allSettled(Array.from({ length: 300 }, () => reviewer.callerOf(madeUp(), '10.0.0.9')));
  const before = asked();
  assert.equal((await reviewer.callerOf(token, '10.0.0.1'))?.name, 'n1');
  assert.equal(asked(), before);
});

test('responses to calls without a token contain no names of pods or policies, and no versions', async () => {
  const control = await startControl(closers, manifests);
  const session = connect(closers, control);
  for (const [path, token] of [
    [discoveryPath, undefined],
    [discoveryPath, 'x.y.z'],
    [certificatePath, undefined],
    ['/weft.v1.NodeReports/Report', 'x.y.z'],
    ['/none/such', undefined],
  ] as const) {
    const { stream, ended } = call(session, path, token);
    let bytes = 0;
    stream.on('data', (part: Buffer) => (bytes += part.length));
    stream.end(frame(Buffer.alloc(0)));
    await until(`${path} is answered`, 30_000, () => ended() !== undefined);
    assert.doesNotMatch(ended()?.message ?? '', /secretive|hidden|closed|\bn1\b|\d+\.\d+\.\d+/);
    assert.equal(bytes, 0);
  }
});

test("the control plane's metrics contain no names of pods, policies or nodes", async () => {
  const metrics = new ControlMetrics({
    nodes: () => 1,
    objects: () => 2,
    refused: () => 0,
    settingProblems: () => 0,
    taps: () => 1,
    leading: () => true,
    names: () => 0,
    edges: () => 0,
    waiting: () => 0,
    changes: () => 0,
    keySets: () => 0,
    keySetsMissing: () => 0,
    crowdedPorts: () => 0,
    audited: () => 0,
    authorities: () => [],
  });
  metrics.callsRefused.inc({ reason: 'no-token' });
  metrics.limitReached.inc({ limit: 'control-connections' });
  metrics.certificates.inc({ result: 'issued' });
  const labelsIn = (text: string): (string | undefined)[] =>
    [...new Set([...text.matchAll(/^weft_\w+\{([^}]*)\}/gm)].map((m) => m[1]))].sort();
  const open = ['limit="control-connections"', 'reason="no-token"', 'result="issued"'];
  assert.deepEqual(labelsIn(await metricsText(metrics.registry, false)), open);
  assert.deepEqual(
    labelsIn(await metricsText(metrics.registry, true)),
    [...open, `version="${version}"`],
    'with the token, its own version too',
  );
});
