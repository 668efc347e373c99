import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
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
import { defaultLimits } from '../limits.js';
import { ask, startWaypoint, type TestWaypoint } from '../../../test/support/waypoint.js';
import { key } from '../../../test/support/mesh.js';
import { withTls } from './dial.js';
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
