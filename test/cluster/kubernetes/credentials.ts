/** Tokens for certificates and discovery, and replacement of the CA. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { sleep, until } from '../../../src/base/wait.js';
import { run, system, weft } from '../../support/cluster.js';
import { shop, since, traffic } from './shop.js';

const files = mkdtempSync(join(tmpdir(), 'weft-cluster-'));
after(() => rmSync(files, { recursive: true, force: true }));

const target = 'https://weft-control.weft-system.svc:15012';
const path = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';
const ask = (token: string): Promise<string> =>
  shop(
    'exec',
    'deploy/web',
    '--',
    'node',
    '-e',
    `const c = require('http2').connect('${target}', { rejectUnauthorized: false });
const r = c.request({ ':method': 'POST', ':path': '${path}', 'content-type': 'application/grpc', te: 'trailers', authorization: 'Bearer ${token}' });
const seen = (h) => { if (h['grpc-status'] !== undefined) { console.log('status', h['grpc-status']); process.exit(); } };
r.on('response', seen); r.on('trailers', seen); r.on('error', () => 0); setTimeout(() => { console.log('status none'); process.exit(); }, 10000); r.write(Buffer.alloc(5));`,
  );
const unauthenticated = 'status 16';

test('tokens of another account and of another audience are refused', async () => {
  const token = (account: string, audience: string): Promise<string> =>
    system('create', 'token', account, `--audience=${audience}`);
  assert.equal(await ask(await token('weft-control', 'istio-ca')), unauthenticated);
  assert.equal(await ask(await token('weft-agent', 'other')), unauthenticated);
  // A token created by hand is bound to no pod, and so to no node.
  assert.equal(await ask(await token('weft-agent', 'istio-ca')), unauthenticated);
  assert.equal(await ask('x'), unauthenticated);
});

test('the token of a deleted agent pod is refused once the cached review has expired', async () => {
  const agent = (
    await system('get', 'pod', '-l', 'app=weft-agent', '-o', 'jsonpath={.items[0].metadata.name}')
  ).trim();
  const read = "process.stdout.write(require('fs').readFileSync('/var/run/weft/token/token', 'utf8').trim())";
  const token = await system('exec', agent, '--', 'node', '-e', read);
  assert.equal(await ask(token), 'status none', 'the token is valid while its pod exists');
  await system('delete', 'pod', agent);
  await system('rollout', 'status', 'ds/weft-agent', '--timeout=120s');
  assert.equal(
    await until(
      'the token is refused',
      60_000,
      async () => (await ask(token)) === unauthenticated && 'refused',
    ),
    'refused',
  );
});

test("replacing the CA in three steps by an intermediate of another root, in Istio's layout: no request fails", async () => {
  const openssl = (...args: string[]): Promise<string> => run('openssl', ...args);
  const at = (name: string): string => join(files, name);
  const text = (name: string): string => readFileSync(at(name), 'utf8');
  writeFileSync(
    at('ext'),
    'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectAltName=URI:spiffe://cluster.local\n',
  );
  for (const name of ['root', 'intermediate'])
    await openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', at(`${name}.key`));
  await openssl('req', '-new', '-key', at('root.key'), '-subj', '/O=shop/CN=root', '-out', at('root.csr'));
  await openssl(
    'x509',
    '-req',
    '-in',
    at('root.csr'),
    '-signkey',
    at('root.key'),
    '-days',
    '30',
    '-extfile',
    at('ext'),
    '-out',
    at('root.crt'),
  );
  await openssl(
    'req',
    '-new',
    '-key',
    at('intermediate.key'),
    '-subj',
    '/O=shop/CN=intermediate',
    '-out',
    at('intermediate.csr'),
  );
  await openssl(
    'x509',
    '-req',
    '-in',
    at('intermediate.csr'),
    '-CA',
    at('root.crt'),
    '-CAkey',
    at('root.key'),
    '-CAcreateserial',
    '-days',
    '20',
    '-extfile',
    at('ext'),
    '-out',
    at('intermediate.crt'),
  );
  await openssl('pkcs8', '-topk8', '-nocrypt', '-in', at('intermediate.key'), '-out', at('intermediate.pem'));
  const old = Buffer.from(
    await system('get', 'secret', 'weft-ca', '-o', 'jsonpath={.data.root-cert\\.pem}'),
    'base64',
  ).toString();
  const patch = (data: Record<string, string>): Promise<string> =>
    system('patch', 'secret', 'weft-ca', '-p', JSON.stringify({ stringData: data }));
  const trusted = async (): Promise<number[]> => {
    const pods = (await system('get', 'pod', '-l', 'app=weft-agent', '-o', 'name')).split('\n');
    const read =
      "console.log(require('fs').readFileSync('/var/run/weft/root/root-cert.pem', 'utf8').split('BEGIN').length - 1)";
    return Promise.all(pods.map(async (pod) => Number(await system('exec', pod, '--', 'node', '-e', read))));
  };
  const before = await traffic();
  await patch({ 'root-cert.pem': `${old.trim()}\n${text('root.crt')}` });
  await until('every agent trusts both roots', 180_000, async () =>
    (await trusted()).every((count) => count === 2),
  );
  await patch({ 'ca-cert.pem': text('intermediate.crt'), 'ca-key.pem': text('intermediate.pem') });
  await sleep(20_000);
  await patch({ 'root-cert.pem': text('root.crt') });
  await until('every agent trusts only the new root', 180_000, async () =>
    (await trusted()).every((count) => count === 1),
  );
  const { bad, errors } = await since(before, 200);
  assert.equal(bad, 0, errors.join('\n'));
  const findings = JSON.parse(await weft('check', '--json')) as { level: string; what: string }[];
  assert.deepEqual(
    findings.filter(({ level }) => level === 'fail'),
    [],
  );
});
