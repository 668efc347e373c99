import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addedPlaces, edgeWidth, graphNode, type GraphEdge, type GraphNode } from './graph-input.js';
import { blockOf, byNamespace, neighborOrder, packBlocks, startPlaces } from './placement.js';

const node = (namespace: string, name: string): GraphNode => ({
  id: `${namespace}/${name}`,
  namespace,
  label: name,
  kind: 'enrolled',
});
const call = (source: string, destination: string): GraphEdge => ({
  id: `${source}>${destination}`,
  source,
  destination,
  label: '',
  width: 1,
  health: 'fine',
  line: 'other',
  security: 'unknown',
});
const nodes = ['a', 'b', 'c', 'd', 'e'].flatMap((namespace, index) =>
  Array.from({ length: 3 + index * 4 }, (_, at) => node(namespace, String(at))),
);

test('blocks of namespaces never overlap, and each workload has a place', () => {
  const blocks = [...byNamespace(nodes)].map(([namespace, own]) => blockOf(namespace, startPlaces(own)));
  const places = packBlocks(blocks, 100, 2);
  assert.equal(places.size, nodes.length);
  const boxes = [...byNamespace(nodes).values()].map((own) => {
    const all = own.map(({ id }) => places.get(id) ?? { x: NaN, y: NaN });
    return {
      left: Math.min(...all.map(({ x }) => x)),
      right: Math.max(...all.map(({ x }) => x)),
      top: Math.min(...all.map(({ y }) => y)),
      bottom: Math.max(...all.map(({ y }) => y)),
    };
  });
  boxes.forEach((a, index) =>
    boxes.slice(index + 1).forEach((b) => {
      assert.ok(a.right < b.left || b.right < a.left || a.bottom < b.top || b.bottom < a.top);
    }),
  );
});

test('namespaces that call each other most are neighbors', () => {
  const edges = [call('a/0', 'e/0'), call('a/1', 'e/1'), call('a/0', 'b/0'), call('c/0', 'd/0')];
  const order = neighborOrder(['a', 'b', 'c', 'd', 'e'], edges);
  assert.deepEqual([...order].sort(), ['a', 'b', 'c', 'd', 'e']);
  assert.deepEqual(order.slice(0, 3), ['a', 'e', 'b']);
  assert.deepEqual(neighborOrder([], []), []);
});

test('a new workload is put below its namespace, and moves nothing', () => {
  const taken = new Map([
    ['a/0', { x: 10, y: 10 }],
    ['b/0', { x: 500, y: 300 }],
  ]);
  const added = [node('a', 'new'), node('a', 'newer'), node('z', 'first')];
  const places = addedPlaces(added, [node('a', '0'), node('b', '0')], taken);
  assert.deepEqual([...places.keys()], ['a/new', 'a/newer', 'z/first']);
  assert.equal(places.get('a/new')?.x, 10);
  assert.ok((places.get('a/new')?.y ?? 0) > 10);
  assert.notDeepEqual(places.get('a/new'), places.get('a/newer'));
  assert.ok((places.get('z/first')?.y ?? 0) > 300);
  assert.equal(taken.size, 2);
});

test('lines are wider with more traffic, within bounds', () => {
  assert.ok(edgeWidth(0) >= 1 && edgeWidth(1) < edgeWidth(100) && edgeWidth(1e12) <= 7);
});

test('a workload of which no pod is in the mesh is plain, of which only some are, partly; what is not known is not drawn as in the mesh', () => {
  const kindOf = (...enrolled: readonly (boolean | undefined)[]): string =>
    graphNode({
      id: 'a/b',
      namespace: 'a',
      name: 'b',
      services: [],
      pods: enrolled.map((isEnrolled, at) => ({
        name: `p${at}`,
        node: 'n',
        ...(isEnrolled === undefined ? {} : { isEnrolled }),
      })),
    }).kind;
  assert.deepEqual(
    [kindOf(true), kindOf(true, false), kindOf(false), kindOf(undefined), kindOf()],
    ['enrolled', 'partly', 'plain', 'outside', 'enrolled'],
  );
});
