/** Where workloads are drawn: inside of a namespace as a library says, and namespaces beside each other, so that they never overlap. */
import cytoscape from 'cytoscape';
import fcose from 'cytoscape-fcose';
import type { GraphEdge, GraphNode, Place } from '../view/graph-input.js';
import { blockOf, byNamespace, neighborOrder, packBlocks, startPlaces } from '../view/placement.js';

cytoscape.use(fcose);

/** The library's time grows faster than a namespace; of a large one the picture is rough. */
const largeNamespace = 60;
const gapLeast = 110;
/** Rows are not full, so that blocks would not fill the width. */
const wider = 1.4;

/** @param size of a namespace's name, which needs room above it */
export function layOut(
  nodes: readonly GraphNode[],
  edges: readonly GraphEdge[],
  size: number,
  aspect: number,
): ReadonlyMap<string, Place> {
  const groups = byNamespace(nodes);
  const inside = new Map<string, GraphEdge[]>([...groups.keys()].map((namespace) => [namespace, []]));
  const home = new Map(nodes.map(({ id, namespace }) => [id, namespace]));
  for (const edge of edges) {
    const namespace = home.get(edge.source);
    if (namespace !== undefined && namespace === home.get(edge.destination))
      inside.get(namespace)?.push(edge);
  }
  const blocks = neighborOrder([...groups.keys()], edges).map((namespace) =>
    blockOf(namespace, layOutNamespace(groups.get(namespace) ?? [], inside.get(namespace) ?? [])),
  );
  return packBlocks(blocks, gapLeast + size, aspect * wider);
}

function layOutNamespace(
  nodes: readonly GraphNode[],
  edges: readonly GraphEdge[],
): ReadonlyMap<string, Place> {
  const starts = startPlaces(nodes);
  if (nodes.length < 3) return starts;
  const cy = cytoscape({
    headless: true,
    styleEnabled: true,
    style: [{ selector: 'node', style: { width: 80, height: 40 } }],
    elements: {
      nodes: nodes.map(({ id }) => ({
        data: { id: `w ${id}` },
        position: { ...(starts.get(id) ?? { x: 0, y: 0 }) },
      })),
      edges: edges.map(({ id, source, destination }) => ({
        data: { id: `e ${id}`, source: `w ${source}`, target: `w ${destination}` },
      })),
    },
  });
  const options = {
    name: 'fcose',
    quality: 'default',
    randomize: false,
    animate: false,
    fit: false,
    packComponents: false,
    idealEdgeLength: 95,
    tilingPaddingVertical: 40,
    tilingPaddingHorizontal: 40,
    nodeRepulsion: 8_000,
    numIter: nodes.length > largeNamespace ? 500 : 2_000,
  };
  cy.layout(options).run();
  const places = new Map(nodes.map(({ id }) => [id, { ...cy.getElementById(`w ${id}`).position() }]));
  cy.destroy();
  return places;
}
