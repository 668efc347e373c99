/**
 * Converts rows from one layout to another. Pure. A layout is the BTF of the maps, which the kernel keeps with each map, so a build
 * needs no knowledge of earlier or later builds. Fields are matched by name: a field whose meaning changes must get a new name.
 */
import { createHash } from 'node:crypto';
import { endianness } from 'node:os';
import { WeftError } from '../../src/base/errors.js';
import type { Layout, ObjectLayout, StructLayouts } from '../../native/index.js';

export type Convert = (bytes: Uint8Array) => Uint8Array;

/** Equal for builds that can share maps: same maps, same structs. Added enumerators do not matter. */
export function layoutId(layout: ObjectLayout): string {
  const reached = new Set<string>();
  const reach = (name: string): void => {
    const struct = layout.structs[name];
    if (!struct || reached.has(name)) return;
    reached.add(name);
    for (const [, , inner] of Object.values(struct[1])) reach(inner);
  };
  // Records of ring buffers are not in the types of any map.
  for (const name of ['weft_flow', 'weft_event']) reach(name);
  for (const { key, value } of Object.values(layout.maps)) [key, value].forEach(reach);
  const sorted = (record: object): unknown[] => Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
  const structs = [...reached]
    .sort()
    .map((name) => [name, layout.structs[name]?.[0], sorted(layout.structs[name]?.[1] ?? {})]);
  const maps = sorted(layout.maps).map((entry) => {
    const [name, map] = entry as [string, object];
    return [name, sorted(map)];
  });
  return createHash('sha256')
    .update(JSON.stringify([structs, maps]))
    .digest('hex')
    .slice(0, 12);
}

/** Enumerators whose value changed: rows cannot be converted then. The closing _COUNT and _SLOTS may change. */
export function movedEnumerators(from: Layout, to: Layout): string[] {
  return Object.entries(from.enums)
    .filter(([name, value]) => !/_(COUNT|SLOTS)$/.test(name) && (to.enums[name] ?? value) !== value)
    .map(([name]) => name);
}

type Move = readonly [from: number, to: number, length: number];

function movesOf(name: string, from: StructLayouts, to: StructLayouts): Move[] {
  const [, old] = from[name] ?? [0, {}];
  const [, fresh] = to[name] ?? [0, {}];
  return Object.entries(fresh).flatMap(([field, [offset, size, struct]]): Move[] => {
    const [oldOffset, oldSize, oldStruct] = old[field] ?? [0, 0, ''];
    if (struct !== '' && struct === oldStruct)
      return movesOf(struct, from, to).map(([a, b, length]) => [a + oldOffset, b + offset, length]);
    if (oldSize !== 0 && oldSize !== size && endianness() !== 'LE') {
      throw new WeftError(
        'WEFT_BPF_LAYOUT',
        `${name}.${field} has another size, which cannot be converted on a big-endian machine: stop the agent, then run weft cleanup`,
      );
    }
    return [[oldOffset, offset, Math.min(oldSize, size)]];
  });
}

/** Converts a struct from one layout to another; fields missing in the old layout are zero. Error: WEFT_BPF_LAYOUT. */
export function converter(name: string, from: StructLayouts, to: StructLayouts): Convert {
  const size = to[name]?.[0] ?? 0;
  const moves = movesOf(name, from, to);
  return (bytes) => {
    const out = new Uint8Array(size);
    for (const [at, target, length] of moves) out.set(bytes.subarray(at, at + length), target);
    return out;
  };
}
