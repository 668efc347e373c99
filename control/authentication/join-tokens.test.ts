import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, test } from 'node:test';
import { decodeJwt } from 'jose';
import { isRevoked, parseRevocations, revocationsFile, revoke } from './revocations.js';
import { issueToken, subjectOfToken } from '../../test/support/tokens.js';
import { keyFile, makeToken, readToken, tokenTtlSDefault } from './join-tokens.js';

const program = fileURLToPath(new URL('../main.js', import.meta.url));
const dirs: string[] = [];
after(() => dirs.forEach((dir) => rmSync(dir, { recursive: true })));
function stateDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'weft-tokens-'));
  dirs.push(dir);
  return dir;
}

test('a revoked token is refused, other tokens are still accepted', async () => {
  const state = stateDir();
  const [one, two] = [
    await makeToken(state, { subject: 'n1', ttlS: 60 }),
    await makeToken(state, { subject: 'n1', ttlS: 60 }),
  ];
  const other = await issueToken(state, 'n2', 60);
  assert.equal(await subjectOfToken(state, one.token), 'n1');
  revoke(state, { id: one.id });
  assert.equal(await subjectOfToken(state, one.token), undefined);
  assert.equal(await subjectOfToken(state, two.token), 'n1');
  revoke(state, { subject: 'n1', beforeS: Math.floor(Date.now() / 1000) });
  assert.equal(await subjectOfToken(state, two.token), undefined);
  assert.equal(await subjectOfToken(state, other), 'n2');
});

test('while the key cannot be read or is too short, no token can be verified and none is created', async () => {
  const state = stateDir();
  const token = await issueToken(state, 'n1', 60);
  const key = join(state, keyFile);
  const whole = readFileSync(key, 'utf8');
  assert.deepEqual(readdirSync(state), [keyFile], 'no temporary file is left');
  rmSync(key);
  mkdirSync(key);
  await assert.rejects(readToken(state, token), /WEFT_TOKEN_KEY|cannot be read/);
  rmSync(key, { recursive: true });
  for (const text of ['', whole.slice(0, 8)]) {
    writeFileSync(key, text);
    await assert.rejects(readToken(state, token), /at least 32 are needed/);
    await assert.rejects(issueToken(state, 'n1', 60), /at least 32 are needed/);
  }
  rmSync(key);
  assert.equal(await readToken(state, token), undefined, 'without a key no token is valid');
  assert.deepEqual(readdirSync(state), [], 'reading creates no key');
  writeFileSync(key, whole);
  assert.equal(await subjectOfToken(state, token), 'n1');
});

test('while the list of revoked tokens cannot be read, no token can be verified', async () => {
  const state = stateDir();
  const token = await issueToken(state, 'n1', 60);
  writeFileSync(join(state, revocationsFile), '{"id":"a"}\nnonsense\n');
  await assert.rejects(subjectOfToken(state, token), /WEFT_REVOCATIONS|revoked-tokens:2/);
  assert.throws(() => revoke(state, { id: 'b' }), /revoked-tokens:2/);
});

test('revocations: by id, by subject and time; a token without id and time of issue is refused if its subject has any', () => {
  const list = parseRevocations(
    '{"id":"a"}\n\n{"subject":"n1","beforeS":10}\n{"subject":"n1","beforeS":5}\n',
  );
  assert.ok(isRevoked(list, { jti: 'a', sub: 'n2', iat: 99 }));
  assert.ok(isRevoked(list, { jti: 'b', sub: 'n1', iat: 10 }));
  assert.ok(!isRevoked(list, { jti: 'b', sub: 'n1', iat: 11 }));
  assert.ok(isRevoked(list, { sub: 'n1' }));
  assert.ok(!isRevoked(list, { sub: 'n2' }));
  for (const text of ['{}', '[]', 'null', '{"subject":"n"}', '{"id":5}'])
    assert.throws(() => parseRevocations(text), /neither/);
});

test('a token limited to namespaces has them when it is read; a token of another key is refused', async () => {
  const state = stateDir();
  const { token } = await makeToken(state, { subject: 'n1', ttlS: 60, namespaces: ['shop'] });
  assert.deepEqual(await readToken(state, token), { subject: 'n1', namespaces: ['shop'] });
  assert.equal(await readToken(state, `${token}x`), undefined);
  assert.equal(await readToken(stateDir(), token), undefined);
});

test('commands: a token is valid for 30 days, its id goes to standard error, and it can be revoked by its file', async () => {
  const state = stateDir();
  const run = (...args: string[]): string =>
    execFileSync(process.execPath, [program, ...args, '--state', state], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  const text = run('token', '--node', 'n1').trim();
  const { exp = 0, iat = 0, jti } = decodeJwt(text);
  assert.equal(exp - iat, tokenTtlSDefault);
  assert.equal(tokenTtlSDefault, 30 * 86_400);
  assert.equal(await subjectOfToken(state, text), 'n1');
  const file = join(state, 'token');
  writeFileSync(file, `${text}\n`);
  assert.ok(run('revoke-token', '--token', file).includes(jti ?? '?'));
  assert.equal(await subjectOfToken(state, text), undefined);
  assert.throws(() => run('revoke-token'), /Command failed/);
});

test('a lifetime that is not a number of seconds is refused as an option, before a key is created', () => {
  const state = join(stateDir(), 'none');
  for (const ttl of ['abc', '0', '-5', '1.5'])
    assert.throws(
      () =>
        execFileSync(
          process.execPath,
          [program, 'token', '--state', state, '--node', 'a', `--ttl-s=${ttl}`],
          {
            stdio: 'pipe',
          },
        ),
      /--ttl-s.*whole number of seconds/,
    );
  assert.equal(existsSync(state), false);
});
