/** The graph in the page, with its buttons and what its lines mean. */
import { useEffect, useMemo, useRef } from 'preact/hooks';
import type { EdgeState, MeshSnapshot, WorkloadState } from '../../model/mesh-snapshot.js';
import { filteredWorkloads } from '../view/edges.js';
import { countOf } from '../view/format.js';
import { graphEdge, graphNode } from '../view/graph-input.js';
import { routeHash, selecting, unfiltered, type Route } from '../view/route.js';
import { ifKnown } from '../view/unknown.js';
import { GraphCanvas } from './graph-canvas.js';
import { PathText, Security } from './parts.js';
import { useTheme } from './theme.js';

/** From here on the library moves a picture of the graph and draws it when it stands still. */
const largeEdges = 800;

export function Graph({
  snapshot,
  workloads,
  edges,
  route,
}: {
  readonly snapshot: MeshSnapshot;
  readonly workloads: readonly WorkloadState[];
  readonly edges: readonly EdgeState[];
  readonly route: Route;
}) {
  const container = useRef<HTMLDivElement>(null);
  const marks = useRef<HTMLCanvasElement>(null);
  const canvas = useRef<GraphCanvas | undefined>(undefined);
  const current = useRef(route);
  current.current = route;
  const theme = useTheme();
  const drawn = useMemo(
    () => ({
      nodes: filteredWorkloads(snapshot, unfiltered, snapshot.edges).map(graphNode),
      edges: snapshot.edges.map(graphEdge),
    }),
    [snapshot],
  );
  useEffect(() => {
    const [box, over] = [container.current, marks.current];
    if (!box || !over) return undefined;
    const go = (selection: Parameters<typeof selecting>[1]): void => {
      location.hash = routeHash(selecting(current.current, selection));
    };
    const opened = new GraphCanvas(box, over, drawn.edges.length > largeEdges, {
      onEdge: (edge) => go({ edge }),
      onNode: (workload) => go({ workload }),
      onNothing: () => go(undefined),
    });
    canvas.current = opened;
    const sizes = new ResizeObserver(() => opened.resized());
    sizes.observe(box);
    return () => {
      sizes.disconnect();
      canvas.current = undefined;
      opened.close();
    };
  }, []);
  useEffect(() => {
    canvas.current?.update(drawn);
    canvas.current?.show({
      nodes: new Set(workloads.map(({ id }) => id)),
      edges: new Set(edges.map(({ id }) => id)),
    });
    canvas.current?.select(route);
    performance.mark('weft-graph');
  }, [drawn, workloads, edges, route.edge, route.workload]);
  useEffect(() => canvas.current?.recolor(), [theme]);

  const onKey = (event: KeyboardEvent): void => {
    const step = 60;
    const moves: Readonly<Record<string, () => void>> = {
      ArrowLeft: () => canvas.current?.panBy(step, 0),
      ArrowRight: () => canvas.current?.panBy(-step, 0),
      ArrowUp: () => canvas.current?.panBy(0, step),
      ArrowDown: () => canvas.current?.panBy(0, -step),
      '+': () => canvas.current?.zoomBy(1.25),
      '-': () => canvas.current?.zoomBy(0.8),
      '0': () => canvas.current?.fit(),
    };
    const move = Object.hasOwn(moves, event.key) ? moves[event.key] : undefined;
    if (!move) return;
    event.preventDefault();
    move();
  };
  return (
    <div class="graph">
      <div class="graph-box">
        <div
          ref={container}
          class="graph-canvas"
          role="img"
          tabIndex={0}
          aria-label={`Graph of ${ifKnown(snapshot, 'workloads', countOf(workloads.length, 'workload'), 'workloads that are not known')} and ${ifKnown(snapshot, 'edges', countOf(edges.length, 'edge'), 'edges that are not known')}. The table below has the same edges. Arrow keys move it, + and - zoom, 0 shows all.`}
          onKeyDown={onKey}
        />
        <canvas ref={marks} class="graph-marks" aria-hidden="true" />
        <div class="graph-buttons" role="group" aria-label="Graph">
          <button type="button" aria-label="Zoom in" onClick={() => canvas.current?.zoomBy(1.25)}>
            +
          </button>
          <button type="button" aria-label="Zoom out" onClick={() => canvas.current?.zoomBy(0.8)}>
            −
          </button>
          <button type="button" onClick={() => canvas.current?.fit()}>
            Show all
          </button>
          <button type="button" onClick={() => canvas.current?.arrange()}>
            Arrange
          </button>
        </div>
      </div>
      <ul class="legend" aria-label="What lines mean">
        <li>
          <Security security="mutual-tls" />
        </li>
        <li>
          <PathText path="kernel" /> path
        </li>
        <li class="line-plain">plain, nobody protects it</li>
        <li class="line-warn">some failures, or would be refused</li>
        <li class="line-bad">failing or partly refused</li>
        <li class="line-denied">refused</li>
        <li class="ring-warn">not in the mesh</li>
      </ul>
    </div>
  );
}
