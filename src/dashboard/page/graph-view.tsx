/** The graph of the mesh, what is selected in it, and its edges as a table. */
import { useMemo } from 'preact/hooks';
import type { MeshSnapshot } from '../../model/mesh-snapshot.js';
import { filteredEdges, filteredWorkloads, namespacesOf } from '../view/edges.js';
import { countOf } from '../view/format.js';
import type { Route } from '../view/route.js';
import { ifKnown, isIncomplete, isUnknown, ofPart } from '../view/unknown.js';
import { EdgeDetail } from './edge-detail.js';
import { EdgeTable } from './edge-table.js';
import { FilterBar } from './filter-bar.js';
import { Graph } from './graph.js';
import type { Live } from './live.js';
import { WorkloadDetail } from './workload-detail.js';

export function GraphView({
  snapshot,
  live,
  route,
  nowMs,
}: {
  readonly snapshot: MeshSnapshot;
  readonly live: Live;
  readonly route: Route;
  readonly nowMs: number;
}) {
  const { namespace, text } = route;
  const edges = useMemo(
    () => filteredEdges(snapshot.edges, { namespace, text }),
    [snapshot, namespace, text],
  );
  const workloads = useMemo(
    () => filteredWorkloads(snapshot, { namespace, text }, edges),
    [snapshot, namespace, text, edges],
  );
  const hasDetail = route.edge !== undefined || route.workload !== undefined;
  const counted = ofPart(snapshot, 'edges', countOf(edges.length, 'edge'));
  const title = ifKnown(snapshot, 'edges', counted, 'Edges');
  return (
    <>
      <FilterBar route={route} namespaces={namespacesOf(snapshot)} />
      <div class={hasDetail ? 'split' : undefined}>
        <Graph snapshot={snapshot} workloads={workloads} edges={edges} route={route} />
        {route.edge !== undefined ? (
          <EdgeDetail
            key={route.edge}
            snapshot={snapshot}
            live={live}
            route={route}
            id={route.edge}
            nowMs={nowMs}
          />
        ) : route.workload !== undefined ? (
          <WorkloadDetail
            key={route.workload}
            snapshot={snapshot}
            route={route}
            id={route.workload}
            nowMs={nowMs}
          />
        ) : undefined}
      </div>
      <h2 class="table-title">{title}</h2>
      <EdgeTable
        edges={edges}
        route={route}
        caption={title}
        isUnknown={isUnknown(snapshot, 'edges')}
        isPartial={isIncomplete(snapshot, 'edges')}
      />
    </>
  );
}
