/** Row 6 of docs/security.md: a node credential that is revoked, expired or invalid. */
import assert from 'node:assert/strict';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { KubeConfig } from '@kubernetes/client-node';
import { after, test } from 'node:test';
import { CertificateAuthority } from '../../control/certificates/ca.js';
import { TokenReviewer } from '../../control/authentication/token-review.js';
import { revoke } from '../../control/authentication/revocations.js';
import { makeToken, readToken } from '../../control/authentication/join-tokens.js';
import { issueToken } from '../support/tokens.js';
import { until } from '../../src/base/wait.js';
import { decodeNodePod } from '../../src/discovery/codec/node-pod.js';
import { keepOr, subscribe } from '../../src/discovery/subscription.js';
import { typeUrls } from '../../src/discovery/types.js';
import { parseIp } from '../../src/model/address.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { createCsr } from '../../src/tls/csr.js';
import {
  call,
  connect,
  discoveryPath,
  follow,
  startControl,
  stateDir,
  type Closers,
  type RawCall,
} from './support/control.js';
import { manifests, id, issuerOf } from './support/two-nodes.js';

const closers: Closers = [];
after(() => closers.reverse().forEach((close) => close()));

test('a revoked credential gets no further responses, and its streams end within seconds', async () => {
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
  assert.deepEqual(pods.sort(), ['a', 'teller'], 'the resources it had stay');
});

test("streams end when the token's pod, node or Gateway is gone; while this cannot be checked, they continue", async () => {
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

test('an expired, foreign or altered token is invalid', async () => {
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
