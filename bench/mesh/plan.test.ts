import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readTopology } from '../../src/cli/standalone/topology.js';
import { manifestsOf, placePods, podsPerNodeMax, type PodPlan } from './plan.js';
import { parseTarget } from './target.js';
import { sumOf } from './proof.js';
import { cellsOf, kinds, planOf } from './variants.js';

test('the manifests of all variants make a testbed', () => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-t-'));
  try {
    const plan = planOf(new Set(kinds.map(({ name }) => name)));
    writeFileSync(join(dir, 'mesh.yaml'), manifestsOf(plan));
    const { nodes, waypoints } = readTopology(dir);
    assert.equal(
      nodes.reduce((sum, { pods }) => sum + pods.length, 0),
      plan.pods.length,
    );
    assert.deepEqual(waypoints, [{ namespace: 'waypoint', name: 'waypoint' }]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test('every variant is measured between the same two places, and no mesh in each of them', () => {
  const names = new Set(kinds.map(({ name }) => name));
  const cells = cellsOf(planOf(names), names);
  for (const placement of ['same-node', 'cross-node'] as const)
    for (const name of ['none', 'none-again', 'sidecar', 'weft'])
      assert.equal(
        cells.filter((cell) => cell.placement === placement && cell.variant === name).length,
        1,
        `${placement} ${name}`,
      );
  const [none, again] = ['none', 'none-again'].map((name) => cells.find(({ variant }) => variant === name));
  assert.equal(none?.server, again?.server);
});

test('refuses more pods than a node has addresses for', () => {
  const pods = Array.from({ length: podsPerNodeMax + 1 }, (_, at): PodPlan => ({
    namespace: 'n',
    name: `p${at}`,
    node: 'bench-a',
  }));
  assert.throws(() => placePods({ pods }), RangeError);
  assert.equal(new Set(placePods({ pods: pods.slice(1) }).map(({ ip }) => ip)).size, podsPerNodeMax);
});

test('reads a target as what pods could call, and refuses the rest with the way out', async () => {
  assert.deepEqual(await parseTarget('http://127.0.0.1:81/a?b=c'), {
    kind: 'url',
    ip: '127.0.0.1',
    port: 81,
    path: '/a?b=c',
    shown: 'http://127.0.0.1:81/a?b=c',
  });
  assert.equal((await parseTarget('http://127.0.0.1')).path, '/');
  await assert.rejects(parseTarget('https://127.0.0.1/'), { code: 'WEFT_BENCH_TARGET' });
  await assert.rejects(parseTarget('tcp://127.0.0.1:1'), { code: 'WEFT_BENCH_TARGET' });
  await assert.rejects(parseTarget('shop'), { code: 'WEFT_BENCH_TARGET' });
});

test('sums the counters of one name whose labels are these, and no others', () => {
  const text = 'a{x="1",y="2"} 3\na{x="1",y="3"} 4\na{x="2"} 5\nab{x="1"} 6\n# a{x="1"} 7\n';
  assert.equal(sumOf(text, 'a', { x: '1' }), 7);
  assert.equal(sumOf(text, 'a', { x: '9' }), 0);
});
