/** `weft explain` as a program, with manifests: its output and its exit codes. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { distRoot } from '../run.js';

const manifests = `
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { weft.dev/mesh: enabled } }
---
apiVersion: v1
kind: Pod
metadata: { name: web, namespace: shop, labels: { app: web } }
spec: { nodeName: a, serviceAccountName: web }
status: { podIPs: [{ ip: 10.0.1.1 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
---
apiVersion: weft.dev/v1alpha1
kind: ExternalService
metadata: { name: pay, namespace: shop, labels: { weft.dev/waypoint: waypoint } }
spec:
  host: pay.example.com
  addresses: [198.51.100.1]
  ports: [{ port: 80, targetPort: 443, name: http }]
  endpoints: [{ address: 192.0.2.1 }]
`;
const echo = `
apiVersion: v1
kind: Pod
metadata: { name: echo, namespace: shop, labels: { app: echo } }
spec: { nodeName: b, serviceAccountName: echo }
status: { podIPs: [{ ip: 10.0.2.1 }] }
---
apiVersion: v1
kind: Service
metadata: { name: echo, namespace: shop, labels: { weft.dev/waypoint: waypoint } }
spec:
  selector: { app: echo }
  clusterIPs: [10.96.0.1]
  ports: [{ name: https, port: 443 }, { name: http, port: 80 }]
`;
const names = `
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: server-names, namespace: shop }
spec:
  action: ALLOW
  targetRefs: [{ group: '', kind: Service, name: echo }]
  rules:
    - to: [{ sni: ['*.shop.example'], notSni: [admin.shop.example] }]
`;
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' });
const jwks = JSON.stringify({ keys: [{ ...key, kid: '1', alg: 'ES256' }] });
const tried = (dryRun: boolean): string => `
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: guard, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: echo }]
  externalAuthorization: [{ name: all, service: { name: echo, port: 80 }, dryRun: ${dryRun} }]
---
apiVersion: weft.dev/v1alpha1
kind: AuthenticationPolicy
metadata: { name: users, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: echo }]
  jwt: { dryRun: true, issuers: [{ issuer: 'https://id.example.com', jwks: { inline: '${jwks}' } }] }
`;
const tls = `
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: { name: pay-tls, namespace: shop }
spec:
  targetRefs: [{ group: weft.dev, kind: ExternalService, name: pay }]
  validation: { hostname: pay.example.com, wellKnownCACertificates: System }
  options: { weft.dev/client-certificate: pay-client }
`;

let dir = '';
before(() => {
  dir = mkdtempSync(join(tmpdir(), 'weft-explain-'));
  writeFileSync(join(dir, 'mesh.yaml'), manifests);
  writeFileSync(join(dir, 'tls.yaml'), tls);
  writeFileSync(join(dir, 'echo.yaml'), echo);
  writeFileSync(join(dir, 'names.yaml'), names);
  for (const dryRun of [true, false]) writeFileSync(join(dir, `dry-${dryRun}.yaml`), tried(dryRun));
});
after(() => rmSync(dir, { recursive: true }));

interface Ended {
  readonly code: number | string | null | undefined;
  readonly stdout: string;
  readonly stderr: string;
}
const weft = (...args: readonly string[]): Promise<Ended> =>
  new Promise((resolve) => {
    const env = { ...process.env };
    delete env['KUBECONFIG'];
    execFile(
      process.execPath,
      [join(distRoot, 'src', 'cli', 'weft.js'), ...args],
      { env },
      (error, stdout, stderr) => resolve({ code: error ? error.code : 0, stdout, stderr }),
    );
  });

test('an ExternalService is named by its name, and its way says whether the waypoint speaks TLS', async () => {
  const mesh = join(dir, 'mesh.yaml');
  const plain = await weft('explain', 'shop/web', 'shop/pay', '-f', mesh);
  assert.equal(plain.code, 0, plain.stderr);
  assert.match(plain.stdout, /^ALLOWED {2}shop\/web -> pay\.example\.com:80/);
  assert.match(plain.stdout, /from the waypoint on it is plaintext/);
  const encrypted = await weft('explain', 'shop/web', 'shop/pay:80', '-f', mesh, join(dir, 'tls.yaml'));
  assert.equal(encrypted.code, 0, encrypted.stderr);
  assert.match(
    encrypted.stdout,
    /from the waypoint on it is TLS with pay\.example\.com and the client certificate of Secret pay-client/,
  );
});

test('wrong usage ends with 2 like other bad input, since 1 is a result of some commands', async () => {
  const results = await Promise.all([
    weft('explain'),
    weft('explain', 'shop/web', 'shop/pay', '--nothing'),
    weft('policy', 'diff'),
    weft('policy', 'test', '--nothing'),
    weft('policy', 'suggest'),
  ]);
  for (const { code, stderr } of results) {
    assert.equal(code, 2, stderr);
    assert.match(stderr, /^error: /);
  }
  const help = await weft('explain', '--help');
  assert.equal(help.code, 0);
});

test('without a testbed the error names the options that say where the mesh is', async () => {
  const explained = await weft('explain', 'shop/web', 'shop/pay', '--state', join(dir, 'none'));
  assert.equal(explained.code, 2);
  assert.match(explained.stderr, /no testbed at .*none: pass --file FILES .*--kubernetes/);
  const suggested = await weft('policy', 'observe', '--state', join(dir, 'none'));
  assert.equal(suggested.code, 2);
  assert.match(suggested.stderr, /admin\.sock: start a testbed/);
});

test('--sni: the waypoint reads the name from a ClientHello, and policies compare it', async () => {
  const files = ['-f', join(dir, 'mesh.yaml'), join(dir, 'echo.yaml'), join(dir, 'names.yaml')];
  const ask = (port: number, ...more: readonly string[]): Promise<Ended> =>
    weft('explain', 'shop/web', `shop/echo:${port}`, ...more, ...files);
  const [own, admin, none, http, host, address] = await Promise.all([
    ask(443, '--sni', 'A.shop.example'),
    ask(443, '--sni', 'admin.shop.example'),
    ask(443, '--tcp'),
    ask(80, '--sni', 'a.shop.example'),
    ask(443, '--sni', 'a.shop.example', '--path', '/x'),
    ask(443, '--sni', '10.0.0.1'),
  ]);
  assert.equal(own.code, 0, own.stdout + own.stderr);
  assert.match(own.stdout, /policy shop\/server-names rule 0 allows it/);
  assert.match(own.stdout, /and a waypoint that relays bytes/);
  assert.match(own.stdout, /Note: evaluated as TLS with the server name a\.shop\.example/);
  assert.equal(admin.code, 3);
  assert.match(admin.stdout, /TLS server name: admin\.shop\.example/);
  assert.equal(none.code, 3);
  assert.match(none.stdout, /Note: evaluated without a TLS server name: --sni NAME says one/);
  assert.equal(http.code, 3);
  assert.match(http.stdout, /the waypoint cannot read the request/);
  assert.equal(host.code, 2);
  assert.match(host.stderr, /--tcp and --sni are a connection without a request/);
  assert.equal(address.code, 2);
  assert.match(address.stderr, /is no TLS server name/);
});

test('a decision service in dry run does not make the outcome unknown, and what filters would refuse is named', async () => {
  const ask = (dryRun: boolean): Promise<Ended> => {
    const files = ['mesh.yaml', 'echo.yaml', `dry-${dryRun}.yaml`].map((name) => join(dir, name));
    return weft('explain', 'shop/web', 'shop/echo:80', '-f', ...files);
  };
  const [dry, enforced] = await Promise.all([ask(true), ask(false)]);
  assert.equal(dry.code, 0, dry.stdout + dry.stderr);
  assert.match(dry.stdout, /Note: AuthenticationPolicy shop\/users would refuse it, and is in audit mode/);
  assert.equal(enforced.code, 4, enforced.stdout + enforced.stderr);
  assert.match(enforced.stdout, /decision service shop\/echo\.shop\.svc\.cluster\.local decides/);
});
