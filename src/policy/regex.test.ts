import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Regex, RegexCost, RegexTime } from './regex.js';

const replaced = (pattern: string, text: string, by: string): string =>
  new Regex(pattern, new RegexTime()).replace(text, by);

test('each match is replaced, with groups as RE2 writes them', () => {
  assert.equal(replaced('^/users/([^/]+)/(.*)$', '/users/ann/cart', '/\\2/of/\\1'), '/cart/of/ann');
  assert.equal(replaced('a', 'banana', 'o'), 'bonono');
  assert.equal(replaced('(x)?b', 'abc', '[\\1\\0]'), 'a[b]c');
  assert.equal(replaced('b', 'abc', '$1\\\\n\\9'), 'a$1\\nc');
  assert.equal(replaced('z', 'abc', 'y'), 'abc');
  assert.equal(replaced('', 'ab', '-'), '-a-b-');
});

test('a replacement is bounded', () => {
  assert.throws(() => replaced('(.)', 'a'.repeat(1_000), 'x'.repeat(1_000)), RegexCost);
  assert.throws(() => replaced('(a|b)*c', 'a'.repeat(100_000), ''), RegexCost);
  assert.throws(() => replaced('(', 'a', ''));
  // Matches and groups that are empty make no text, but cost time.
  assert.throws(() => replaced('.*?', 'a'.repeat(8_000), '\\0'.repeat(30_000)), RegexCost);
  assert.throws(() => replaced('.*', 'a'.repeat(8_000), '\\0'.repeat(300_000)), RegexCost);
});
