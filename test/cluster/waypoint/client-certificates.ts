/** A waypoint shows the certificate of a Secret that the kubelet mounts and rotates. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../../../src/base/wait.js';
import { parseTrustDomain } from '../../../src/model/identity.js';
import { createRoot, issueServerCert, type KeyAndCertificate } from '../../../src/tls/issue.js';
import { applyText } from '../../support/cluster.js';
import { ask } from './client.js';
import { rollout, store } from './objects.js';

const root = createRoot(parseTrustDomain('pay.test'), 86_400);
const issue = (name: string): KeyAndCertificate =>
  issueServerCert({ caKeyPem: root.keyPem, caCertPem: root.certPem, dns: [name], ips: [], ttlS: 86_400 });
const own = issue('pay.test');
/** Demands a certificate, and responds as the applications of these tests do. */
const server = `require('https').createServer(${JSON.stringify({
  key: own.keyPem,
  cert: own.certPem,
  ca: root.certPem,
  requestCert: true,
  rejectUnauthorized: true,
})}, (q, s) => s.end(JSON.stringify({ pod: q.socket.getPeerCertificate().subject.CN }))).listen(8443)`;
const objects = (image: string): string => `apiVersion: v1
kind: Service
metadata: { name: pay, namespace: store }
spec: { selector: { app: pay }, ports: [{ name: http, port: 80, targetPort: 8443, appProtocol: http }] }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: pay, namespace: store }
spec:
  selector: { matchLabels: { app: pay } }
  template:
    metadata: { labels: { app: pay } }
    spec:
      terminationGracePeriodSeconds: 1
      automountServiceAccountToken: false
      containers: [{ name: pay, image: ${image}, command: [node, -e, ${JSON.stringify(server)}] }]
---
apiVersion: v1
kind: ConfigMap
metadata: { name: pay-ca, namespace: store }
data: { ca.crt: ${JSON.stringify(root.certPem)} }
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: { name: pay, namespace: store }
spec:
  targetRefs: [{ group: '', kind: Service, name: pay }]
  validation: { hostname: pay.test, caCertificateRefs: [{ group: '', kind: ConfigMap, name: pay-ca }] }
  options: { weft.dev/client-certificate: pay-client }
`;
const secret = ({ certPem, keyPem }: KeyAndCertificate): string => `apiVersion: v1
kind: Secret
metadata: { name: pay-client, namespace: store }
type: kubernetes.io/tls
stringData: { tls.crt: ${JSON.stringify(certPem)}, tls.key: ${JSON.stringify(keyPem)} }
`;
/** The kubelet writes a changed Secret at its next sync of the pod, within about a minute. */
const syncMs = 240_000;
const becomes = (
  what: string,
  isSo: (answer: Awaited<ReturnType<typeof ask>>) => boolean,
): Promise<unknown> => until(what, syncMs, async () => isSo(await ask('store/client', 'http://pay/')));

test("the kubelet mounts a policy's Secret into the waypoint, also one that comes later, and rotates it", async () => {
  const image = await store(
    'get',
    'deploy',
    'client',
    '-o',
    'jsonpath={.spec.template.spec.containers[0].image}',
  );
  await applyText(objects(image));
  await rollout('deploy/pay');
  await until('the waypoint mounts the Secret', 60_000, async () =>
    (await store('get', 'deploy', 'waypoint', '-o', 'yaml')).includes('name: pay-client'),
  );
  await rollout('deploy/waypoint');
  await becomes('without the Secret nothing is sent', ({ status }) => status === 503);
  await applyText(secret(issue('first')));
  await becomes('the Secret is there', ({ pod }) => pod === 'first');
  await applyText(secret(issue('second')));
  await becomes('it is rotated', ({ pod }) => pod === 'second');
  assert.match(
    await store('get', 'backendtlspolicy', 'pay', '-o', 'jsonpath={.status.ancestors[0].conditions}'),
    /"status":"True","type":"Accepted"/,
  );
  await store(
    'delete',
    'backendtlspolicy,deploy,service,secret,configmap',
    'pay',
    'pay-client',
    'pay-ca',
    '--ignore-not-found',
  );
  await until(
    'the waypoint mounts it no more',
    60_000,
    async () => !(await store('get', 'deploy', 'waypoint', '-o', 'yaml')).includes('name: pay-client'),
  );
  await rollout('deploy/waypoint');
});
