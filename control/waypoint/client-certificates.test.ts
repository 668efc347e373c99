import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clientCertificatesMax } from '../../src/model/client-certificate.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { compile } from '../compile/compile.js';
import { parseManifests } from '../source/parse.js';
import { secretsToMount, type MountedSecrets } from './client-certificates.js';

/** The Secrets of a namespace. */
const secretsOf = (...manifests: string[]): ((namespace: string) => MountedSecrets) => {
  const { objects, closed } = parseManifests('x.yaml', manifests.join('\n---\n'));
  const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
  const compiler = compile([...objects, ...closed], settings);
  return (namespace) => secretsToMount(compiler.policiesWithCertificates(namespace));
};
const policy = (name: string, secret: string, namespace = 'shop', created = ''): string => `
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: { name: ${name}, namespace: ${namespace}${created} }
spec:
  targetRefs: [{ group: weft.dev, kind: ExternalService, name: bank }]
  validation: { hostname: bank.example, wellKnownCACertificates: System }
  options: { weft.dev/client-certificate: ${secret} }
`;
const rule = (spec: string, namespace = 'shop'): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: rule, namespace: ${namespace} }
spec: { host: bank.example, ${spec} }
`;
const mutual = (secret: string): string => `tls: { mode: MUTUAL, credentialName: ${secret} }`;

test('the Secrets of each namespace are those that its own policies name, sorted, each once', () => {
  const found = secretsOf(
    policy('a', 'z'),
    policy('b', 'a'),
    policy('c', 'a'),
    policy('d', '../x'),
    policy('e', 'theirs', 'evil'),
    rule(`trafficPolicy: { ${mutual('whole')}, portLevelSettings: [{ port: { number: 80 }, ${mutual('port')} }] },
  subsets: [{ name: v1, trafficPolicy: { ${mutual('subset')} } }]`),
  );
  assert.deepEqual(found('other').names, []);
  assert.deepEqual(found('shop').names, ['a', 'port', 'subset', 'whole', 'z']);
  assert.deepEqual(found('evil').names, ['theirs']);
});

test('a rule that shows no certificate names none, and neither does one that cannot be read', () => {
  const found = secretsOf(
    rule('trafficPolicy: { tls: { mode: SIMPLE, credentialName: simple } }'),
    rule('trafficPolicy: { tls: { mode: MUTUAL, credentialName: ../a } }', 'one'),
    rule('trafficPolicy: 1, subsets: { a: 1 }', 'two'),
    rule('trafficPolicy: { tls: [], portLevelSettings: { tls: 1 } }, subsets: [1, null]', 'three'),
  );
  for (const namespace of ['shop', 'one', 'two', 'three']) assert.deepEqual(found(namespace).names, []);
});

test('beyond the limit the Secrets of the oldest policies are mounted, so that a new policy takes none away', () => {
  const at = (second: number): string =>
    `, creationTimestamp: '2026-01-01T00:00:${String(second).padStart(2, '0')}Z'`;
  const old = Array.from({ length: clientCertificatesMax }, (_, i) =>
    policy(`old-${i}`, `z${i}`, 'shop', at(i)),
  );
  const found = secretsOf(policy('new', 'a', 'shop', at(59)), ...old)('shop');
  assert.deepEqual(found.names, Array.from({ length: clientCertificatesMax }, (_, i) => `z${i}`).sort());
  assert.deepEqual([...found.left], ['a']);
});
