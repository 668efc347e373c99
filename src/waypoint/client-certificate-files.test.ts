import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { clientCertificatesMax, parseSecretName, type SecretName } from '../model/client-certificate.js';
import { parseTrustDomain } from '../model/identity.js';
import { createRoot, issueServerCert, type KeyAndCertificate } from '../tls/issue.js';
import { ClientCertificateFiles, fileBytesMax } from './client-certificate-files.js';
import type { ClientCertificateState } from './cluster/client-certificate.js';

const root = createRoot(parseTrustDomain('clients.test'), 86_400);
const pairOf = (ttlS = 3_600): KeyAndCertificate =>
  issueServerCert({ caKeyPem: root.keyPem, caCertPem: root.certPem, dns: ['shop'], ips: [], ttlS });
const name = (text: string): SecretName => parseSecretName(text) ?? assert.fail(text);
const bank = name('bank');

interface Bench {
  readonly directory: string;
  readonly files: ClientCertificateFiles;
  readonly log: string[];
  readonly limits: { reached: number };
  nowMs: number;
  sent: readonly ClientCertificateState[];
  write(secret: string, pair: Partial<KeyAndCertificate>): void;
}
function start(t: TestContext, directory = mkdtempSync(join(tmpdir(), 'weft-certificates-'))): Bench {
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const bench: Bench = {
    directory,
    log: [],
    limits: { reached: 0 },
    nowMs: Date.now(),
    sent: [],
    files: new ClientCertificateFiles({
      directory,
      nowMs: () => bench.nowMs,
      onChange: (states) => (bench.sent = states),
      onState: (secret, problem, isKept) =>
        bench.log.push(`${secret} ${isKept ? 'pair' : 'none'} ${problem ?? 'ok'}`),
      onLimit: () => bench.limits.reached++,
    }),
    write: (secret, { certPem, keyPem }) => {
      const at = join(directory, secret);
      mkdirSync(at, { recursive: true });
      if (certPem !== undefined) writeFileSync(join(at, 'tls.crt'), certPem);
      if (keyPem !== undefined) writeFileSync(join(at, 'tls.key'), keyPem);
    },
  };
  return bench;
}
const only = (bench: Bench): ClientCertificateState => {
  assert.equal(bench.sent.length, 1);
  return bench.sent[0] as ClientCertificateState;
};
const keyOf = (state: ClientCertificateState): string | undefined =>
  'keyPem' in state ? state.keyPem : undefined;

test('a certificate is sent as soon as a policy names it, and again when its files change', (t) => {
  const bench = start(t);
  const [first, second] = [pairOf(), pairOf()];
  bench.write('bank', first);
  bench.write('unused', pairOf());
  bench.files.want(new Set([bank]));
  assert.equal(keyOf(only(bench)), first.keyPem);
  const { sent } = bench;
  bench.files.poll();
  assert.equal(bench.sent, sent, 'nothing is sent while nothing changes');
  bench.write('bank', second);
  bench.files.poll();
  assert.equal(keyOf(only(bench)), second.keyPem);
  assert.deepEqual(bench.log, ['bank pair ok', 'bank pair ok']);
  bench.files.want(new Set());
  assert.deepEqual(bench.sent, []);
});

test('a new pair that cannot be used leaves the last good one in use, and says why once', (t) => {
  const bench = start(t);
  const good = pairOf();
  bench.write('bank', good);
  bench.files.want(new Set([bank]));
  const broken: readonly (readonly [string, Partial<KeyAndCertificate>, RegExp])[] = [
    [
      'another key',
      { certPem: good.certPem, keyPem: pairOf().keyPem },
      /tls.key is not the key of its tls.crt/,
    ],
    ['no certificate', { certPem: 'x' }, /tls.crt has no certificate/],
    [
      'a certificate of nonsense',
      { certPem: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n' },
      /cannot be read/,
    ],
    ['no key', { ...good, keyPem: '' }, /no private key/],
    ['too large', { ...good, certPem: good.certPem.padEnd(fileBytesMax + 1) }, /more than 65536 bytes/],
    ['expired', issueExpired(), /has expired/],
  ];
  for (const [what, files, why] of broken) {
    bench.write('bank', { ...good, ...files });
    const lines = bench.log.length;
    bench.files.poll();
    bench.files.poll();
    assert.equal(keyOf(only(bench)), good.keyPem, what);
    assert.equal(bench.log.length, lines + 1, what);
    assert.match(bench.log.at(-1) ?? '', /^bank pair /, what);
    assert.match(bench.log.at(-1) ?? '', why, what);
    assert.deepEqual(bench.files.counts.kept, 1, what);
  }
  bench.write('bank', good);
  rmSync(join(bench.directory, 'bank', 'tls.key'));
  bench.files.poll();
  assert.match(bench.log.at(-1) ?? '', /bank pair it has no tls.key/);
  bench.write('bank', good);
  bench.files.poll();
  assert.equal(bench.log.at(-1), 'bank pair ok');
  assert.ok(!bench.log.join().includes('PRIVATE'));
});

function issueExpired(): KeyAndCertificate {
  return pairOf(-60);
}

test('without a usable pair there is none, and the reason is sent; a pair that is removed is no longer used', (t) => {
  const bench = start(t);
  bench.files.want(new Set([bank]));
  const problem = (): string => {
    const state = only(bench);
    assert.ok('problem' in state);
    return state.problem;
  };
  assert.match(problem(), /no files of it in .*bank: /);
  bench.write('bank', { certPem: 'x', keyPem: 'y' });
  bench.files.poll();
  assert.match(problem(), /no certificate in PEM/);
  bench.write('bank', pairOf());
  bench.files.poll();
  assert.ok('keyPem' in only(bench));
  rmSync(join(bench.directory, 'bank'), { recursive: true });
  bench.files.poll();
  assert.match(problem(), /no files/);
  mkdirSync(join(bench.directory, 'bank'));
  bench.files.poll();
  assert.match(problem(), /no files/);
  assert.equal(bench.files.counts.missing, 1);
});

test('a certificate that expires while it is in use stays: its server decides', (t) => {
  const bench = start(t);
  bench.write('bank', pairOf(60));
  bench.files.want(new Set([bank]));
  bench.nowMs += 3_600_000;
  bench.files.poll();
  assert.ok('keyPem' in only(bench));
});

test('what cannot be read is not taken for what is gone', (t) => {
  const bench = start(t);
  const good = pairOf();
  bench.write('bank', good);
  bench.files.want(new Set([bank]));
  // A file in place of the directory: neither can be listed, nor does it not exist.
  const aside = `${bench.directory}-aside`;
  t.after(() => rmSync(aside, { recursive: true, force: true }));
  renameSync(bench.directory, aside);
  writeFileSync(bench.directory, '');
  bench.files.poll();
  assert.equal(keyOf(only(bench)), good.keyPem);
  assert.match(bench.log.at(-1) ?? '', /bank pair its directory cannot be read: ENOTDIR/);
  rmSync(bench.directory);
  renameSync(aside, bench.directory);
  rmSync(join(bench.directory, 'bank', 'tls.key'));
  mkdirSync(join(bench.directory, 'bank', 'tls.key'));
  bench.files.poll();
  assert.equal(keyOf(only(bench)), good.keyPem);
});

test('a named pipe and a device are no files, and reading them does not wait', (t) => {
  const bench = start(t);
  mkdirSync(join(bench.directory, 'bank'));
  execFileSync('mkfifo', [join(bench.directory, 'bank', 'tls.crt')]);
  symlinkSync('/dev/zero', join(bench.directory, 'bank', 'tls.key'));
  bench.files.want(new Set([bank]));
  assert.match(bench.log.at(-1) ?? '', /tls.crt is not a file/);
});

test("both files are of one state of the kubelet's volume, which it replaces by a symbolic link", (t) => {
  const bench = start(t);
  const put = (version: string, pair: KeyAndCertificate): void => {
    const at = join(bench.directory, `..${version}`, 'bank');
    mkdirSync(at, { recursive: true });
    writeFileSync(join(at, 'tls.crt'), pair.certPem);
    writeFileSync(join(at, 'tls.key'), pair.keyPem);
    symlinkSync(`..${version}`, join(bench.directory, '..next'));
    renameSync(join(bench.directory, '..next'), join(bench.directory, '..data'));
  };
  const [first, second] = [pairOf(), pairOf()];
  put('1', first);
  symlinkSync(join('..data', 'bank'), join(bench.directory, 'bank'));
  bench.files.want(new Set([bank]));
  assert.equal(keyOf(only(bench)), first.keyPem);
  put('2', second);
  bench.files.poll();
  assert.equal(keyOf(only(bench)), second.keyPem);
});

test('at most 16 pairs are read: those that are in use stay', (t) => {
  const bench = start(t);
  const pair = pairOf();
  const names = Array.from({ length: clientCertificatesMax }, (_, i) => name(`z${i}`));
  for (const one of [...names, bank]) bench.write(one, pair);
  bench.files.want(new Set(names));
  bench.files.want(new Set([bank, ...names]));
  const usable = bench.sent.filter((state) => 'keyPem' in state).map((state) => state.name);
  assert.deepEqual(usable, names);
  assert.equal(bench.limits.reached, 1);
  bench.files.want(new Set([bank, ...names.slice(1)]));
  assert.ok(bench.sent.every((state) => 'keyPem' in state));
});

test('only names of Secrets become a part of a path', () => {
  for (const text of ['a', 'bank-tls', 'bank.example', '0', 'a'.repeat(253)])
    assert.equal(parseSecretName(text), text);
  for (const text of [
    '',
    '.',
    '..',
    '../a',
    'a/b',
    '/a',
    'a..b',
    '.a',
    'a.',
    'A',
    'a_b',
    'a\0',
    'a\n',
    '..data',
    'a'.repeat(254),
    1,
    null,
  ])
    assert.equal(parseSecretName(text), undefined, JSON.stringify(text));
});

test('any content of the files is a pair or a problem, never an exception', (t) => {
  const bench = start(t);
  const good = pairOf();
  bench.files.want(new Set([bank]));
  const damaged = (text: string): string => {
    const bytes = Buffer.from(text);
    const at = randomBytes(4).readUInt32LE() % bytes.length;
    switch (randomBytes(1)[0]! % 3) {
      case 0:
        bytes[at] = randomBytes(1)[0]!;
        return bytes.toString('latin1');
      case 1:
        return text.slice(0, at);
      default:
        return randomBytes(200).toString('latin1');
    }
  };
  for (let i = 0; i < 300; i++) {
    bench.write('bank', {
      certPem: damaged(good.certPem),
      keyPem: i % 2 === 0 ? good.keyPem : damaged(good.keyPem),
    });
    bench.files.poll();
    const state = only(bench);
    assert.ok('problem' in state || state.keyPem.length > 0);
    assert.ok(!bench.log.join().includes('PRIVATE'));
  }
});

test('a directory that another user may not read is a problem, not the end', (t) => {
  const bench = start(t);
  bench.write('bank', pairOf());
  chmodSync(join(bench.directory, 'bank', 'tls.key'), 0);
  bench.files.want(new Set([bank]));
  // Root reads it all the same.
  assert.equal('keyPem' in only(bench), process.getuid?.() === 0);
});

test('while the kubelet replaces the files they are never taken for gone', async (t) => {
  const bench = start(t);
  const pair = pairOf();
  const swaps = `
const fs = require('node:fs'), { join } = require('node:path');
const [directory, certPem, keyPem] = process.argv.slice(1);
for (let version = 0; version < 300; version++) {
  const now = join(directory, '..' + version);
  fs.mkdirSync(join(now, 'bank'), { recursive: true });
  fs.writeFileSync(join(now, 'bank', 'tls.crt'), certPem);
  fs.writeFileSync(join(now, 'bank', 'tls.key'), keyPem);
  fs.symlinkSync('..' + version, join(directory, '..next'));
  fs.renameSync(join(directory, '..next'), join(directory, '..data'));
  if (version === 0) fs.symlinkSync('..data/bank', join(directory, 'bank'));
  if (version === 0) process.stdout.write('ready');
  else fs.rmSync(join(directory, '..' + (version - 1)), { recursive: true });
}`;
  const child = spawn(process.execPath, ['-e', swaps, bench.directory, pair.certPem, pair.keyPem]);
  const ended = once(child, 'exit');
  await once(child.stdout, 'data');
  bench.files.want(new Set([bank]));
  let polls = 0;
  while (child.exitCode === null) {
    for (let i = 0; i < 50; i++, polls++) bench.files.poll();
    await new Promise(setImmediate);
  }
  assert.deepEqual(await ended, [0, null]);
  assert.ok(polls > 0);
  assert.ok(
    bench.log.every((line) => line.startsWith('bank pair ')),
    bench.log.join('\n'),
  );
});
