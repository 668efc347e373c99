import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { parameterName, parametersOf, withoutParameters } from './query.js';

const name = parameterName('ab');
const valuesOf = (query: string, semicolons = false): string[] =>
  parametersOf(query, name, semicolons).map(({ value }) => value);

test('parameters are those that URLSearchParams finds, and removing them leaves the others as they are', () => {
  const pieces = [
    'a',
    'b',
    'ab',
    '=',
    '&',
    '%61',
    '%62',
    '%',
    '%6',
    '+',
    '%2B',
    '%26',
    '%3D',
    ';',
    'x',
    'é',
    '%C3%A9',
  ];
  for (let i = 0; i < 20_000; i++) {
    const query = Array.from({ length: randomInt(12) }, () => pieces[randomInt(pieces.length)] ?? '').join(
      '',
    );
    const all = new URLSearchParams(query);
    const wanted = all.getAll('ab').map((value) => Buffer.from(value, 'utf8').toString('latin1'));
    // Bytes that are no UTF-8 stay what they are here.
    if (all.toString().includes('%EF%BF%BD')) assert.equal(valuesOf(query).length, wanted.length, query);
    else assert.deepEqual(valuesOf(query), wanted, query);
    const rest = withoutParameters(query, name);
    all.delete('ab');
    assert.equal(new URLSearchParams(rest).toString(), all.toString(), query);
    const other = new URLSearchParams(query.replaceAll(';', '&')).getAll('ab');
    assert.equal(valuesOf(query, true).length, other.length, query);
  }
});

test('a name may have any characters', () => {
  for (const one of ['é', 'a b', 'a+b', 'a=b', 'a&b', '%41', '.', '$(x)'])
    for (const query of [new URLSearchParams([[one, 'v']]).toString(), `${encodeURIComponent(one)}=v`])
      assert.deepEqual(
        parametersOf(`x=1&${query}&y`, parameterName(one)).map(({ value }) => value),
        ['v'],
        query,
      );
});
