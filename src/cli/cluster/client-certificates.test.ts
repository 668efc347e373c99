import assert from 'node:assert/strict';
import { test } from 'node:test';
import { close, createApiServer, listen } from '../../../test/support/api-server.js';
import { clientCertificateOption } from '../../model/client-certificate.js';
import { secretsOfPolicy, secretsOfRule } from './client-certificates.js';
import { configurationFindings } from './configuration.js';

test('a policy names its Secret, a DestinationRule those of all its TLS settings; anything else names none', () => {
  assert.deepEqual(secretsOfPolicy({ options: { [clientCertificateOption]: 'pay-client' } }), ['pay-client']);
  const mutual = (credentialName: unknown): object => ({ tls: { mode: 'MUTUAL', credentialName } });
  assert.deepEqual(
    secretsOfRule({
      trafficPolicy: {
        ...mutual('a'),
        portLevelSettings: [mutual('b'), { tls: { mode: 'SIMPLE', credentialName: 'no' } }],
      },
      subsets: [
        { name: 'v1', trafficPolicy: mutual('c') },
        { name: 'v2', trafficPolicy: mutual('a') },
      ],
    }),
    ['a', 'b', 'c'],
  );
  for (const odd of [
    undefined,
    null,
    7,
    [],
    {},
    { options: null },
    { options: { [clientCertificateOption]: '../x' } },
  ])
    assert.deepEqual([...secretsOfPolicy(odd), ...secretsOfRule(odd)], []);
  for (const odd of [
    { trafficPolicy: [] },
    { subsets: 'x' },
    { subsets: [null] },
    { trafficPolicy: mutual('A/B') },
  ])
    assert.deepEqual(secretsOfRule(odd), []);
});

test('a Secret that is missing is a failure that says what to do; one that may not be read is a warning; no key is read', async (t) => {
  const policy = (name: string, namespace: string, secret: string): object => ({
    metadata: { name, namespace },
    spec: { options: { [clientCertificateOption]: secret } },
  });
  const lists: Readonly<Record<string, readonly object[]>> = {
    '/apis/gateway.networking.k8s.io/v1/backendtlspolicies': [
      policy('pay', 'shop', 'pay-client'),
      policy('mail', 'shop', 'mail-client'),
      policy('safe', 'vault', 'safe-client'),
    ],
    '/apis/networking.istio.io/v1/destinationrules': [
      {
        metadata: { name: 'rule', namespace: 'shop' },
        spec: { host: 'x', trafficPolicy: { tls: { mode: 'MUTUAL', credentialName: 'rule-client' } } },
      },
    ],
  };
  const accepts: string[] = [];
  const server = createApiServer((request, response) => {
    const path = (request.url ?? '').replace(/\?.*/, '');
    const secret = /^\/api\/v1\/namespaces\/([^/]+)\/secrets\/(.+)$/.exec(path);
    if (secret) accepts.push(request.headers.accept ?? '');
    const status = secret
      ? secret[1] === 'vault'
        ? 403
        : secret[2] === 'mail-client'
          ? 200
          : 404
      : lists[path]
        ? 200
        : 404;
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ metadata: {}, items: lists[path] ?? [] }));
  });
  const config = await listen(server);
  t.after(() => close(server));
  const found = (await configurationFindings(config)).filter(({ what }) => /client certificate/.test(what));
  assert.deepEqual(
    found.map(({ level, what }) => `${level} ${what.replace(/[,:] (whether|so that).*/, '')}`),
    [
      'fail DestinationRule shop/rule: there is no Secret shop/rule-client with its client certificate',
      'fail BackendTLSPolicy shop/pay: there is no Secret shop/pay-client with its client certificate',
      'warn Namespace vault',
    ],
  );
  assert.match(found[1]?.help ?? '', /kubectl -n shop create secret tls pay-client/);
  assert.match(found[2]?.help ?? '', /right to get secrets in namespace vault/);
  assert.equal(accepts.length, 4);
  for (const accept of accepts) assert.match(accept, /as=PartialObjectMetadata/);
});
