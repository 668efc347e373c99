/** The graph of the mesh, what is selected in it, and its edges as a table. */
import type { MeshSnapshot } from '../../model/mesh-snapshot.js';
import { filteredEdges, namespacesOf } from '../view/edges.js';
import { countOf } from '../view/format.js';
import type { Route } from '../view/route.js';
import { EdgeTable } from './edge-table.js';
import { FilterBar } from './filter-bar.js';
import type { Live } from './live.js';

export function GraphView({
  snapshot,
  route,
}: {
  readonly snapshot: MeshSnapshot;
  readonly live: Live;
  readonly route: Route;
  readonly nowMs: number;
}) {
  const edges = filteredEdges(snapshot.edges, route);
  return (
    <>
      <FilterBar route={route} namespaces={namespacesOf(snapshot)} />
      <EdgeTable edges={edges} route={route} caption={countOf(edges.length, 'edge')} />
    </>
  );
}
