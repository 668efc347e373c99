/** How the blocks of namespaces are laid beside each other. Pure. */
import { namespaceOf } from '../../model/party-name.js';
import type { GraphEdge, GraphNode, Place } from './graph-input.js';

/** A namespace with the places of its workloads, from 0 on. */
export interface Block {
  readonly namespace: string;
  readonly places: ReadonlyMap<string, Place>;
  readonly width: number;
  readonly height: number;
}

/** Workloads by namespace. */
export function byNamespace(nodes: readonly GraphNode[]): ReadonlyMap<string, readonly GraphNode[]> {
  const groups = new Map<string, GraphNode[]>();
  for (const node of nodes) {
    const group = groups.get(node.namespace);
    if (group) group.push(node);
    else groups.set(node.namespace, [node]);
  }
  return groups;
}

/** Starts of the layout of a namespace: rows, so that the same workloads give the same picture. */
export function startPlaces(nodes: readonly GraphNode[]): ReadonlyMap<string, Place> {
  const columns = Math.ceil(Math.sqrt(nodes.length));
  return new Map(
    nodes.map(({ id }, index) => [id, { x: (index % columns) * 130, y: Math.floor(index / columns) * 80 }]),
  );
}

/** The block around places; names are wider than high, so it is widened. */
export function blockOf(namespace: string, places: ReadonlyMap<string, Place>): Block {
  const widened = [...places].map(([id, { x, y }]) => [id, { x: x * widening, y }] as const);
  const [left, top] = [
    Math.min(...widened.map(([, { x }]) => x)),
    Math.min(...widened.map(([, { y }]) => y)),
  ];
  const moved = new Map(widened.map(([id, { x, y }]) => [id, { x: x - left, y: y - top }]));
  const all = [...moved.values()];
  return {
    namespace,
    places: moved,
    width: Math.max(...all.map(({ x }) => x)) + nameRoom,
    height: Math.max(...all.map(({ y }) => y)),
  };
}
const widening = 1.3;
/** Names go beyond the middles of workloads. */
const nameRoom = 100;

/** Namespaces that call each other most stand beside each other; the first is that with most calls. */
export function neighborOrder(namespaces: readonly string[], edges: readonly GraphEdge[]): string[] {
  const calls = new Map<string, Map<string, number>>(namespaces.map((namespace) => [namespace, new Map()]));
  const add = (from: string, to: string): void => {
    const own = calls.get(from);
    if (own) own.set(to, (own.get(to) ?? 0) + 1);
  };
  for (const { source, destination } of edges) {
    const [from, to] = [namespaceOf(source), namespaceOf(destination)];
    if (from === to) continue;
    add(from, to);
    add(to, from);
  }
  const total = (namespace: string): number =>
    [...(calls.get(namespace)?.values() ?? [])].reduce((sum, count) => sum + count, 0);
  const rest = [...namespaces].sort((a, b) => total(b) - total(a) || (a < b ? -1 : 1));
  const ordered = rest.splice(0, 1);
  while (rest.length > 0) {
    // Of the last ones: a row has only so many.
    const recent = ordered.slice(-3);
    const near = rest.map((one) => recent.reduce((sum, other) => sum + (calls.get(one)?.get(other) ?? 0), 0));
    ordered.push(...rest.splice(near.indexOf(Math.max(...near)), 1));
  }
  return ordered;
}

/**
 * Places of all workloads: blocks in rows that fill about the shape of a screen. Every other row goes from right to left, so that neighbors of
 * the order stay neighbors.
 * @param gap between blocks, with room for their names
 */
export function packBlocks(
  blocks: readonly Block[],
  gap: number,
  aspect: number,
): ReadonlyMap<string, Place> {
  const area = blocks.reduce((sum, { width, height }) => sum + (width + gap) * (height + gap), 0);
  const wanted = Math.max(Math.sqrt(area * aspect), ...blocks.map(({ width }) => width + gap));
  const rows: Block[][] = [[]];
  let used = 0;
  for (const block of blocks) {
    if (used > 0 && used + block.width + gap > wanted * 1.05) {
      rows.push([]);
      used = 0;
    }
    rows.at(-1)?.push(block);
    used += block.width + gap;
  }
  const places = new Map<string, Place>();
  let top = 0;
  rows.forEach((row, index) => {
    const width = row.reduce((sum, block) => sum + block.width + gap, 0);
    const height = Math.max(0, ...row.map((block) => block.height));
    let left = (wanted - width) / 2;
    for (const block of index % 2 === 0 ? row : [...row].reverse()) {
      const down = (height - block.height) / 2;
      for (const [id, { x, y }] of block.places) places.set(id, { x: left + x, y: top + down + y });
      left += block.width + gap;
    }
    top += height + gap;
  });
  return places;
}
