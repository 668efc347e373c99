import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MapLayout, ObjectLayout, StructLayouts } from '../../native/index.js';
import { converter, layoutId, movedEnumerators } from './layout.js';

const map: MapLayout = {
  type: 1,
  keySize: 8,
  valueSize: 8,
  maxEntries: 16,
  flags: 0,
  key: '',
  value: 'weft_a',
};
const structs: StructLayouts = {
  weft_a: [8, { id: [0, 4, ''], port: [4, 2, ''], pad: [6, 2, ''] }],
  weft_flow: [16, { time: [0, 8, ''], a: [8, 8, 'weft_a'] }],
};
const layout = (more: Partial<ObjectLayout> = {}): ObjectLayout => ({
  structs,
  enums: { WEFT_A: 0, WEFT_B: 1, WEFT_COUNT: 2 },
  maps: { weft_as: map },
  ...more,
});

test('fields of a row are matched by name: moved, widened, added and removed ones', () => {
  const to: StructLayouts = {
    weft_a: [24, { fresh: [0, 8, ''], port: [8, 4, ''], id: [16, 4, ''] }],
  };
  const row = Uint8Array.from([1, 2, 3, 4, 0xaa, 0xbb, 9, 9]);
  assert.deepEqual(
    [...converter('weft_a', structs, to)(row)],
    [0, 0, 0, 0, 0, 0, 0, 0, 0xaa, 0xbb, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0],
  );
});

test('a nested struct is converted field by field', () => {
  const to: StructLayouts = {
    weft_a: [12, { fresh: [0, 4, ''], id: [4, 4, ''], port: [8, 2, ''], pad: [10, 2, ''] }],
    weft_flow: [24, { time: [0, 8, ''], a: [8, 12, 'weft_a'], pad: [20, 4, ''] }],
  };
  const row = Uint8Array.from([7, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0]);
  assert.deepEqual(
    [...converter('weft_flow', structs, to)(row)],
    [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0],
  );
});

test('layout IDs differ by any field, map, size or bound, not by order or by added enumerators', () => {
  const same = layoutId(layout());
  assert.match(same, /^[0-9a-f]{12}$/);
  const turned = Object.fromEntries(Object.entries(structs).reverse());
  assert.equal(layoutId(layout({ structs: turned, enums: {} })), same);
  assert.equal(layoutId(layout({ structs: { ...structs, weft_unused: [4, {}] } })), same);
  const different: Partial<ObjectLayout>[] = [
    { maps: { weft_as: { ...map, maxEntries: 32 } } },
    { maps: { weft_as: { ...map, type: 9 } } },
    { maps: { weft_as: map, weft_more: map } },
    { structs: { ...structs, weft_a: [8, { id: [4, 4, ''], port: [0, 2, ''], pad: [2, 2, ''] }] } },
    { structs: { ...structs, weft_flow: [24, { time: [0, 8, ''], a: [16, 8, 'weft_a'] }] } },
  ];
  const ids = different.map((more) => layoutId(layout(more)));
  assert.equal(new Set([...ids, same]).size, different.length + 1);
});

test('an enumerator whose value changed is reported; added, removed and closing ones are not', () => {
  const from = layout();
  assert.deepEqual(movedEnumerators(from, layout({ enums: { WEFT_A: 0, WEFT_C: 2, WEFT_COUNT: 3 } })), []);
  assert.deepEqual(movedEnumerators(from, layout({ enums: { WEFT_A: 0, WEFT_B: 2, WEFT_COUNT: 3 } })), [
    'WEFT_B',
  ]);
});
