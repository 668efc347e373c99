/** What the graph draws, and where a workload is when nothing else says it. Pure. */
import type { EdgeState, WorkloadState } from '../../model/mesh-snapshot.js';
import { edgeHealth, edgeRate, type EdgeHealth } from './edges.js';
import { percentileText, rateText, shareText } from './format.js';
import { cutText, visibleText } from './text.js';

export interface GraphNode {
  readonly id: string;
  readonly namespace: string;
  readonly label: string;
  readonly kind: 'enrolled' | 'partly' | 'plain' | 'outside';
}

export interface GraphEdge {
  readonly id: string;
  readonly source: string;
  readonly destination: string;
  readonly label: string;
  readonly width: number;
  readonly health: EdgeHealth;
  readonly line: 'kernel' | 'plain' | 'denied' | 'other';
  readonly security: EdgeState['security'];
}

const labelMax = 26;

function nodeKind(workload: WorkloadState): GraphNode['kind'] {
  if (workload.isObservedOnly === true) return 'outside';
  const known = workload.pods.filter(({ isEnrolled }) => isEnrolled !== undefined);
  const enrolled = known.filter(({ isEnrolled }) => isEnrolled === true).length;
  // What is not known is drawn as what is outside: nothing says that it is in the mesh.
  if (known.length === 0 && workload.pods.length > 0) return 'outside';
  if (known.length > 0 && enrolled === 0) return 'plain';
  return enrolled < known.length ? 'partly' : 'enrolled';
}

export const graphNode = (workload: WorkloadState): GraphNode => ({
  id: workload.id,
  namespace: workload.namespace,
  label: cutText(visibleText(workload.name), labelMax),
  kind: nodeKind(workload),
});

/** From 1.2 to 7: ten times the rate is 1.4 wider. */
export const edgeWidth = (perSecond: number): number =>
  Math.min(7, Math.max(1.2, 2.6 + Math.log10(Math.max(perSecond, 0.01)) * 1.4));

function labelOf(edge: EdgeState, health: EdgeHealth): string {
  if (health === 'denied') return `refused ${edge.refused}`;
  const parts = [rateText(edgeRate(edge))];
  if (edge.successShare !== undefined && edge.successShare < 1) parts.push(shareText(edge.successShare));
  if (edge.latencyMs) parts.push(percentileText(edge.latencyMs.p50));
  if (edge.refused > 0) parts.push(`refused ${edge.refused}`);
  return parts.join(' · ');
}

export function graphEdge(edge: EdgeState): GraphEdge {
  const health = edgeHealth(edge);
  return {
    id: edge.id,
    source: edge.source,
    destination: edge.destination,
    label: labelOf(edge, health),
    width: edgeWidth(edgeRate(edge) ?? 0),
    health,
    line:
      health === 'denied'
        ? 'denied'
        : edge.path === 'kernel'
          ? 'kernel'
          : edge.path === 'plain' || edge.security === 'none'
            ? 'plain'
            : 'other',
    security: edge.security,
  };
}

export interface Place {
  readonly x: number;
  readonly y: number;
}

const cell = { width: 130, height: 80 };
const gap = 90;

/**
 * Where a workload goes that is new in a drawn graph: below its namespace, or below everything. Nothing that is drawn moves.
 * @param taken places of what is drawn, by id; it is not changed
 */
export function addedPlaces(
  added: readonly GraphNode[],
  drawn: readonly GraphNode[],
  taken: ReadonlyMap<string, Place>,
): ReadonlyMap<string, Place> {
  const places = new Map<string, Place>();
  const next = new Map<string, Place>();
  const all = [...taken.values()];
  const bottom = Math.max(0, ...all.map(({ y }) => y));
  for (const node of added) {
    const own = drawn.flatMap(({ id, namespace }) => {
      const place = namespace === node.namespace ? taken.get(id) : undefined;
      return place ? [place] : [];
    });
    const place = next.get(node.namespace) ?? {
      x: own.length > 0 ? Math.min(...own.map(({ x }) => x)) : next.size * cell.width * 2,
      y: (own.length > 0 ? Math.max(...own.map(({ y }) => y)) : bottom + gap) + cell.height,
    };
    places.set(node.id, place);
    next.set(node.namespace, { x: place.x + cell.width, y: place.y });
  }
  return places;
}
