/**
 * The drawn graph: cytoscape on a canvas, because 1 500 edges as elements of the page do not move fluently. The table of edges says the same to
 * a screen reader.
 */
import cytoscape, { type Core, type ElementDefinition } from 'cytoscape';
import fcose from 'cytoscape-fcose';
import type { GraphEdge, GraphNode, Place } from '../view/graph-input.js';
import { addedPlaces, startPlaces } from '../view/graph-input.js';
import { visibleText } from '../view/text.js';
import { drawMarks } from './edge-marks.js';
import { graphStyle, pageColors } from './graph-style.js';

cytoscape.use(fcose);

/** The library adds a style element where none has this id. The content security policy forbids it, and page.css has its rule. */
function claimStyle(): void {
  const id = '__________cytoscape_stylesheet';
  if (document.getElementById(id)) return;
  const claim = document.createElement('meta');
  claim.id = id;
  document.head.append(claim);
}

const nodeId = (id: string): string => `w ${id}`;
const namespaceId = (namespace: string): string => `n ${namespace}`;
const edgeId = (id: string): string => `e ${id}`;

/** Where workloads are drawn, for as long as the page is open: another view and back shows the same picture. */
const keptPlaces = new Map<string, Place>();

export interface Drawn {
  readonly nodes: readonly GraphNode[];
  readonly edges: readonly GraphEdge[];
}
export interface Shown {
  readonly nodes: ReadonlySet<string>;
  readonly edges: ReadonlySet<string>;
}
interface Handlers {
  onEdge(id: string): void;
  onNode(id: string): void;
  onNothing(): void;
}

export class GraphCanvas {
  readonly #cy: Core;
  readonly #marks: HTMLCanvasElement;
  #colors = pageColors();
  #drawn: Drawn = { nodes: [], edges: [] };
  #shown: Shown = { nodes: new Set(), edges: new Set() };

  constructor(container: HTMLElement, marks: HTMLCanvasElement, isLarge: boolean, handlers: Handlers) {
    claimStyle();
    this.#marks = marks;
    this.#cy = cytoscape({
      container,
      style: graphStyle(this.#colors),
      minZoom: 0.05,
      maxZoom: 3,
      boxSelectionEnabled: false,
      autounselectify: true,
      hideEdgesOnViewport: false,
      textureOnViewport: isLarge,
    });
    const cy = this.#cy;
    cy.on('render', () => drawMarks(cy, this.#marks, this.#colors));
    cy.on('tap', (event) => {
      if (event.target === cy) handlers.onNothing();
    });
    cy.on('tap', 'edge', (event) => handlers.onEdge((event.target.data('state') as GraphEdge).id));
    cy.on('tap', 'node.workload', (event) => handlers.onNode((event.target.data('state') as GraphNode).id));
    cy.on('dragfree', 'node', () => this.#keepPlaces());
  }

  /** Adds what is new and removes what is gone. What stays does not move. */
  update(drawn: Drawn): void {
    const cy = this.#cy;
    const isFirst = this.#drawn.nodes.length === 0;
    const before = this.#drawn.nodes;
    this.#drawn = drawn;
    const missing = drawn.nodes.filter(({ id }) => !keptPlaces.has(id));
    const isNewLayout = missing.length > drawn.nodes.length / 2;
    if (isNewLayout) for (const [id, place] of startPlaces(drawn.nodes)) keptPlaces.set(id, place);
    else
      for (const [id, place] of addedPlaces(missing, isFirst ? drawn.nodes : before, keptPlaces))
        keptPlaces.set(id, place);
    cy.batch(() => this.#replaceElements(drawn));
    if (isNewLayout) this.arrange();
    else if (isFirst) this.fit();
  }

  #replaceElements({ nodes, edges }: Drawn): void {
    const cy = this.#cy;
    const wanted = new Map<string, ElementDefinition>();
    for (const { namespace } of nodes)
      if (namespace !== '')
        wanted.set(namespaceId(namespace), {
          data: { id: namespaceId(namespace), label: visibleText(namespace) },
          classes: 'namespace',
          selectable: false,
          grabbable: false,
        });
    for (const state of nodes)
      wanted.set(nodeId(state.id), {
        data: {
          id: nodeId(state.id),
          label: state.label,
          state,
          ...(state.namespace === '' ? {} : { parent: namespaceId(state.namespace) }),
        },
        position: { ...(keptPlaces.get(state.id) ?? { x: 0, y: 0 }) },
        classes: `workload ${state.kind}`,
      });
    for (const state of edges)
      wanted.set(edgeId(state.id), {
        data: {
          id: edgeId(state.id),
          source: nodeId(state.source),
          target: nodeId(state.destination),
          label: state.label,
          width: state.width,
          state,
        },
        classes: `${state.line} ${state.health}`,
      });
    cy.elements()
      .filter((element) => !wanted.has(element.id()))
      .remove();
    const added: ElementDefinition[] = [];
    for (const [id, definition] of wanted) {
      const present = cy.getElementById(id);
      if (present.empty()) added.push(definition);
      else if (!present.hasClass('namespace')) {
        const { label, width, state } = definition.data;
        present.data(width === undefined ? { label, state } : { label, width, state });
        const kept = ['hidden', 'faded', 'chosen'].filter((name) => present.hasClass(name));
        present.classes(`${String(definition.classes)} ${kept.join(' ')}`);
      }
    }
    cy.add(added);
  }

  /** Places all workloads anew. The same mesh gives the same picture: the layout begins at fixed places. */
  arrange(): void {
    const cy = this.#cy;
    for (const [id, place] of startPlaces(this.#drawn.nodes))
      cy.getElementById(nodeId(id)).position({ ...place });
    const options = {
      name: 'fcose',
      quality: 'default',
      randomize: false,
      animate: false,
      fit: false,
      nodeDimensionsIncludeLabels: true,
      packComponents: false,
      idealEdgeLength: 110,
      nodeRepulsion: 9_000,
      gravityRangeCompound: 1.5,
      gravityCompound: 1.2,
      numIter: this.#drawn.nodes.length > 100 ? 600 : 2_000,
    };
    cy.layout(options).run();
    this.#keepPlaces();
    this.fit();
  }

  #keepPlaces(): void {
    for (const { id } of this.#drawn.nodes)
      keptPlaces.set(id, { ...this.#cy.getElementById(nodeId(id)).position() });
  }

  /** Hides what the filter does not leave. */
  show(shown: Shown): void {
    const isChanged =
      shown.nodes.size !== this.#shown.nodes.size ||
      [...shown.nodes].some((id) => !this.#shown.nodes.has(id));
    this.#shown = shown;
    const cy = this.#cy;
    cy.batch(() => {
      cy.nodes('.workload').forEach((node) => {
        node.toggleClass('hidden', !shown.nodes.has((node.data('state') as GraphNode).id));
      });
      cy.edges().forEach((edge) => {
        edge.toggleClass('hidden', !shown.edges.has((edge.data('state') as GraphEdge).id));
      });
      cy.nodes('.namespace').forEach((box) => {
        box.toggleClass('hidden', box.children('.workload').not('.hidden').empty());
      });
    });
    if (isChanged) this.fit();
  }

  /** What is not beside the selection is faded. */
  select(selection: { readonly edge?: string; readonly workload?: string }): void {
    const cy = this.#cy;
    const chosen =
      selection.edge !== undefined
        ? cy.getElementById(edgeId(selection.edge))
        : selection.workload !== undefined
          ? cy.getElementById(nodeId(selection.workload))
          : cy.collection();
    cy.batch(() => {
      cy.elements().removeClass('chosen faded');
      if (chosen.empty()) return;
      const beside =
        selection.edge === undefined ? chosen.closedNeighborhood() : chosen.union(chosen.connectedNodes());
      cy.elements('.workload, edge').difference(beside).addClass('faded');
      chosen.addClass('chosen');
    });
  }

  recolor(): void {
    this.#colors = pageColors();
    this.#cy.style(graphStyle(this.#colors));
  }

  zoomBy(factor: number): void {
    const cy = this.#cy;
    cy.zoom({ level: cy.zoom() * factor, renderedPosition: { x: cy.width() / 2, y: cy.height() / 2 } });
  }

  panBy(x: number, y: number): void {
    this.#cy.panBy({ x, y });
  }

  fit(): void {
    const cy = this.#cy;
    const visible = cy.elements().filter((element) => !element.hasClass('hidden'));
    if (visible.empty()) return;
    cy.fit(visible, 24);
    // One workload does not fill the screen.
    if (cy.zoom() > 1.4) {
      cy.zoom(1.4);
      cy.center(visible);
    }
  }

  resized(): void {
    this.#cy.resize();
    this.fit();
  }

  close(): void {
    this.#cy.destroy();
  }
}
