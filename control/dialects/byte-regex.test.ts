import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RE2JS } from 're2js';
import { byteRegex } from './byte-regex.js';

/** As a waypoint reads the value. */
const wire = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');
const matches = (source: string, text: string): boolean => RE2JS.matches(byteRegex(source), wire(text));

test('an expression matches the bytes of what it matches as text', () => {
  const texts = ['', 'é', 'éé', 'caf', 'café', 'caffé', 'naïve', 'Ã', 'Ã©', '😀', '😀😀', 'a]é', '[é]'];
  for (const source of [
    'café',
    'caf?é',
    'é?',
    'é+',
    '(é|ï)*',
    'na(ï|i)ve',
    '😀{2}',
    '[a]+[]]é',
    '\\[é\\]',
    '[[:alpha:]]+é',
  ])
    for (const text of texts)
      assert.equal(matches(source, text), RE2JS.matches(source, text), `${source} at ${text}`);
});

test('ASCII stays as it is, and what has no form in bytes is refused', () => {
  for (const source of ['(?i)a[b-d]', '\\Qx\\E', '.*']) assert.equal(byteRegex(source), source);
  for (const [source, why] of [
    ['[é]', /class/],
    ['[^a-é]', /class/],
    ['(?i)é', /ignores case/],
    ['(?si)é', /ignores case/],
    ['\\Qé', /\\Q/],
  ] as const)
    assert.throws(() => byteRegex(source), why);
});
