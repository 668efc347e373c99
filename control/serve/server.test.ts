import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { eventually } from '../../test/support/eventually.js';
import { systemClock } from '../../src/base/clock.js';
import { DiscoveryClient, type Subscription } from '../../src/discovery/client.js';
import { decodeAddress } from '../../src/discovery/codec/address.js';
import { decodeNodePod } from '../../src/discovery/codec/node-pod.js';
import { features, featuresKey, versionKey } from '../../src/discovery/capabilities.js';
import { decodeRoute } from '../../src/discovery/codec/route.js';
import { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from '../../src/discovery/gen/discovery.js';
import type { NodeReport } from '../../src/discovery/gen/weft.js';
import { createCertificateClient } from '../../src/discovery/certificate-client.js';
import { sendNodeReport } from '../../src/discovery/node-report-client.js';
import { typeUrls } from '../../src/discovery/types.js';
import { parseIp } from '../../src/model/address.js';
import { parseSpiffeId, parseTrustDomain } from '../../src/model/identity.js';
import { assembleSvid, parseLeaf } from '../../src/tls/certificate.js';
import { createCsr, parseCsr } from '../../src/tls/csr.js';
import { Compiler } from '../compile/compile.js';
import { changesFrom } from '../registry/difference.js';
import type { MeshObject, RouteObject } from '../objects/objects.js';
import { parseManifests } from '../source/parse.js';
import { readObject } from '../source/validate.js';
import { CertificateAuthority } from '../certificates/ca.js';
import { Resources } from './resources.js';
import { ControlServer } from './server.js';
import { issueToken, subjectOfToken } from '../../test/support/tokens.js';

const domain = parseTrustDomain('cluster.local');
const state = mkdtempSync(join(tmpdir(), 'weft-control-'));
const ca = new CertificateAuthority(state, domain);
const closers: (() => void)[] = [() => rmSync(state, { recursive: true })];
after(() => closers.reverse().forEach((close) => close()));

const pod = (name: string, node: string, ip: string): string => `---
kind: Pod
metadata: { name: ${name}, namespace: shop, annotations: { weft.dev/netns: weft-${name} } }
spec: { nodeName: ${node}, serviceAccountName: ${name} }
status: { podIPs: [{ ip: ${ip} }] }
`;
function objectsOf(...pods: string[]): readonly MeshObject[] {
  const { objects, errors } = parseManifests(
    'x',
    `kind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mesh: enabled } }\n${pods.join('')}`,
  );
  assert.deepEqual(errors, []);
  return objects;
}
const a = pod('a', 'n1', '10.0.0.1');
const b = pod('b', 'n2', '10.0.0.2');

const warnings: string[] = [];
async function serve(
  objects: readonly MeshObject[],
  listen = '127.0.0.1:0',
  onReport: (node: string, report: NodeReport) => void = () => undefined,
  check: (token: string) => Promise<string | undefined> = (token) => subjectOfToken(state, token),
): Promise<{ server: ControlServer; target: string; change: (objects: readonly MeshObject[]) => void }> {
  const compiler = new Compiler({ trustDomain: domain, rootsVersion: '1' });
  compiler.apply(changesFrom(compiler, objects));
  const resources = new Resources(compiler.all());
  const server = new ControlServer(
    {
      listen,
      certificate: ca.serverCertificate([parseIp('127.0.0.1')], ['weft']),
      ca,
      callerOfToken: check,
      mayRequestCertificate: (node, identity) => compiler.mayRequestCertificate(node, identity),
      certTtlS: undefined,
      onReport,
      log: { info: () => undefined, warn: (_fields, text) => warnings.push(text) },
    },
    resources,
  );
  const port = await server.start();
  closers.push(() => server.stop());
  const change = (now: readonly MeshObject[]): void =>
    server.update(resources.apply(compiler.apply(changesFrom(compiler, now))));
  return { server, target: `127.0.0.1:${port}`, change };
}

interface Node {
  readonly upserts: string[];
  readonly removed: string[];
  readonly states: string[];
  refuse: Set<string>;
  synced: boolean;
}
async function node(
  target: string,
  name: string,
  types: readonly Subscription['typeUrl'][] = [typeUrls.address, typeUrls.nodePod],
): Promise<Node> {
  const token = await issueToken(state, name, 60);
  const seen: Node = { upserts: [], removed: [], states: [], refuse: new Set(), synced: false };
  const subscribe = (typeUrl: Subscription['typeUrl']): Subscription => ({
    typeUrl,
    decode: (resource, bytes) => {
      const decode =
        typeUrl === typeUrls.address
          ? decodeAddress
          : typeUrl === typeUrls.route
            ? decodeRoute
            : decodeNodePod;
      const decoded = decode(bytes);
      if (!decoded.ok) return { ...decoded, closedForm: undefined };
      if (seen.refuse.has(resource)) return { ok: false, errors: ['not wanted'], closedForm: undefined };
      return { ok: true, value: () => seen.upserts.push(`${typeUrl.split('.').at(-1)} ${resource}`) };
    },
    removed: (names) => seen.removed.push(...names),
  });
  const client = new DiscoveryClient({
    target,
    rootPem: () => ca.roots,
    token: () => token,
    nodeId: `ztunnel~10.0.0.1~${name}.x~x.svc.cluster.local`,
    nodeName: name,
    subscriptions: types.map(subscribe),
    onChange: () => undefined,
    onSynced: () => (seen.synced = true),
    onState: (now) => seen.states.push(now),
    onRefused: () => undefined,
    clock: systemClock,
  });
  closers.push(() => client.stop());
  client.start();
  return seen;
}
const until = (check: () => boolean): Promise<void> => eventually(check, 'what was awaited');

test('a node receives all workloads, and NodePod resources of its own pods only', async () => {
  const { target } = await serve(objectsOf(a, b));
  const n1 = await node(target, 'n1');
  await until(() => n1.synced);
  assert.deepEqual(n1.upserts.sort(), [
    'Address Kubernetes//Pod/shop/a',
    'Address Kubernetes//Pod/shop/b',
    'NodePod Kubernetes//Pod/shop/a',
  ]);
});

test('only changed resources are sent, and removed ones are named', async () => {
  const { change, target } = await serve(objectsOf(a, b));
  const n1 = await node(target, 'n1');
  await until(() => n1.synced);
  n1.upserts.length = 0;
  change(objectsOf(a, pod('c', 'n2', '10.0.0.3')));
  await until(() => n1.removed.length > 0);
  assert.deepEqual(n1.upserts, ['Address Kubernetes//Pod/shop/c']);
  assert.deepEqual(n1.removed, ['Kubernetes//Pod/shop/b']);
});

test('a resource that a node refuses is logged and does not affect the others', async () => {
  const { change, target } = await serve(objectsOf());
  const n1 = await node(target, 'n1');
  await until(() => n1.synced);
  n1.refuse = new Set(['Kubernetes//Pod/shop/b']);
  change(objectsOf(a, b));
  await until(() => warnings.some((text) => text.includes('refused a resource')));
  assert.ok(n1.upserts.includes('Address Kubernetes//Pod/shop/a'));
  assert.ok(!n1.upserts.includes('Address Kubernetes//Pod/shop/b'));
});

test('a node that does not read delays no other, and receives only the latest state once it reads', async () => {
  const many = (version: number): MeshObject[] =>
    Array.from({ length: 3_000 }, (_, i) => ({
      kind: 'Pod',
      metadata: { name: `p${i}`, namespace: 'shop', labels: { version: `v${version}` } },
      spec: { nodeName: 'n2' },
      status: { podIPs: [{ ip: `10.1.${i >> 8}.${i & 255}` }] },
    }));
  const { change, target } = await serve(many(0));
  const token = await issueToken(state, 'slow', 60);
  // Plain HTTP/2, as grpc-js reads ahead whether or not its messages are consumed.
  const session = http2.connect(`https://${target}`, { ca: ca.roots });
  closers.push(() => session.destroy());
  const stream = session.request({
    ':method': 'POST',
    ':path': '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources',
    'content-type': 'application/grpc',
    te: 'trailers',
    authorization: `Bearer ${token}`,
  });
  stream.on('error', () => undefined);
  const asked = DeltaDiscoveryRequest.encode(
    DeltaDiscoveryRequest.fromPartial({ typeUrl: typeUrls.address }),
  );
  const body = Buffer.from(asked.finish());
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  stream.write(Buffer.concat([head, body]));
  const quick = await node(target, 'n1');
  await until(() => quick.synced);
  // About 3 MB a round: more than fits into the buffers of the connection.
  for (let version = 1; version <= 12; version++) {
    quick.upserts.length = 0;
    change(many(version));
    await until(() => quick.upserts.length >= 3_000);
  }
  const versions = new Map<string, string>();
  let messages = 0;
  let pending = Buffer.alloc(0);
  stream.on('data', (part: Buffer) => {
    pending = Buffer.concat([pending, part]);
    while (pending.length >= 5 && pending.length >= 5 + pending.readUInt32BE(1)) {
      const end = 5 + pending.readUInt32BE(1);
      messages++;
      for (const { resource } of DeltaDiscoveryResponse.decode(pending.subarray(5, end)).resources) {
        const decoded = decodeAddress(resource?.value ?? new Uint8Array());
        if (decoded.ok && decoded.value.kind === 'workload')
          versions.set(decoded.value.workload.name, decoded.value.workload.canonicalRevision);
      }
      pending = pending.subarray(end);
    }
  });
  await until(() => versions.size === 3_000 && [...versions.values()].every((version) => version === 'v12'));
  assert.equal(messages, 2, 'the first, which was in flight, and the latest');
});

test('while tokens cannot be checked, nodes are told to retry, and they connect once tokens can be checked', async () => {
  let checked = 0;
  const { target } = await serve(objectsOf(a), '127.0.0.1:0', undefined, (token) => {
    if (++checked <= 2) return Promise.reject(new Error('the API server is away'));
    return subjectOfToken(state, token);
  });
  const n1 = await node(target, 'n1');
  await until(() => n1.synced);
  assert.ok(n1.states.includes('disconnected'));
  assert.ok(warnings.includes('a token could not be checked'));
});

test("a node's report has the name of its token, and reports without a valid token are refused", async () => {
  const reports: string[] = [];
  const { target } = await serve(objectsOf(a), '127.0.0.1:0', (from, { version }) =>
    reports.push(`${from} ${version}`),
  );
  const token = await issueToken(state, 'n1', 60);
  const report = { version: '7', pods: [], missing: [], cniProblem: '' };
  await sendNodeReport({ target, rootPem: () => ca.roots, token: () => token }, report);
  assert.deepEqual(reports, ['n1 7']);
  await assert.rejects(
    sendNodeReport({ target, rootPem: () => ca.roots, token: () => 'x' }, report),
    /no valid node token/,
  );
  assert.equal(reports.length, 1);
});

test('after a restart of the control plane a node receives only the difference', async () => {
  const first = await serve(objectsOf(a, b));
  const n1 = await node(first.target, 'n1');
  await until(() => n1.synced);
  n1.upserts.length = 0;
  first.server.stop();
  await until(() => n1.states.includes('disconnected'));
  await serve(objectsOf(a), first.target);
  await until(() => n1.removed.length > 0);
  assert.deepEqual(n1.upserts, []);
  assert.deepEqual(n1.removed, ['Kubernetes//Pod/shop/b']);
});

test("certificates are issued only for identities of the caller's pods", async () => {
  const { target } = await serve(objectsOf(a, b));
  const [idA, idB] = ['a', 'b'].map((name) => parseSpiffeId(`spiffe://cluster.local/ns/shop/sa/${name}`));
  assert.ok(idA && idB);
  const token = await issueToken(state, 'n1', 60);
  const issue = createCertificateClient({ target, rootPem: () => ca.roots, token: () => token });
  const { keyPem, csrPem } = createCsr(idA);
  const svid = assembleSvid(idA, keyPem, await issue(csrPem, idA, 3600));
  const leaf = parseLeaf(svid.chainPem);
  assert.ok(leaf.ok && leaf.value.id === idA);
  await assert.rejects(issue(csrPem, idB, 3600), /no pod with identity/);
  await assert.rejects(issue('garbage', idA, 3600), /bad request/);
  const forged = createCertificateClient({ target, rootPem: () => ca.roots, token: () => `${token}x` });
  await assert.rejects(forged(csrPem, idA, 3600), /no valid node token/);
});

const routed = `---
kind: Service
metadata: { name: a, namespace: shop }
spec: { clusterIP: 10.96.0.1, ports: [{ port: 80 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: r, namespace: shop }
spec: { parentRefs: [{ group: '', kind: Service, name: a }] }
`;
const gateway = `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: shop }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
`;

test('a waypoint receives addresses and routes and their changes, but no NodePod resources', async () => {
  const { change, server, target } = await serve(objectsOf(a, routed, gateway));
  const wp = await node(target, 'waypoint:shop/wp', [typeUrls.address, typeUrls.route, typeUrls.nodePod]);
  await until(() => wp.synced);
  assert.deepEqual(wp.upserts.sort(), [
    'Address Kubernetes//Pod/shop/a',
    'Address shop/a.shop.svc.cluster.local',
    'Route HTTPRoute/shop/r',
  ]);
  assert.equal(server.nodes.size, 0, 'a waypoint is not counted as a node');
  change(objectsOf(a, gateway));
  await until(() => wp.removed.includes('HTTPRoute/shop/r'));
});

test('a waypoint gets a certificate for its own identity only, as long as its Gateway exists', async () => {
  const { change, target } = await serve(objectsOf(a, gateway));
  const [own, other] = ['wp', 'a'].map((name) => parseSpiffeId(`spiffe://cluster.local/ns/shop/sa/${name}`));
  assert.ok(own && other);
  const token = await issueToken(state, 'waypoint:shop/wp', 60);
  const issue = createCertificateClient({ target, rootPem: () => ca.roots, token: () => token });
  const { csrPem } = createCsr(own);
  const [leafPem = ''] = await issue(csrPem, own, 3600);
  const leaf = parseLeaf(leafPem);
  assert.ok(leaf.ok && leaf.value.id === own);
  await assert.rejects(issue(csrPem, other, 3600), /not the identity of waypoint:shop\/wp/);
  change(objectsOf(a));
  await assert.rejects(issue(csrPem, own, 3600), /its Gateway does not exist/);
});

test('the CA ignores the names in a CSR: the certificate has the identity that was requested and authorized', async () => {
  const { target } = await serve(objectsOf(a, b));
  const idA = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/a');
  const token = await issueToken(state, 'n1', 60);
  const issue = createCertificateClient({ target, rootPem: () => ca.roots, token: () => token });
  const foreign = createCsr(parseSpiffeId('spiffe://cluster.local/ns/shop/sa/b'));
  const [leafPem = ''] = await issue(foreign.csrPem, idA, 3600);
  const leaf = parseLeaf(leafPem);
  assert.ok(leaf.ok && leaf.value.id === idA);
});

for (const kind of ['ec', 'rsa'])
  test(`with an external intermediate CA (${kind}), clients that trust only its root verify the control plane`, async () => {
    const dir = mkdtempSync(join(tmpdir(), 'weft-ca-'));
    closers.push(() => rmSync(dir, { recursive: true }));
    const openssl = (...args: string[]): void =>
      void execFileSync('openssl', args, { cwd: dir, stdio: 'pipe' });
    writeFileSync(join(dir, 'ext'), 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n');
    for (const name of ['root', 'ca']) {
      if (kind === 'ec') openssl('ecparam', '-name', 'secp384r1', '-genkey', '-noout', '-out', `${name}.ec`);
      else openssl('genrsa', '-out', `${name}.ec`, '2048');
      openssl('pkcs8', '-topk8', '-nocrypt', '-in', `${name}.ec`, '-out', `${name}-key.pem`);
      openssl('req', '-new', '-key', `${name}.ec`, '-subj', `/CN=${name}`, '-out', `${name}.csr`);
    }
    const sign = ['-days', '2', '-extfile', 'ext'];
    openssl('x509', '-req', '-in', 'root.csr', '-signkey', 'root.ec', ...sign, '-out', 'root-cert.pem');
    openssl(
      'x509',
      '-req',
      '-in',
      'ca.csr',
      '-CA',
      'root-cert.pem',
      '-CAkey',
      'root.ec',
      '-CAcreateserial',
      ...sign,
      '-out',
      'ca-cert.pem',
    );
    const under = new CertificateAuthority(dir, domain);
    const served = under.serverCertificate([parseIp('127.0.0.1')], ['weft']);
    const { csrPem } = createCsr(parseSpiffeId('spiffe://cluster.local/ns/a/sa/b'));
    const csr = parseCsr(csrPem);
    assert.ok(csr.ok);
    const chain = under.issue(csr.value.publicKeyPem, parseSpiffeId('spiffe://cluster.local/ns/a/sa/b'), 60);
    writeFileSync(join(dir, 'svid.pem'), chain[0] ?? '');
    openssl('verify', '-CAfile', 'root-cert.pem', '-untrusted', 'ca-cert.pem', 'svid.pem');
    const roots = readFileSync(join(dir, 'root-cert.pem'), 'utf8');
    const server = tls.createServer({ key: served.keyPem, cert: served.certPem }, (socket) =>
      socket.end('seen'),
    );
    closers.push(() => void server.close());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const said = await new Promise<string>((resolve, reject) => {
      const socket = tls.connect({ port, host: '127.0.0.1', servername: 'weft', ca: roots });
      socket.on('data', (bytes) => resolve(bytes.toString()));
      socket.on('error', reject);
    });
    assert.equal(said, 'seen');
  });

/** A waypoint's routes by rule: `ok`, or why a rule is closed. @param lacks features that it does not state */
async function waypoint(target: string, name: string, lacks: readonly string[] | undefined) {
  const token = await issueToken(state, `waypoint:shop/${name}`, 60);
  const rules = new Map<string, string[]>();
  const client = new DiscoveryClient({
    target,
    rootPem: () => ca.roots,
    token: () => token,
    nodeId: `waypoint~shop/${name}~x`,
    nodeName: 'n1',
    ...(lacks
      ? {
          capabilities: {
            [versionKey]: `without ${lacks.join()}`,
            [featuresKey]: [...features].filter((feature) => !lacks.includes(feature)),
          },
        }
      : {}),
    subscriptions: [
      {
        typeUrl: typeUrls.route,
        decode: (_name, bytes) => {
          const read = decodeRoute(bytes);
          if (!read.ok) return { ...read, closedForm: undefined };
          const said = read.value.rules.map(({ backends: [first] }) =>
            first?.target.kind === 'invalid' ? first.target.reason : 'ok',
          );
          return { ok: true, value: () => rules.set(read.value.key, said) };
        },
        removed: (names) => names.forEach((one) => rules.delete(one)),
      },
    ],
    onChange: () => undefined,
    onSynced: () => undefined,
    onState: () => undefined,
    onRefused: (_type, errors) => warnings.push(...errors),
    clock: systemClock,
  });
  closers.push(() => client.stop());
  client.start();
  return { rules, stop: () => client.stop() };
}

/** A closed rule whose match could not be read uses a feature that 0.1.0 does not have. */
const unreadable = (kind: string): RouteObject =>
  ({
    kind: 'HTTPRoute',
    metadata: { name: 'r', namespace: 'shop' },
    spec: {
      parentRefs: [{ group: '', kind: 'Service', name: 'api' }],
      rules: [
        { matches: [{ path: { type: kind, value: '/v1' } }], backendRefs: [{ name: 'api', port: 80 }] },
        { matches: [{ path: { value: '/v2' } }], backendRefs: [{ name: 'api', port: 80 }] },
      ],
    },
  }) as unknown as RouteObject;

test('two waypoints of different versions get the routes that each understands, at first and after a change', async () => {
  const service = `---\nkind: Service\nmetadata: { name: api, namespace: shop }
spec: { clusterIP: 10.96.0.1, ports: [{ port: 80 }] }\n`;
  const { objects, errors } = parseManifests('x', `${gateway}${service}`);
  assert.deepEqual(errors, []);
  const all = (kind: string): readonly MeshObject[] => {
    const { object } = readObject(unreadable(kind));
    assert.ok(object);
    return [...objects, object];
  };
  const { server, target, change } = await serve(all('Glob'));
  const current = await waypoint(target, 'wp', []);
  const old = await waypoint(target, 'old', undefined);
  const partial = await waypoint(target, 'partial', ['RouteMatch.unreadable']);
  const of = ({ rules }: typeof current): string => rules.get('HTTPRoute/shop/r')?.join(' | ') ?? '';
  await until(() => [current, old, partial].every((one) => of(one) !== ''));
  assert.match(of(current), /rules.*must be equal to one of the allowed values.* \| ok$/);
  // An older waypoint would prefer the other rule for requests that the first may be for, so it gets none.
  assert.match(of(old), /^(not understood: RouteMatch.unreadable( \| )?){2}$/);
  assert.equal(of(partial), of(old));
  const versions = (name: string) => server.olderVersions({ namespace: 'shop', name });
  assert.deepEqual(versions('wp'), []);
  assert.deepEqual(
    versions('partial').map(({ version, lacks }) => [version, lacks]),
    [['without RouteMatch.unreadable', ['RouteMatch.unreadable']]],
  );
  assert.equal(versions('old')[0]?.version, '0.1.0');
  change(all('Exact'));
  await until(() => [current, old, partial].every((one) => of(one) === 'ok | ok'));
  change(all('Glob'));
  await until(() => of(old) !== 'ok | ok' && of(current) !== 'ok | ok');
  assert.match(of(old), /not understood/);
  assert.doesNotMatch(of(current), /not understood/);
  old.stop();
  await until(() => versions('old').length === 0);
});
