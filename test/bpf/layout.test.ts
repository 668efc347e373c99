import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import * as rows from '../../daemonset/maps/rows.generated.js';
import { latencyBoundsMs } from '../../src/model/edge.js';
import { affinityBuckets } from '../../src/state/affinity.js';
import { registeredMethods } from '../../src/telemetry/path-templates.js';
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

const objects = ['connect', 'sockops', 'inbound', 'splice', 'observe'];

test('every struct that C and TypeScript share has the same layout in the built objects', () => {
  const missing = new Set(Object.keys(rows.structs));
  for (const object of objects) {
    const list = btf(object);
    const types = new Map(list.map((type) => [type.id, type]));
    for (const type of list) {
      if (type.kind !== 'STRUCT' || !(type.name in rows.structs)) continue;
      const [size, fields] = rows.structs[type.name as keyof typeof rows.structs];
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

test('every enum value in TypeScript equals that in the built objects', () => {
  const values = new Map<string, number>();
  for (const object of objects) {
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
  check('WEFT_LISTENER_', rows.listeners);
  check('WEFT_HANDOFF_', rows.handoffKinds);
  check('WEFT_SOCK_', rows.sockKinds);
  check('WEFT_POD_', rows.podFlags);
  check('WEFT_LOCAL_', rows.localFlags);
  check('WEFT_LIVE_', rows.liveFlags);
  check('WEFT_NODE_', rows.nodeSlots);
  check('WEFT_PORT_', rows.ports);
  check('WEFT_SOCK_', rows.sockFlags);
  check('WEFT_SERVICE_', rows.serviceFlags);
  check('WEFT_ACTION_', rows.actions);
  check('WEFT_', rows.directions);
  check('WEFT_LATENCY_US_', rows.latencyUs);
  check('WEFT_METHOD_', Object.fromEntries(rows.methods.map((name, index) => [name, index])));
  assert.equal(values.get('WEFT_METHOD_COUNT'), rows.methods.length);
  check('WEFT_', Object.fromEntries(rows.reasons.map((name, index) => [name, index])));
  assert.equal(values.get('WEFT_REASON_COUNT'), rows.reasons.length);
  assert.equal(values.get('WEFT_AFFINITY_BUCKETS'), affinityBuckets);
});

test('the kernel sorts latencies by the bounds of the metrics, and knows the methods that the agents name', () => {
  assert.deepEqual(
    Object.values(rows.latencyUs).map((us) => us / 1000),
    latencyBoundsMs,
  );
  assert.equal(rows.structs.weft_requests[1].latency[1], 4 * (latencyBoundsMs.length + 1));
  assert.deepEqual(new Set(rows.methods.slice(1).map((name) => name.toUpperCase())), registeredMethods);
});

test('the committed rows equal the output of the generator for the built objects', () => {
  const generated = execFileSync('node', [join(projectRoot, 'native', 'generate-rows.mjs'), '--print'], { encoding: 'utf8' });
  const committed = readFileSync(join(projectRoot, 'daemonset', 'maps', 'rows.generated.ts'), 'utf8');
  assert.equal(generated, committed, 'npm run build, and commit daemonset/maps/rows.generated.ts');
});
