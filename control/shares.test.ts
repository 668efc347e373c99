import assert from 'node:assert/strict';
import { test } from 'node:test';
import { admitShares, type Wanted } from './shares.js';

const limits = { total: 500, ofNamespace: 20 };
const many = (namespace: string, count: number): Wanted[] =>
  Array.from({ length: count }, (_, i) => ({ namespace, name: `https://${namespace}-${i}.example` }));
const placesOf = (namespace: string, { names }: ReturnType<typeof admitShares>): number =>
  [...names.values()].filter((of) => of.includes(namespace)).length;

test('namespaces with hundreds of names take no place from one with a single name, whatever their names are', () => {
  const greedy = Array.from({ length: 40 }, (_, i) => many(`a${String(i).padStart(2, '0')}`, 600)).flat();
  const admitted = admitShares([...greedy, { namespace: 'z', name: 'https://z.example' }], limits);
  assert.deepEqual(admitted.names.get('https://z.example'), ['z']);
  assert.equal(admitted.names.size, limits.total);
  assert.equal(admitted.refused, 40 * 600 + 1 - limits.total);
});

test('contested places are shared evenly, and what a namespace does not use is for the others', () => {
  const greedy = Array.from({ length: 50 }, (_, i) => many(`n${String(i).padStart(2, '0')}`, 600)).flat();
  const even = admitShares(greedy, limits);
  assert.deepEqual([placesOf('n00', even), placesOf('n49', even)], [10, 10]);
  const one = admitShares([...many('a', 600), ...many('b', 3)], limits);
  assert.deepEqual([placesOf('a', one), placesOf('b', one)], [20, 3]);
});

test('a namespace keeps its share when others come or want more', () => {
  const own = many('m', 8);
  for (const others of [0, 10, 61]) {
    const greedy = Array.from({ length: others }, (_, i) => many(`a${i}`, 600)).flat();
    assert.equal(placesOf('m', admitShares([...greedy, ...own], limits)), 8, `${others} other namespaces`);
  }
});

test('a name of several namespaces takes one place, and is there for each of them', () => {
  const shared = ['a', 'b', 'c'].map((namespace) => ({ namespace, name: 'https://shared.example' }));
  const { names, refused } = admitShares(shared, { total: 1, ofNamespace: 1 });
  assert.deepEqual([names.get('https://shared.example'), refused], [['a', 'b', 'c'], 0]);
});

test('the result does not depend on the order in which names are given', () => {
  const wanted = [...many('b', 30), ...many('a', 30), { namespace: 'a', name: 'https://b-3.example' }];
  const small = { total: 25, ofNamespace: 20 };
  assert.deepEqual(
    [...admitShares(wanted, small).names.keys()],
    [...admitShares([...wanted].reverse(), small).names.keys()],
  );
});
