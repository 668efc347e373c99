/**
 * External authorization by a real Open Policy Agent, with the Rego policy of docs/external-authorization.md: its engine and the messages
 * of envoyproxy/go-control-plane, built once by Go from the module proxy (test/interop/opa). Not part of `npm test`, because of the build.
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, test, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import type { RouteFilter } from '../../src/model/route.js';
import { askFilter } from '../support/decision-services.js';
import { id, key } from '../support/mesh.js';
import { ask, askEcho, deadPort, echoHandler, httpUpstream, startWaypoint } from '../support/waypoint.js';

const sources = join(projectRoot, 'test', 'interop', 'opa');
const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'weft-interop');
let program = '';

/** Builds the program, unless an earlier run has built the same sources. */
before(
  async () => {
    const hash = createHash('sha256');
    for (const file of ['go.mod', 'go.sum', 'main.go']) hash.update(readFileSync(join(sources, file)));
    program = join(cache, `opa-authz-${hash.digest('hex').slice(0, 12)}-${process.arch}`);
    if (existsSync(program)) return;
    mkdirSync(cache, { recursive: true });
    const made = `${program}.${process.pid}`;
    const path = `${process.env['PATH'] ?? ''}:/usr/local/go/bin`;
    await promisify(execFile)('go', ['build', '-buildvcs=false', '-o', made, '.'], {
      cwd: sources,
      env: { ...process.env, PATH: path, CGO_ENABLED: '0' },
    });
    renameSync(made, program);
  },
  { timeout: 600_000 },
);

/** The policy that the documentation shows. */
const documented = (): string => {
  const page = readFileSync(join(projectRoot, 'docs', 'external-authorization.md'), 'utf8');
  const found = /^```rego\n([\s\S]*?)^```$/m.exec(page)?.[1];
  assert.ok(found, 'the page shows a policy');
  return found;
};

async function opaScene(t: TestContext, rego: string, filter: RouteFilter) {
  const dir = mkdtempSync(join(tmpdir(), 'weft-opa-'));
  const policy = join(dir, 'policy.rego');
  writeFileSync(policy, rego);
  const port = await deadPort();
  const child = spawn(program, [`127.0.0.1:${port}`, policy, 'data.envoy.authz.allow'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let log = '';
  child.stderr.on('data', (bytes: Buffer) => (log += bytes.toString()));
  t.after(() => {
    child.kill('SIGKILL');
    rmSync(dir, { recursive: true });
  });
  await until('it listens', 30_000, () => {
    assert.equal(child.exitCode, null, log);
    return Promise.resolve(log.includes('listening'));
  });
  const upstream = await httpUpstream(t, echoHandler('api'));
  const waypoint = await startWaypoint(t, {
    backends: { api: [upstream.port], authz: [port] },
    identity: id('web'),
  });
  waypoint.apply({ servicePolicies: [{ service: key('api'), port: 80, origins: [], filters: [filter] }] });
  return waypoint;
}

test('the documented policy decides by the identity of the client and a header, and tells the endpoint the user', async (t) => {
  const { port } = await opaScene(t, documented(), askFilter({ upstreamHeaders: ['x-checked-user'] }));
  const { headers } = await askEcho(port, { headers: { 'x-user': 'ann', 'x-checked-user': 'root' } });
  assert.equal(headers['x-checked-user'], 'ann');
  assert.equal((await ask(port)).status, 403);
});

test('a policy reads method, path, host and body, and answers with status, headers, body and headers to remove', async (t) => {
  const rego = `package envoy.authz

http := input.attributes.request.http

default allow := {"allowed": false, "http_status": 302, "headers": {"location": "/login"}, "body": "log in"}

allow := {"allowed": true, "request_headers_to_remove": ["x-secret"], "response_headers_to_add": {"x-by": "opa"}} if {
    http.method == "POST"
    http.path == "/orders?x=1"
    http.host == "api.shop"
    json.unmarshal(http.body).amount < 100
}
`;
  const { port } = await opaScene(t, rego, askFilter({ bodyBytesMax: 1_000 }));
  const order = (amount: number) =>
    ask(port, {
      method: 'POST',
      path: '/orders?x=1',
      headers: { 'x-secret': 's' },
      body: JSON.stringify({ amount }),
    });
  const allowed = await order(5);
  assert.deepEqual([allowed.status, allowed.headers['x-by']], [200, 'opa']);
  assert.ok(!allowed.body.includes('x-secret'));
  const denied = await order(500);
  assert.deepEqual([denied.status, denied.headers.location, denied.body], [302, '/login', 'log in']);
  assert.equal((await ask(port, { path: '/orders?x=1' })).status, 302);
});

test('a policy that fails is no decision', async (t) => {
  const rego = `package envoy.authz

allow := {"allowed": true} if input.attributes.request.http.path == "/known"
`;
  const { port } = await opaScene(t, rego, askFilter());
  assert.equal((await ask(port, { path: '/known' })).status, 200);
  assert.equal((await ask(port, { path: '/unknown' })).status, 503);
});
