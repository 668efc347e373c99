import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { inspect } from 'node:util';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import net from 'node:net';
import { test, type TestContext } from 'node:test';
import type tls from 'node:tls';
import https from 'node:https';
import type { EndpointTls } from '../../discovery/gen/weft.js';
import { parseTrustDomain } from '../../model/identity.js';
import type { AppProtocol } from '../../model/workload.js';
import { createRoot, issueServerCert, type KeyAndCertificate } from '../../tls/issue.js';
import type { ServiceKey } from '../../model/workload.js';
import { defaultLimits } from '../limits.js';
import { WaypointState } from '../state/waypoint-state.js';
import { ask, startWaypoint, type TestWaypoint } from '../../../test/support/waypoint.js';
import { key } from '../../../test/support/mesh.js';
import { withTls } from './dial.js';
import type { SecretName } from '../../model/client-certificate.js';
import { nameProblem } from './endpoint-tls.js';

const day = 86_400;
const root = createRoot(parseTrustDomain('backend.test'), day);
const certificateOf = (...dns: string[]): KeyAndCertificate =>
  issueServerCert({ caKeyPem: root.keyPem, caCertPem: root.certPem, dns, ips: [], ttlS: day });
const good: EndpointTls = { hostname: 'api.test', caCertificates: root.certPem, dnsNames: [], uris: [] };

async function waypointTo(
  t: TestContext,
  port: number,
  settings: EndpointTls | undefined,
  protocol: AppProtocol = 'http1',
): Promise<TestWaypoint> {
  const waypoint = await startWaypoint(t, {
    backends: { api: [port] },
    protocol,
    dial: (dial) => withTls(dial, { ...defaultLimits, connectTimeoutMsMax: 2_000 }),
  });
  waypoint.apply({
    servicePolicies: [
      { service: key('api'), port: 80, origins: [], ...(settings ? { endpointTls: settings } : {}) },
    ],
  });
  return waypoint;
}

async function listen(t: TestContext, server: net.Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

function httpsServer(
  t: TestContext,
  { keyPem, certPem }: KeyAndCertificate,
  seen: string[],
): Promise<number> {
  const server = https.createServer({ key: keyPem, cert: certPem }, (request, response) => {
    const { servername, alpnProtocol } = request.socket as tls.TLSSocket;
    seen.push(`${String(servername)} ${String(alpnProtocol)} ${request.headers.host}`);
    response.end('secret');
  });
  return listen(t, server);
}

test('requests go to an endpoint by TLS with the name and the certificates of the policy', async (t) => {
  const seen: string[] = [];
  const port = await httpsServer(t, certificateOf('api.test'), seen);
  const { port: at } = await waypointTo(t, port, good);
  for (let i = 0; i < 3; i++) {
    const { status, body } = await ask(at);
    assert.deepEqual([status, body], [200, 'secret']);
  }
  assert.deepEqual(new Set(seen), new Set(['api.test http/1.1 api.shop']));
});

test('an endpoint with a wrong name, an unknown issuer or without TLS gets no byte of a request', async (t) => {
  const seen: string[] = [];
  const plain = net.createServer((socket) => {
    socket.on('data', (bytes) => seen.push(bytes.toString('latin1')));
    socket.on('error', () => undefined);
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n');
  });
  const [byName, byIssuer] = [
    await httpsServer(t, certificateOf('other.test'), seen),
    await httpsServer(t, certificateOf('api.test'), seen),
  ];
  const cases: readonly (readonly [string, number, EndpointTls])[] = [
    ['name', byName, good],
    ['issuer', byIssuer, { ...good, caCertificates: createRoot(parseTrustDomain('x.test'), day).certPem }],
    ['public roots', byIssuer, { ...good, caCertificates: '' }],
    ['plain', await listen(t, plain), good],
    ['certificates that cannot be read', byIssuer, { ...good, caCertificates: 'x' }],
  ];
  for (const [what, port, settings] of cases) {
    const waypoint = await waypointTo(t, port, settings);
    assert.equal((await ask(waypoint.port)).status, 503, what);
    const [record] = waypoint.records;
    assert.deepEqual([record?.flag, record?.code], ['UF', 'WEFT_UPSTREAM_TLS'], what);
  }
  assert.ok(seen.every((text) => !text.includes('GET')));
});

test('HTTP/2 is agreed on by ALPN, and only where the port declares it', async (t) => {
  const { keyPem, certPem } = certificateOf('api.test');
  const seen: string[] = [];
  const server = http2.createSecureServer(
    { key: keyPem, cert: certPem, allowHTTP1: true },
    (request, response) => {
      seen.push(
        `${request.httpVersion} ${String((request.stream?.session?.socket as tls.TLSSocket | undefined)?.alpnProtocol)}`,
      );
      response.end('ok');
    },
  );
  const port = await listen(t, server);
  assert.equal((await ask((await waypointTo(t, port, good, 'http2')).port)).status, 200);
  assert.equal((await ask((await waypointTo(t, port, good, 'http1')).port)).status, 200);
  assert.deepEqual(
    seen.map((text) => text.split(' ')[0]),
    ['2.0', '1.1'],
  );
  const only1 = await httpsServer(t, certificateOf('api.test'), []);
  const refused = await waypointTo(t, only1, good, 'http2');
  assert.equal((await ask(refused.port)).status, 503);
  assert.equal(refused.records[0]?.code, 'WEFT_UPSTREAM_TLS');
});

test('a changed policy takes effect on the next request, which never uses a connection of the former one', async (t) => {
  const seen: string[] = [];
  const port = await httpsServer(t, certificateOf('api.test'), seen);
  const waypoint = await waypointTo(t, port, good);
  assert.equal((await ask(waypoint.port)).status, 200);
  const apply = (endpointTls: EndpointTls) =>
    waypoint.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], endpointTls }] });
  apply({ ...good, dnsNames: ['other.test'] });
  assert.equal((await ask(waypoint.port)).status, 503);
  apply({ ...good, dnsNames: ['other.test', 'api.test'] });
  assert.equal((await ask(waypoint.port)).status, 200);
});

test('one of the other names is enough, and then the hostname does not count', () => {
  const certificate = (...dns: string[]): tls.PeerCertificate => {
    const parsed = new X509Certificate(certificateOf(...dns).certPem);
    return {
      raw: parsed.raw,
      subject: {},
      subjectaltname: parsed.subjectAltName,
    } as unknown as tls.PeerCertificate;
  };
  const is = (names: readonly string[], ...dns: string[]): boolean =>
    nameProblem({ ...good, dnsNames: names }, certificate(...dns)) === undefined;
  assert.ok(is([], 'api.test'));
  assert.ok(!is(['b.test'], 'api.test'));
  assert.ok(is(['a.test', 'b.test'], 'b.test'));
  assert.ok(is(['*.b.test'], 'x.b.test'));
  assert.ok(is(['*.b.test'], '*.b.test'));
  assert.ok(is(['x.b.test'], '*.b.test'));
  assert.ok(!is(['*.b.test'], 'x.y.b.test'));
  assert.ok(!is(['*.b.test'], 'b.test'));
  assert.ok(!is(['x.y.b.test'], '*.b.test'));
  const uri = nameProblem({ ...good, uris: ['spiffe://x/y'] }, certificate('api.test'));
  assert.match(String(uri), /none of the names spiffe:\/\/x\/y/);
});

const clients = createRoot(parseTrustDomain('clients.test'), day);
const clientPair = (name: string): KeyAndCertificate =>
  issueServerCert({ caKeyPem: clients.keyPem, caCertPem: clients.certPem, dns: [name], ips: [], ttlS: day });
const usable = ({ certPem, keyPem }: KeyAndCertificate) => ({
  name: 'bank' as SecretName,
  chainPem: certPem,
  keyPem,
  fingerprint: certPem,
});
const mutual: EndpointTls = { ...good, clientCertificate: 'bank' };

/** Demands a client certificate. `seen`: one entry per request, with the connection's number and the name of its client. */
function demandingServer(t: TestContext, seen: string[], isHttp2 = false): Promise<number> {
  const { keyPem, certPem } = certificateOf('api.test');
  const options = { key: keyPem, cert: certPem, ca: clients.certPem, requestCert: true };
  const numbers = new WeakMap<object, number>();
  let count = 0;
  const handle = (socket: object, response: { end(text: string): void }): void => {
    const { CN } = (socket as tls.TLSSocket).getPeerCertificate().subject;
    seen.push(`${numbers.get(socket)} ${String(CN)}`);
    response.end('secret');
  };
  const onConnect = (socket: tls.TLSSocket): void => void numbers.set(socket, ++count);
  if (!isHttp2) {
    const server = https.createServer(options, (request, response) => handle(request.socket, response));
    return listen(t, server.on('secureConnection', onConnect));
  }
  const sockets = new WeakMap<object, tls.TLSSocket>();
  const server = http2.createSecureServer(options, (request, response) =>
    handle(sockets.get(request.stream.session as object) as object, response),
  );
  server.on('session', (session) => sockets.set(session, lastSocket as tls.TLSSocket));
  let lastSocket: tls.TLSSocket | undefined;
  server.prependListener('secureConnection', (socket: tls.TLSSocket) => {
    lastSocket = socket;
    onConnect(socket);
  });
  return listen(t, server);
}

test('a server that demands a certificate gets the one of the policy, and nobody else does', async (t) => {
  const seen: string[] = [];
  const port = await demandingServer(t, seen);
  const waypoint = await waypointTo(t, port, mutual);
  const closed = async (what: string): Promise<void> => {
    assert.equal((await ask(waypoint.port)).status, 503, what);
    const { code, flag } = waypoint.records.at(-1) ?? {};
    assert.deepEqual([code, flag], ['WEFT_CLIENT_CERTIFICATE', 'UF'], what);
  };
  await closed('nothing is known of it');
  const { state } = waypoint.context;
  state.setClientCertificates([{ name: 'bank' as SecretName, problem: 'there are no files of it' }]);
  await closed('it is missing');
  assert.match(String(waypoint.records.at(-1)?.why), /Secret bank: there are no files of it/);
  state.setClientCertificates([{ ...usable(clientPair('other')), name: 'other' as SecretName }]);
  await closed('another one is there');
  assert.equal(waypoint.outliers.length, 0, 'the endpoint did not cause it');
  state.setClientCertificates([usable(clientPair('shop'))]);
  assert.equal((await ask(waypoint.port)).status, 200);
  assert.deepEqual(seen, ['1 shop']);
  const without = await waypointTo(t, port, good);
  without.context.state.setClientCertificates([usable(clientPair('shop'))]);
  assert.ok((await ask(without.port)).status >= 502, 'a policy that names none shows none');
  assert.equal(seen.length, 1);
});

for (const protocol of ['http1', 'http2'] as const)
  test(`${protocol}: a connection of one certificate serves no request of another, and none without`, async (t) => {
    const seen: string[] = [];
    const port = await demandingServer(t, seen, protocol === 'http2');
    const waypoint = await waypointTo(t, port, mutual, protocol);
    const { state } = waypoint.context;
    const first = usable(clientPair('first'));
    state.setClientCertificates([first]);
    for (let i = 0; i < 3; i++) assert.equal((await ask(waypoint.port)).status, 200);
    state.setClientCertificates([{ ...first }]);
    assert.equal((await ask(waypoint.port)).status, 200);
    assert.deepEqual(new Set(seen.splice(0)), new Set(['1 first']), 'an equal pair changes nothing');
    state.setClientCertificates([usable(clientPair('second'))]);
    for (let i = 0; i < 3; i++) assert.equal((await ask(waypoint.port)).status, 200);
    assert.deepEqual(new Set(seen.splice(0)), new Set(['2 second']));
    const set = (endpointTls: EndpointTls) =>
      waypoint.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], endpointTls }] });
    set(good);
    assert.ok((await ask(waypoint.port)).status >= 502, 'without, no connection of the former is used');
    set({ ...mutual, clientCertificate: 'another' });
    assert.equal((await ask(waypoint.port)).status, 503);
    set(mutual);
    assert.equal((await ask(waypoint.port)).status, 200);
    state.setClientCertificates([]);
    assert.equal((await ask(waypoint.port)).status, 503, 'removed');
    assert.deepEqual(new Set(seen.map((text) => text.split(' ')[1])), new Set(['second']));
  });

test('requests of a rotation all succeed', async (t) => {
  const seen: string[] = [];
  const port = await demandingServer(t, seen);
  const waypoint = await waypointTo(t, port, mutual);
  const { state } = waypoint.context;
  state.setClientCertificates([usable(clientPair('p0'))]);
  const statuses: number[] = [];
  const load = Array.from({ length: 8 }, async () => {
    for (let i = 0; i < 25; i++) statuses.push((await ask(waypoint.port)).status);
  });
  let isDone = false;
  const rotations = (async () => {
    for (let i = 1; !isDone; i++) {
      state.setClientCertificates([usable(clientPair(`p${i}`))]);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  await Promise.all(load);
  isDone = true;
  await rotations;
  assert.deepEqual(new Set(statuses), new Set([200]));
  assert.ok(new Set(seen.map((text) => text.split(' ')[1])).size > 1);
});

test('a Service of another namespace gets no certificate of the waypoint, whatever the control plane sends', async (t) => {
  const seen: string[] = [];
  const port = await demandingServer(t, seen);
  const waypoint = await waypointTo(t, port, mutual);
  const own = new WaypointState('node-1', 'infra/waypoint.infra.svc.cluster.local' as ServiceKey);
  const { state } = waypoint.context;
  const { mesh = {}, ...others } = state.full();
  const services = (mesh.services ?? []).map((one) => ({
    ...one,
    waypoint: { kind: 'hostname', service: own.self, hbonePort: 15008 } as const,
  }));
  own.apply({ ...others, mesh: { ...mesh, services } });
  for (const one of [own, state]) one.setClientCertificates([usable(clientPair('shop'))]);
  const shown = (one: WaypointState) => one.assignment(key('api'), 80)?.[0]?.[0]?.clientCertificate;
  assert.equal(shown(state)?.problem, undefined);
  assert.match(shown(own)?.problem ?? '', /only Services of the waypoint's own namespace/);
  assert.equal(shown(own)?.fingerprint, '');
});

test('the key is in no dump, no log line and no error', async (t) => {
  const pair = clientPair('shop');
  const waypoint = await waypointTo(t, await demandingServer(t, []), mutual);
  const { state } = waypoint.context;
  state.setClientCertificates([usable(pair)]);
  assert.equal((await ask(waypoint.port)).status, 200);
  const [endpoint] = waypoint.clusters.ofService(key('api'), 80)?.endpoints ?? [];
  const shown = [
    JSON.stringify(state.dump()),
    JSON.stringify(waypoint.clusters.dump()),
    JSON.stringify(endpoint?.clientCertificate),
    inspect(endpoint?.clientCertificate, { depth: 20, showHidden: true }),
    inspect(waypoint.records, { depth: 20 }),
  ].join();
  const secret = pair.keyPem.split('\n')[1] ?? '';
  assert.ok(secret.length > 20);
  assert.ok(!shown.includes(secret));
});
