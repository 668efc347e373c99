/** Key sets are fetched from real servers on the loopback, which the tests allow. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import net from 'node:net';
import { test, type TestContext } from 'node:test';
import type tls from 'node:tls';
import { parseTrustDomain } from '../../src/model/identity.js';
import { createRoot, issueServerCert } from '../../src/tls/issue.js';
import { exampleJwks } from '../../test/support/authentication.js';
import { allowedBlocks, type JwksAllowance } from './decide.js';
import { keyFetcher, type FetchKeys } from './fetch.js';
import { keySetLimits } from './key-set.js';

const day = 86_400;
const root = createRoot(parseTrustDomain('issuer.test'), day);
const certificate = issueServerCert({
  caKeyPem: root.keyPem,
  caCertPem: root.certPem,
  dns: ['id.issuer.test'],
  ips: [],
  ttlS: day,
});
const loopback: JwksAllowance = { http: false, blocks: allowedBlocks(['127.0.0.0/8']) };
const jwks = exampleJwks();

async function listen(t: TestContext, server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}
const httpsServer = (t: TestContext, handler: http.RequestListener): Promise<number> =>
  listen(t, https.createServer({ key: certificate.keyPem, cert: certificate.certPem }, handler));
/** A fetcher for which each name has this address. */
const fetcher = (more: Partial<Parameters<typeof keyFetcher>[0]> = {}): FetchKeys =>
  keyFetcher({ allow: loopback, ca: root.certPem, lookup: () => Promise.resolve(['127.0.0.1']), ...more });

test('a key set is fetched by https with the name of the host, and without credentials', async (t) => {
  const seen: string[] = [];
  const port = await httpsServer(t, (request, response) => {
    const { servername } = request.socket as tls.TLSSocket;
    seen.push(`${String(servername)} ${request.headers.host} ${request.url}`);
    assert.equal(request.headers.authorization ?? request.headers.cookie, undefined);
    response.setHeader('cache-control', 'public, max-age=120');
    response.end(jwks);
  });
  const got = await fetcher()(`https://id.issuer.test:${port}/keys?a=b`);
  assert.deepEqual(got, { text: jwks, maxAgeS: 120 });
  assert.deepEqual(seen, [`id.issuer.test id.issuer.test:${port} /keys?a=b`]);
});

test('a server without a certificate for the host is not believed', async (t) => {
  const port = await httpsServer(t, (_request, response) => response.end(jwks));
  await assert.rejects(fetcher()(`https://other.issuer.test:${port}/`), /altnames|Hostname|certificate/i);
  await assert.rejects(fetcher({ ca: undefined })(`https://id.issuer.test:${port}/`), /certificate/i);
});

test('http is refused unless the operator allows it', async (t) => {
  const port = await listen(
    t,
    http.createServer((_request, response) => response.end(jwks)),
  );
  const uri = `http://id.issuer.test:${port}/`;
  await assert.rejects(fetcher()(uri), /--jwks-allow-http/);
  const allowed = fetcher({ allow: { ...loopback, http: true } });
  assert.equal((await allowed(uri)).text, jwks);
});

test('a redirect is not followed, wherever it leads', async (t) => {
  let requests = 0;
  const port = await httpsServer(t, (request, response) => {
    requests++;
    response.writeHead(302, {
      location: request.url === '/meta' ? 'http://169.254.169.254/latest/meta-data/' : '/keys',
    });
    response.end(jwks);
  });
  for (const path of ['/meta', '/same'])
    await assert.rejects(fetcher()(`https://id.issuer.test:${port}${path}`), /redirects \(status 302\)/);
  assert.equal(requests, 2);
});

test('a response of 50 MB is given up after the limit, with a stated length and without', async (t) => {
  let sent = 0;
  const piece = Buffer.alloc(64 * 1024, 0x20);
  const port = await httpsServer(t, (_request, response) => {
    const write = (): void => {
      while (sent < 50 * 1024 * 1024 && !response.destroyed) {
        sent += piece.length;
        if (!response.write(piece)) return void response.once('drain', write);
      }
      response.end();
    };
    write();
  });
  await assert.rejects(
    fetcher()(`https://id.issuer.test:${port}/`),
    new RegExp(`more than ${keySetLimits.bytes}`),
  );
  assert.ok(sent < 25 * 1024 * 1024, `${sent} bytes were sent`);
});

test('a compressed response is refused', async (t) => {
  const port = await httpsServer(t, (_request, response) => {
    response.setHeader('content-encoding', 'gzip');
    response.end('x');
  });
  await assert.rejects(fetcher()(`https://id.issuer.test:${port}/`), /compressed/);
});

test('a server that is slow with the handshake, the head or the body, and a name server that is, are given up', async (t) => {
  const silent = await listen(
    t,
    net.createServer((socket) => t.after(() => socket.destroy())),
  );
  const slow = await httpsServer(t, (request, response) => {
    if (request.url === '/head') return;
    response.write('{"keys":');
    const timer = setInterval(() => response.write(' '), 20);
    response.on('close', () => clearInterval(timer));
  });
  for (const uri of [`:${silent}/`, `:${slow}/head`, `:${slow}/body`])
    await assert.rejects(
      fetcher({ timeoutMs: 400 })(`https://id.issuer.test${uri}`),
      /no complete response within/,
    );
  const never = fetcher({ timeoutMs: 100, lookup: () => new Promise(() => undefined) });
  await assert.rejects(never('https://id.issuer.test/'), /no complete response within/);
});

test('a status other than 200, and a name without address, are failures', async (t) => {
  const port = await httpsServer(t, (_request, response) => {
    response.statusCode = 404;
    response.end(jwks);
  });
  await assert.rejects(fetcher()(`https://id.issuer.test:${port}/`), /status 404/);
  await assert.rejects(
    fetcher({ lookup: () => Promise.resolve([]) })('https://id.issuer.test/'),
    /no address/,
  );
});

test('addresses that are not public are refused, however they are written, and whatever name has them', async () => {
  const refusing = (addresses: readonly string[]): FetchKeys =>
    keyFetcher({ allow: { http: true, blocks: [] }, lookup: () => Promise.resolve(addresses) });
  const addresses = [
    '127.0.0.1',
    '10.96.0.1',
    '172.16.0.1',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0',
    '224.0.0.1',
    '255.255.255.255',
    '::1',
    '::',
    'fe80::1',
    'fd00:ec2::254',
    '::ffff:169.254.169.254',
    '64:ff9b::a9fe:a9fe',
    '2002:a9fe:a9fe::1',
  ];
  for (const address of addresses) {
    await assert.rejects(refusing([address])('https://id.issuer.test/'), /not public/, address);
    const literal = address.includes(':') ? `[${address}]` : address;
    await assert.rejects(refusing([])(`http://${literal}/`), /not public/, literal);
  }
  // The forms in which a URI may have an IPv4 address.
  for (const literal of ['2130706433', '0x7f.1', '127.1', '0177.0.0.1'])
    await assert.rejects(refusing([])(`http://${literal}/`), /not public/, literal);
});

test('the address that was checked is the one that is dialed: a name that changes meanwhile leads nowhere else', async (t) => {
  let lookups = 0;
  const port = await httpsServer(t, (_request, response) => response.end(jwks));
  const rebinding = fetcher({
    lookup: () => Promise.resolve(lookups++ === 0 ? ['169.254.169.254', '127.0.0.1'] : ['169.254.169.254']),
  });
  assert.equal((await rebinding(`https://id.issuer.test:${port}/`)).text, jwks);
  assert.equal(lookups, 1);
  await assert.rejects(rebinding(`https://id.issuer.test:${port}/`), /not public/);
});
