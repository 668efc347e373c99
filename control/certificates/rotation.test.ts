import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { parseSpiffeId, parseTrustDomain } from '../../src/model/identity.js';
import { assembleSvid, splitPem } from '../../src/tls/certificate.js';
import { createRoot } from '../../src/tls/issue.js';
import { createCsr, parseCsr } from '../../src/tls/csr.js';
import { caFiles } from './authority-files.js';
import { CertificateAuthority } from './ca.js';
import { rotateRoot, type RotationPhase } from './rotation.js';

const domain = parseTrustDomain('cluster.local');
const id = parseSpiffeId('spiffe://cluster.local/ns/a/sa/b');
const dirs: string[] = [];
after(() => dirs.forEach((dir) => rmSync(dir, { recursive: true })));
function stateDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'weft-ca-'));
  dirs.push(dir);
  return dir;
}
const phases: readonly RotationPhase[] = ['begin', 'switch', 'finish'];
const at = (dir: string, file: keyof typeof caFiles): string => join(dir, caFiles[file]);

/** Throws if the authority does not issue certificates that its own roots verify. */
function issues(dir: string): void {
  const ca = new CertificateAuthority(dir, domain);
  const { keyPem, csrPem } = createCsr(id);
  const csr = parseCsr(csrPem);
  assert.ok(csr.ok);
  assembleSvid(id, keyPem, ca.issue(csr.value.publicKeyPem, id, 60));
}

test('a root rotation is refused in a directory that has no CA', () => {
  const dir = stateDir();
  for (const phase of phases) assert.throws(() => rotateRoot(dir, domain, phase), /has no CA: give/);
  assert.deepEqual(readdirSync(dir), []);
});

test('the three steps of a root rotation are accepted in order only', () => {
  const one = new CertificateAuthority(stateDir(), domain);
  const versions = [one.version];
  assert.throws(() => one.rotate('switch'), /phase begin first/);
  assert.throws(() => one.rotate('finish'), /nothing to finish/);
  for (const phase of phases) {
    one.rotate(phase);
    versions.push(one.version);
  }
  assert.equal(new Set(versions).size, 4);
  assert.throws(() => one.rotate('finish'), /nothing to finish/);
});

test('switch is refused after a begin that was killed; begin again completes it', () => {
  for (const left of [['nextKey'], ['nextKey', 'nextCert']] as const) {
    const dir = stateDir();
    const other = stateDir();
    new CertificateAuthority(dir, domain);
    new CertificateAuthority(other, domain);
    rotateRoot(other, domain, 'begin');
    for (const file of left) copyFileSync(at(other, file), at(dir, file));
    const before = readFileSync(at(dir, 'cert'), 'utf8');
    assert.throws(() => rotateRoot(dir, domain, 'switch'), /begin is incomplete/);
    assert.throws(() => rotateRoot(dir, domain, 'finish'), /nothing to finish/);
    assert.equal(readFileSync(at(dir, 'cert'), 'utf8'), before);
    rotateRoot(dir, domain, 'begin');
    assert.equal(splitPem(readFileSync(at(dir, 'roots'), 'utf8')).length, 2);
    issues(dir);
    rotateRoot(dir, domain, 'switch');
    issues(dir);
    rotateRoot(dir, domain, 'finish');
    issues(dir);
  }
});

test('after a switch that was killed between certificate and key nothing is issued; switch again completes it', () => {
  const dir = stateDir();
  const running = new CertificateAuthority(dir, domain);
  rotateRoot(dir, domain, 'begin');
  running.reload();
  const { signer } = running;
  copyFileSync(at(dir, 'nextCert'), at(dir, 'cert'));
  // A running control plane keeps its former key and certificate.
  assert.throws(() => running.reload(), /WEFT_CA_KEY|key does not belong/);
  assert.equal(running.signer, signer);
  assert.throws(() => new CertificateAuthority(dir, domain), /key does not belong/);
  assert.throws(() => rotateRoot(dir, domain, 'finish'), /nothing to finish/);
  rotateRoot(dir, domain, 'switch');
  assert.ok(running.reload());
  issues(dir);
  assert.ok(!existsSync(at(dir, 'nextKey')));
});

test('finish does not drop a root that is still needed', () => {
  const dir = stateDir();
  new CertificateAuthority(dir, domain);
  const stranger = createRoot(domain, 60).certPem;
  const roots = stranger + createRoot(domain, 60).certPem;
  writeFileSync(at(dir, 'roots'), roots);
  assert.throws(() => rotateRoot(dir, domain, 'finish'), /left unchanged/);
  assert.equal(readFileSync(at(dir, 'roots'), 'utf8'), roots);
});
