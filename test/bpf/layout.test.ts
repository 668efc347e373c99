import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  actions,
  directions,
  listeners,
  liveFlags,
  localFlags,
  nodeSlots,
  noteKinds,
  podFlags,
  serviceFlags,
  reasons,
  sockKinds,
  structs,
} from '../../daemonset/datapath/layout.js';
import { projectRoot } from '../../native/index.js';

interface BtfType {
  id: number;
  kind: string;
  name: string;
  size?: number;
  type_id?: number;
  nr_elems?: number;
  members?: { name: string; type_id: number; bits_offset: number }[];
  values?: { name: string; val: number }[];
}

function btf(object: string): BtfType[] {
  const path = join(projectRoot, 'bpf', 'build', `${object}.bpf.o`);
  const text = execFileSync('bpftool', ['-j', 'btf', 'dump', 'file', path], { encoding: 'utf8', maxBuffer: 1 << 26 });
  return (JSON.parse(text) as { types: BtfType[] }).types;
}

function sizeOf(types: Map<number, BtfType>, id: number): number {
  const type = types.get(id);
  if (!type) throw new Error(`no BTF type ${id}`);
  if (type.kind === 'ARRAY') return (type.nr_elems ?? 0) * sizeOf(types, type.type_id ?? 0);
  return type.size ?? sizeOf(types, type.type_id ?? 0);
}

test('every struct that C and TypeScript share has the same layout in the built objects', () => {
  const missing = new Set(Object.keys(structs));
  for (const object of ['connect', 'sockops', 'inbound']) {
    const list = btf(object);
    const types = new Map(list.map((type) => [type.id, type]));
    for (const type of list) {
      if (type.kind !== 'STRUCT' || !(type.name in structs)) continue;
      const [size, fields] = structs[type.name as keyof typeof structs];
      const actual = Object.fromEntries(
        (type.members ?? []).map((m) => [m.name, [m.bits_offset / 8, sizeOf(types, m.type_id)]]),
      );
      assert.deepEqual(actual, fields, `${type.name} in ${object}`);
      assert.equal(type.size, size, `${type.name} in ${object}`);
      missing.delete(type.name);
    }
  }
  assert.deepEqual([...missing], []);
});

test('every enum value that TypeScript uses is the one in the built objects', () => {
  const values = new Map<string, number>();
  for (const object of ['connect', 'sockops', 'inbound']) {
    for (const type of btf(object)) {
      if (type.kind === 'ENUM') for (const { name, val } of type.values ?? []) values.set(name, val);
    }
  }
  const constant = (prefix: string, name: string): string => prefix + name.replace(/-|(?=[A-Z])/g, '_').toUpperCase();
  const check = (prefix: string, expected: Readonly<Record<string, number>>): void => {
    for (const [name, value] of Object.entries(expected)) {
      assert.equal(values.get(constant(prefix, name)), value, constant(prefix, name));
    }
  };
  check('WEFT_LISTENER_', listeners);
  check('WEFT_NOTE_', noteKinds);
  check('WEFT_SOCK_', sockKinds);
  check('WEFT_POD_', podFlags);
  check('WEFT_LOCAL_', localFlags);
  check('WEFT_LIVE_', liveFlags);
  check('WEFT_NODE_', nodeSlots);
  check('WEFT_SERVICE_', serviceFlags);
  check('WEFT_ACTION_', actions);
  check('WEFT_', directions);
  check('WEFT_', Object.fromEntries(reasons.map((name, index) => [name, index])));
  assert.equal(values.get('WEFT_REASON_COUNT'), reasons.length);
});
