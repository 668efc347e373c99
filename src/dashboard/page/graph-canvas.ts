/**
 * The drawn graph: cytoscape on a canvas, because 1 500 edges as elements of the page do not move fluently. The table of edges says the same to
 * a screen reader.
 */
import cytoscape, { type Core, type ElementDefinition, type SingularElementReturnValue } from 'cytoscape';
import type { GraphEdge, GraphNode, Place } from '../view/graph-input.js';
import { addedPlaces } from '../view/graph-input.js';
import { visibleText } from '../view/text.js';
import { drawMarks } from './edge-marks.js';
import { graphStyle, pageColors } from './graph-style.js';
import { layOut } from './layout.js';

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

/** Names of namespaces can be read when the whole mesh is shown. */
const nameSize = (workloads: number): number => Math.min(44, Math.max(15, Math.sqrt(workloads) * 2.6));

type Drawing = GraphNode | GraphEdge;
const isSame = (a: Drawing, b: Drawing): boolean => JSON.stringify(a) === JSON.stringify(b);

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
  #size = '';
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
    if (isNewLayout) this.#layOut();
    else
      for (const [id, place] of addedPlaces(missing, isFirst ? drawn.nodes : before, keptPlaces))
        keptPlaces.set(id, place);
    cy.batch(() => this.#replaceElements(drawn));
    if (isNewLayout && !isFirst) this.#move();
    // What is drawn for the first time is made to fit by `show`.
  }

  #replaceElements({ nodes, edges }: Drawn): void {
    const cy = this.#cy;
    const wanted = new Map<string, ElementDefinition>();
    for (const { namespace } of nodes)
      if (namespace !== '')
        wanted.set(namespaceId(namespace), {
          data: { id: namespaceId(namespace), label: visibleText(namespace), size: nameSize(nodes.length) },
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
        // Each change of a datum costs a new style, and most edges are as they were five seconds ago.
        if (isSame(present.data('state') as Drawing, state as Drawing)) continue;
        present.data(width === undefined ? { label, state } : { label, width, state });
        const kept = ['hidden', 'faded', 'chosen'].filter((name) => present.hasClass(name));
        const classes = [...String(definition.classes).split(' '), ...kept].sort();
        if (classes.join(' ') !== [...present.classes()].sort().join(' ')) present.classes(classes.join(' '));
      }
    }
    cy.add(added);
  }

  /** Places all workloads anew. The same mesh gives the same picture: the layout begins at fixed places. */
  arrange(): void {
    this.#layOut();
    this.#move();
    this.fit();
  }

  #layOut(): void {
    const cy = this.#cy;
    const { nodes, edges } = this.#drawn;
    const places = layOut(nodes, edges, nameSize(nodes.length), Math.max(0.7, cy.width() / cy.height()));
    for (const [id, place] of places) keptPlaces.set(id, place);
  }

  #move(): void {
    const cy = this.#cy;
    cy.batch(() => {
      for (const { id } of this.#drawn.nodes)
        cy.getElementById(nodeId(id)).position({ ...(keptPlaces.get(id) ?? { x: 0, y: 0 }) });
    });
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
    // Each change of a class costs the library time, also one that changes nothing.
    const setHidden = (element: SingularElementReturnValue, isHidden: boolean): void => {
      if (element.hasClass('hidden') !== isHidden) element.toggleClass('hidden', isHidden);
    };
    cy.batch(() => {
      const namespaces = new Set<string>();
      for (const { id, namespace } of this.#drawn.nodes) {
        const isShown = shown.nodes.has(id);
        if (isShown) namespaces.add(namespace);
        setHidden(cy.getElementById(nodeId(id)), !isShown);
      }
      for (const { id } of this.#drawn.edges) setHidden(cy.getElementById(edgeId(id)), !shown.edges.has(id));
      for (const namespace of new Set(this.#drawn.nodes.map((node) => node.namespace)))
        if (namespace !== '')
          setHidden(cy.getElementById(namespaceId(namespace)), !namespaces.has(namespace));
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
      cy.elements('.chosen, .faded').removeClass('chosen faded');
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

  /** The first call is for the size that it was made with. */
  resized(): void {
    const size = `${this.#marks.clientWidth} ${this.#marks.clientHeight}`;
    if (size === this.#size) return;
    const isFirst = this.#size === '';
    this.#size = size;
    if (isFirst) return;
    this.#cy.resize();
    this.fit();
  }

  close(): void {
    this.#cy.destroy();
  }
}
