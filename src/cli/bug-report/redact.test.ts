import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { formsOf } from '../../../test/support/archive.js';
import { randomOf } from '../../../test/support/random.js';
import { redactText } from './redact-text.js';
import { markWith, redactLog, redactValue } from './redact-value.js';

const mark = markWith(Buffer.alloc(32));
const keys = {
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
  ec: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  ed: generateKeyPairSync('ed25519').privateKey,
};
const pems = [
  keys.rsa.export({ type: 'pkcs8', format: 'pem' }),
  keys.rsa.export({ type: 'pkcs1', format: 'pem' }),
  keys.ec.export({ type: 'sec1', format: 'pem' }),
  keys.ec.export({ type: 'pkcs8', format: 'pem' }),
  keys.ed.export({ type: 'pkcs8', format: 'pem' }),
  keys.rsa.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' }),
].map(String);
const bodyOf = (pem: string): string[] => pem.split('\n').filter((line) => /^[\w+/=]{20,}$/.test(line));
const base64 = (text: string): string => Buffer.from(text).toString('base64');
const jwt = `${base64('{"alg":"RS256","kid":"1"}').replaceAll('=', '')}.${base64('{"iss":"kubernetes/serviceaccount","sub":"system:serviceaccount:a:b"}').replaceAll('=', '')}.c2lnbmF0dXJlLXNpZ25hdHVyZQ`;

const hides = (text: string, secrets: readonly string[], redact = redactText): void => {
  const left = redact(text);
  for (const secret of secrets) assert.ok(!left.includes(secret), `${secret} is left in ${left}`);
};

test('private keys are removed in every form of PEM, also with escaped or missing ends', () => {
  for (const pem of pems) {
    const lines = bodyOf(pem);
    hides(`before\n${pem}after`, lines);
    assert.match(redactText(`before\n${pem}after`), /^before\n\[redacted\]\s*after$/);
    hides(JSON.stringify({ pem }), lines);
    hides(JSON.stringify({ log: JSON.stringify({ pem }) }), lines);
    hides(pem.slice(0, -60), lines.slice(0, -1));
    hides(pem.slice(pem.indexOf('\n')), lines);
    hides(`a ${base64(pem)} b`, [base64(pem).slice(10, 60), base64(pem).slice(-40)]);
    hides(`x/${base64(base64(pem))}`, [base64(base64(pem)).slice(0, 40)]);
  }
});

test('private keys in DER are removed, certificates and public keys stay', () => {
  for (const key of Object.values(keys)) {
    const der = key.export({ type: 'pkcs8', format: 'der' }).toString('base64');
    hides(`key: ${der}`, [der]);
  }
  const open = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
    type: 'spki',
    format: 'pem',
  });
  assert.equal(redactText(String(open)), String(open));
});

test('tokens and credentials are removed from text', () => {
  const basic = base64('admin:correct horse');
  const cases: readonly (readonly [string, string])[] = [
    [`failed with ${jwt}: expired`, jwt.slice(20)],
    [`cut ${jwt.slice(0, 30)}`, jwt.slice(0, 20)],
    ['Authorization: Bearer opaque-1234', 'opaque-1234'],
    ['authorization=bearer opaque-1234 x', 'opaque-1234'],
    [`proxy-authorization: Basic ${basic}`, basic],
    [`sent Basic ${basic}`, basic],
    ['authorization: Digest username="a", response="6629fae49393"', '6629fae49393'],
    ['Cookie: a=1; session=deadbeef', 'deadbeef'],
    ['set-cookie: session=deadbeef; Path=/', 'deadbeef'],
    ['x-api-key: 0123abcd', '0123abcd'],
    ['{"x-auth-token":"0123abcd","b":1}', '0123abcd'],
    ['"{\\"password\\":\\"0123abcd\\"}"', '0123abcd'],
    ['password=0123abcd next', '0123abcd'],
    ['redis://:0123abcd@redis:6379/0', '0123abcd'],
    ['https://user:0123abcd@api.example', '0123abcd'],
    ['GET /a?access_token=0123abcd&b=c', '0123abcd'],
    [`annotation ${base64(`{"token":"${jwt}"}`)}`, base64(`{"token":"${jwt}"}`).slice(0, 40)],
    [base64('Authorization: Bearer opaque-1234'), base64('opaque-1234').slice(0, 8)],
    ['AKIAABCDEFGHIJKLMNOP', 'AKIAABCDEFGHIJKLMNOP'],
  ];
  for (const [text, secret] of cases) hides(text, [secret]);
});

test('text without secrets stays as it is', () => {
  for (const text of [
    'spiffe://cluster.local/ns/shop/sa/web -> 10.0.0.1:8080, path hbone, policy shop/only-web',
    'weft_connections_total{path="hbone",namespace="shop"} 12',
    '{"level":30,"msg":"ready","port":15012}',
    'Kubernetes//Pod/shop/web-7d9c5b8f6d-x2x9k',
  ])
    assert.equal(redactText(text), text);
});

test('values of headers, private members of keys and fields named as secrets are removed from objects', () => {
  const value = redactValue(
    {
      filters: [
        { requestHeaderModifier: { set: [{ name: 'x-partner', value: 'planted-1' }], remove: ['x-a'] } },
      ],
      matches: [{ headers: [{ type: 'Exact', name: 'x-v', value: 'planted-1' }] }],
      istio: { headers: { request: { set: { type: 'planted-2', name: 'planted-3' } } } },
      when: [{ key: 'request.headers[x-a]', values: ['planted-4'], notValues: ['planted-5'] }],
      query: [{ name: 'q', value: 'planted-6' }],
      jwks: JSON.stringify({ keys: [{ kty: 'oct', kid: 'one', k: 'planted-7' }] }),
      clientSecret: 'planted-8',
      token: { nested: ['planted-9'] },
      [`key-${jwt}`]: 1,
    },
    mark,
  );
  const text = JSON.stringify(value);
  assert.doesNotMatch(text, /planted/);
  assert.doesNotMatch(text, /eyJ/);
  assert.match(text, /"x-partner"/);
  assert.match(text, /"remove":\["x-a"\]/);
  assert.match(text, /\\"kid\\":\\"one\\"/);
  const [, first] = /"x-partner","value":"(\[redacted \w+\])"/.exec(text) ?? [];
  assert.ok(
    first !== undefined && text.includes(`"name":"x-v","value":"${first}"`),
    'equal values have equal marks',
  );
});

test('a log line of JSON stays JSON, and only its secrets are removed', () => {
  const log = `${JSON.stringify({ level: 40, authorization: 'opaque-1', why: 'refused', path: '/a?t=opaque-2' })}\nplain Bearer opaque-3\n`;
  const [json = '', plain] = redactLog(log, mark).split('\n');
  const line = JSON.parse(json) as Record<string, unknown>;
  assert.deepEqual([line['level'], line['why']], [40, 'refused']);
  assert.doesNotMatch(json, /opaque/);
  assert.equal(plain, 'plain Bearer [redacted]');
});

/** What programs do with text before it is in a log or an object. */
const wrappers: readonly ((text: string) => string)[] = [
  (text) => JSON.stringify(text),
  (text) => JSON.stringify({ level: 30, msg: text }),
  (text) => JSON.stringify({ metadata: { annotations: { a: text } } }),
  (text) => base64(text),
  (text) => Buffer.from(text).toString('base64url'),
  (text) => encodeURIComponent(text),
  (text) => text.replaceAll('\n', '\n    '),
  (text) => text.replaceAll(/^/gm, '2026-01-01T00:00:00.000Z stderr F '),
  (text) => `data/${text}`,
  (text) => `before ${text} after`,
  (text) => `${text}\n`,
];

test('no secret is left, however it is wrapped and wherever it stands', () => {
  const random = randomOf(7);
  const secrets = [
    ...pems,
    jwt,
    `Bearer ${jwt}`,
    `Authorization: Basic ${base64(`admin:${'correct horse battery '.repeat(20)}`)}`,
  ];
  for (let run = 0; run < 400; run++) {
    const secret = secrets[random(secrets.length)] ?? '';
    let text = secret;
    const used: number[] = [];
    for (let depth = random(4); depth > 0; depth--) {
      const chosen = random(wrappers.length);
      used.push(chosen);
      text = wrappers[chosen]?.(text) ?? '';
    }
    const log = `first line\n${text}\nlast line\n`;
    const left = redactLog(log, mark);
    const parts = secret.split(/[\n.]/).filter((part) => /^[\w+/=-]{32,}$/.test(part));
    const found = parts.flatMap(formsOf).filter((form) => left.includes(form));
    assert.deepEqual(found, [], `${used.join()}: ${log}`);
    const middle = Math.floor(text.length / 2);
    assert.ok(!left.includes(text.slice(middle - 20, middle + 20)), `${used.join()}: ${log}: ${left}`);
    assert.match(left, /last line\n$/, `${used.join()}: ${log}`);
  }
});

test('a key of which a log has only the end is removed, also with a prefix at each line', () => {
  for (const pem of pems) {
    const log = pem.replaceAll(/^/gm, '2026-01-01T00:00:00.000Z stderr F ');
    hides(`an earlier line\n${log.slice(log.indexOf('\n') + 1)}`, bodyOf(pem));
  }
});

test('text made to be slow is redacted, too', () => {
  const size = 400_000;
  for (const piece of [
    '-----BEGIN PRIVATE KEY',
    '-----BEGIN PRIVATE KEY"',
    '-----END PRIVATE KEY-----',
    'A'.repeat(40) + '-----END PRIVATE KEY-----',
    'eyJ',
    'a-token-',
    'x-key-',
    'a://',
    '?a=',
    'Bearer ',
    'A',
    '{"a":',
    'LS0tLS1CRUdJTi',
    '\\',
    'cookie:',
  ])
    assert.equal(typeof redactLog(piece.repeat(size / piece.length), mark), 'string', piece);
  let deep: unknown = 'x';
  for (let depth = 0; depth < 5_000; depth++) deep = [deep];
  assert.match(JSON.stringify(redactValue(deep, mark)), /redacted/);
});
