import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { AppProtocol } from '../../src/model/workload.js';
import { parseManifests } from '../source/parse.js';
import { compile } from './compile.js';
import { appProtocol } from './protocols.js';

const cases: readonly (readonly [name: string, port: Parameters<typeof appProtocol>[0], AppProtocol])[] = [
  // The port number counts only without appProtocol and a known name.
  ['MySQL by its number', { port: 3306 }, 'tcp'],
  ['SMTP by its number', { port: 25 }, 'tcp'],
  ['submission by its number', { port: 587 }, 'tcp'],
  ['a number with an unknown name', { port: 3306, name: 'db' }, 'tcp'],
  ['a number without a known protocol', { port: 8080 }, 'unknown'],
  ['a number where the client speaks first', { port: 5432 }, 'unknown'],
  ['a name takes precedence over a number', { port: 3306, name: 'http' }, 'http1'],
  ['an appProtocol takes precedence over a number', { port: 25, appProtocol: 'http' }, 'http1'],
  [
    'an unknown appProtocol takes precedence over a number',
    { port: 25, appProtocol: 'example.com/x' },
    'unknown',
  ],
  // Names.
  ['MySQL by its name', { port: 33060, name: 'mysql' }, 'tcp'],
  ['MySQL by the first word of its name', { port: 33060, name: 'mysql-primary' }, 'tcp'],
  ['a name that only begins like a known one', { port: 33060, name: 'mysqlx' }, 'unknown'],
  ['MySQL by its appProtocol', { port: 33060, appProtocol: 'mysql' }, 'tcp'],
  ['an appProtocol takes precedence over a name', { port: 80, name: 'http', appProtocol: 'smtp' }, 'tcp'],
  ['Redis', { port: 6379, name: 'redis' }, 'tcp'],
  ['Postgres', { port: 5432, appProtocol: 'postgresql' }, 'tcp'],
  ['SMTP under TLS', { port: 465, name: 'smtps' }, 'tls'],
  // HTTP.
  ['HTTP', { port: 80, name: 'http-web' }, 'http1'],
  ['gRPC', { port: 80, name: 'grpc-api' }, 'grpc'],
  ['gRPC-Web is not gRPC', { port: 80, name: 'grpc-web' }, 'http1'],
  ['gRPC-Web by the first words', { port: 80, name: 'grpc-web-api' }, 'http1'],
  ['gRPC-Web by appProtocol', { port: 80, appProtocol: 'grpc-web' }, 'http1'],
  ['a gRPC port whose name goes on with website', { port: 80, name: 'grpc-website' }, 'grpc'],
  ['HTTP/2', { port: 80, appProtocol: 'kubernetes.io/h2c' }, 'http2'],
  ['WebSocket', { port: 80, appProtocol: 'kubernetes.io/ws' }, 'http1'],
  ['WebSocket under TLS', { port: 443, appProtocol: 'kubernetes.io/wss' }, 'tls'],
  ['a name that is a property of JavaScript objects', { port: 80, name: 'constructor' }, 'unknown'],
];
for (const [name, port, expected] of cases)
  test(`protocol of a port: ${name}`, () => assert.equal(appProtocol(port), expected));

test('resources of Services, their pods and ExternalServices have a server-first protocol', () => {
  const { objects, errors } = parseManifests(
    'x',
    `kind: Service
metadata: { name: db, namespace: shop }
spec: { clusterIP: 10.96.0.1, selector: { app: db }, ports: [{ port: 3306 }] }
---
kind: Pod
metadata: { name: db, namespace: shop, labels: { app: db } }
spec: { nodeName: a }
status: { podIPs: [{ ip: 10.244.0.1 }] }
---
apiVersion: weft.dev/v1alpha1
kind: ExternalService
metadata: { name: mail, namespace: shop }
spec: { addresses: [198.51.100.1], ports: [{ port: 25 }] }`,
  );
  assert.deepEqual(errors, []);
  const resources = [
    ...compile(objects, { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '' }).all(),
  ];
  const protocols = resources.flatMap((one) =>
    one.kind === 'service'
      ? one.value.ports.map(({ appProtocol: protocol }) => `${one.value.name} ${protocol}`)
      : one.kind === 'workload'
        ? [...one.value.services.values()]
            .flat()
            .map(({ appProtocol: protocol }) => `${one.value.name} ${protocol}`)
        : [],
  );
  assert.deepEqual(protocols.sort(), ['db tcp', 'db tcp', 'mail tcp', 'mail tcp']);
});
