import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, test } from 'node:test';
import { redirectRules } from './sidecar.js';
import { findZtunnel, hbonePort, linkerdMissing, readVersion, ztunnelEnvironment } from './ztunnel.js';

const dir = mkdtempSync(join(tmpdir(), 'weft-bench-test-'));
const path = process.env['PATH'];
after(() => rmSync(dir, { recursive: true, force: true }));
afterEach(() => {
  process.env['PATH'] = path;
  rmSync(join(dir, 'ztunnel'), { force: true });
});

/** The only program on PATH. */
function alone(script: string, mode = 0o755): void {
  writeFileSync(join(dir, 'ztunnel'), `#!/bin/sh\n${script}\n`);
  chmodSync(join(dir, 'ztunnel'), mode);
  process.env['PATH'] = dir;
}
const said = (istio: string, profile: string): string =>
  `version.BuildInfo{Version:"abc", GitRevision:"62d8265", RustVersion:"1.95.0", BuildProfile:"${profile}", BuildStatus:"Clean", IstioVersion:"${istio}"}`;

test('says what to do where no ztunnel is on PATH', () => {
  process.env['PATH'] = dir;
  assert.deepEqual(findZtunnel(), { missing: 'not on PATH: put a ztunnel binary there and run again' });
});

test('takes the one on PATH, under its version', () => {
  alone(`[ "$1" = version ] && echo '${said('1.30.0', 'release')}'`);
  assert.deepEqual(findZtunnel(), { version: '1.30.0' });
});

test('refuses a program of that name that is something else, or does not run', () => {
  alone('echo hello');
  assert.deepEqual(findZtunnel(), { missing: 'what is on PATH by that name is not ztunnel' });
  alone('exit 3');
  assert.match(JSON.stringify(findZtunnel()), /does not run/);
});

test('names the revision where Istio did not build it, and a build that is not for release', () => {
  assert.equal(readVersion(said('unknown', 'release')), '62d8265');
  assert.equal(readVersion(said('1.30.0', 'quick-release')), '1.30.0 (built as quick-release)');
  assert.equal(readVersion('ztunnel, they said'), undefined);
});

test('of linkerd2-proxy says what stands in the way, on PATH or not', () => {
  assert.equal(linkerdMissing(false), 'not on PATH');
  assert.match(linkerdMissing(true), /controllers/);
});

test('has the identity of its pod, and the control plane for discovery and certificates alike', () => {
  const environment = ztunnelEnvironment(
    { namespace: 'shop', name: 'api', node: 'node-a', ip: '10.0.0.2' },
    { url: 'https://10.1.0.1:15012', rootFile: '/root.pem', tokenFile: '/token' },
  );
  assert.equal(environment['PROXY_WORKLOAD_INFO'], 'shop/api/api');
  assert.equal(environment['NODE_NAME'], 'node-a');
  assert.equal(environment['XDS_ADDRESS'], environment['CA_ADDRESS']);
  assert.equal(environment['XDS_ROOT_CA'], environment['CA_ROOT_CA']);
  assert.equal(environment['AUTH_TOKEN'], '/token');
});

test('does not redirect the port that the proxy takes itself, and redirects all else that arrives', () => {
  const left = (rules: string): string[] => /--dports ([\d,]+) -j RETURN/.exec(rules)?.[1]?.split(',') ?? [];
  assert.ok(left(redirectRules(1337, [hbonePort])).includes('15008'));
  assert.ok(!left(redirectRules()).includes('15008'));
  assert.match(redirectRules(1337, [hbonePort]), /-A PREROUTING -p tcp -j REDIRECT --to-ports 15006\nCOMMIT/);
});
