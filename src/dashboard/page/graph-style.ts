/** How the graph looks. Colors are those of the page's style sheet. */
import type { StylesheetJson } from 'cytoscape';

export interface Colors {
  readonly text: string;
  readonly muted: string;
  readonly surface: string;
  readonly raised: string;
  readonly line: string;
  readonly lineStrong: string;
  readonly accent: string;
  readonly good: string;
  readonly warn: string;
  readonly bad: string;
  readonly kernel: string;
  readonly edge: string;
}

export function pageColors(): Colors {
  const style = getComputedStyle(document.documentElement);
  const of = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  return {
    text: of('text'),
    muted: of('muted'),
    surface: of('surface'),
    raised: of('back'),
    line: of('line'),
    lineStrong: of('line-strong'),
    accent: of('accent'),
    good: of('good'),
    warn: of('warn'),
    bad: of('bad'),
    kernel: of('kernel'),
    edge: of('edge'),
  };
}

/** Names of others are only data: selectors have none of them. */
export const graphStyle = (colors: Colors): StylesheetJson => [
  {
    selector: 'node.workload',
    style: {
      width: 22,
      height: 22,
      'background-color': colors.surface,
      'border-width': 3,
      'border-color': colors.accent,
      label: 'data(label)',
      color: colors.text,
      'font-size': 12,
      'font-family': 'system-ui, sans-serif',
      'text-valign': 'bottom',
      'text-margin-y': 4,
      'min-zoomed-font-size': 7,
      'text-background-color': colors.surface,
      'text-background-opacity': 0.75,
      'text-background-padding': '1px',
    },
  },
  { selector: 'node.plain', style: { 'border-color': colors.warn, 'border-style': 'dashed' } },
  { selector: 'node.partly', style: { 'border-color': colors.warn } },
  {
    selector: 'node.outside',
    style: { shape: 'diamond', 'border-color': colors.lineStrong, 'border-width': 2 },
  },
  {
    selector: 'node.namespace',
    style: {
      shape: 'round-rectangle',
      'background-color': colors.raised,
      'background-opacity': 1,
      'border-width': 1,
      'border-color': colors.line,
      padding: '22px',
      label: 'data(label)',
      color: colors.muted,
      'font-size': 'data(size)',
      'font-weight': 600,
      'font-family': 'system-ui, sans-serif',
      'text-valign': 'top',
      'text-halign': 'center',
      'text-margin-y': -3,
      'min-zoomed-font-size': 6,
      events: 'no',
    },
  },
  {
    selector: 'edge',
    style: {
      width: 'data(width)',
      'curve-style': 'bezier',
      'control-point-step-size': 46,
      'line-color': colors.edge,
      'target-arrow-color': colors.edge,
      'target-arrow-shape': 'triangle',
      'arrow-scale': 0.9,
      label: 'data(label)',
      color: colors.text,
      'font-size': 10,
      'font-family': 'system-ui, sans-serif',
      'text-margin-y': -11,
      'min-zoomed-font-size': 9,
      'text-background-color': colors.surface,
      'text-background-opacity': 0.85,
      'text-background-padding': '1px',
    },
  },
  { selector: 'edge.kernel', style: { 'line-color': colors.kernel, 'target-arrow-color': colors.kernel } },
  {
    selector: 'edge.plain',
    style: { 'line-style': 'dotted', 'line-color': colors.warn, 'target-arrow-color': colors.warn },
  },
  {
    selector: 'edge.unsteady, edge.audited',
    style: { 'line-color': colors.warn, 'target-arrow-color': colors.warn },
  },
  {
    selector: 'edge.failing, edge.partly-denied',
    style: { 'line-color': colors.bad, 'target-arrow-color': colors.bad, color: colors.bad },
  },
  {
    selector: 'edge.denied',
    style: {
      width: 2,
      'line-style': 'dashed',
      'line-color': colors.bad,
      'target-arrow-color': colors.bad,
      'target-arrow-shape': 'tee',
      color: colors.bad,
    },
  },
  { selector: '.hidden', style: { display: 'none' } },
  { selector: '.faded', style: { opacity: 0.15 } },
  {
    selector: 'node.chosen',
    style: {
      'background-color': colors.accent,
      'underlay-color': colors.accent,
      'underlay-opacity': 0.25,
      'underlay-padding': 8,
    },
  },
  {
    selector: 'edge.chosen',
    style: {
      'underlay-color': colors.accent,
      'underlay-opacity': 0.3,
      'underlay-padding': 6,
      'min-zoomed-font-size': 0,
      'z-index': 10,
    },
  },
];
