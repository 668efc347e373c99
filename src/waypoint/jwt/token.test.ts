import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzz } from '../../../test/support/fuzz.js';
import { claimsOf, newKey, signed } from '../../../test/support/jwt-issuer.js';
import { depthMax, readObject, valuesMax } from './json-object.js';
import { algorithms, decodeToken, tokenCharsMax } from './token.js';

const key = newKey('ES256');
const read = (json: string): unknown => {
  const result = readObject(Buffer.from(json));
  return result.object ?? result.why;
};

test('JSON is read as JSON.parse does, unless a name occurs twice in one object', () => {
  for (const json of [
    '{}',
    ' { "a" : [ ] , "b" : { } } ',
    '{"a":1,"b":{"a":1},"c":[{"a":1},{"a":1}],"d":"{\\"a\\":1,\\"a\\":2}"}',
    '{"a\\"":1,"a":2,"\\\\":3,"":4}',
    '{"__proto__":{"admin":true},"constructor":1}',
    '{"a":["x","x"],"b":"a"}',
  ])
    assert.deepEqual(read(json), JSON.parse(json), json);
  for (const json of [
    '{"a":1,"a":1}',
    '{"a":1,"b":2,"\\u0061":3}',
    '{"x":{"y":[{"a":1,"b":{},"a":2}]}}',
    '{"a":[],"a":{}}',
    '{"":1,"":2}',
    '{"__proto__":1,"__proto__":2}',
  ])
    assert.match(String(read(json)), /twice/, json);
});

test('JSON is bounded in depth and values', () => {
  const nested = (depth: number): string => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`;
  assert.equal(typeof read(nested(depthMax)), 'object');
  assert.match(String(read(nested(depthMax + 1))), /nested/);
  assert.match(String(read(`{"a":${'['.repeat(depthMax)}${']'.repeat(depthMax)}}`)), /nested/);
  assert.match(String(read(`{"a":${'['.repeat(4_000)}${']'.repeat(4_000)}}`)), /nested/);
  assert.match(String(read(`{"a":[${Array(valuesMax).fill(1).join()}]}`)), /values/);
  const many = Array.from({ length: valuesMax + 1 }, (_one, i) => `"${i}":1`).join();
  assert.match(String(read(`{${many}}`)), /values/);
  for (const json of ['', '1', 'null', '[]', '"a"', '{', '{"a":01}', '\ufeff{}', '{"a":1}x', "{'a':1}"])
    assert.equal(typeof read(json), 'string', json);
});

test('any text is a token or a fault, and never an exception', () => {
  const token = signed(key, claimsOf({ a: { b: ['c', 1, true, null] } }));
  const [header = '', payload = '', signature = ''] = token.split('.');
  const seeds = [token, `${header}.${payload}`, `${payload}.${header}.${signature}`].map((one) =>
    Buffer.from(one),
  );
  let decoded = 0;
  fuzz(seeds, (bytes) => {
    const result = decodeToken(Buffer.from(bytes).toString('latin1'));
    if ('fault' in result) return;
    decoded++;
    assert.equal(typeof result.issuer, 'string');
    assert.ok(!Number.isNaN(result.expires) && !Number.isNaN(result.notBefore));
  });
  assert.ok(decoded > 0);
  // Random payloads, so that not most of them fail at base64url.
  const json = Buffer.from(JSON.stringify(claimsOf({ a: { b: ['c', 1, true, null] } })));
  fuzz([json, Buffer.from('{"alg":"ES256","kid":"k"}')], (bytes) => {
    const part = Buffer.from(bytes).toString('base64url');
    for (const one of [`${header}.${part}.AA`, `${part}.${payload}.AA`]) {
      const result = decodeToken(one);
      if (!('fault' in result)) assert.ok(algorithms.has(result.algorithm));
    }
  });
});

test('the longest text costs little before it is refused', () => {
  for (const text of ['.'.repeat(60_000), 'a'.repeat(60_000), 'a.'.repeat(30_000)]) {
    const result = decodeToken(text);
    assert.ok('fault' in result && result.fault === 'too-large');
  }
  const dots = decodeToken('.'.repeat(tokenCharsMax));
  assert.ok('fault' in dots && dots.fault === 'malformed');
});
