/** Grafana dashboards as JSON, from short descriptions: rows of panels, each with its queries. Pure. */

export interface Query {
  readonly expr: string;
  readonly legend: string;
}

export interface Panel {
  readonly title: string;
  /** `stat`: one number for each series; `graph`: over time; `table`: one row for each series, now. */
  readonly kind: 'stat' | 'graph' | 'table';
  /** Grafana's name of the unit. */
  readonly unit: 'short' | 'reqps' | 'percentunit' | 'ms' | 's' | 'Bps' | 'bytes' | 'dateTimeAsIso';
  readonly queries: readonly [Query, ...Query[]];
  readonly description?: string;
  /** Columns of 24. Default: an equal share of the row. */
  readonly width?: number;
}

export interface Variable {
  readonly name: string;
  readonly label: string;
  /** `label_values(...)` */
  readonly query: string;
}

export interface Dashboard {
  /** Name of the file and, with the prefix `weft-`, Grafana's identifier. */
  readonly name: string;
  readonly title: string;
  readonly variables: readonly Variable[];
  readonly rows: readonly { readonly title: string; readonly panels: readonly Panel[] }[];
}

const datasource = { type: 'prometheus', uid: '${datasource}' };
const statHeight = 4;
const graphHeight = 8;

function panelOf(panel: Panel, id: number, gridPos: object): object {
  const { title, kind, unit, queries, description } = panel;
  const isInstant = kind === 'table';
  return {
    id,
    title,
    ...(description === undefined ? {} : { description }),
    type: kind === 'graph' ? 'timeseries' : kind,
    datasource,
    gridPos,
    fieldConfig: { defaults: { unit, min: unit === 'percentunit' ? 0 : null }, overrides: [] },
    options: optionsOf[kind],
    targets: queries.map(({ expr, legend }, i) => ({
      refId: String.fromCharCode('A'.charCodeAt(0) + i),
      datasource,
      expr,
      legendFormat: legend,
      ...(isInstant ? { instant: true, range: false, format: 'table' } : { range: true }),
    })),
    ...(isInstant
      ? { transformations: [{ id: 'organize', options: { excludeByName: { Time: true } } }] }
      : {}),
  };
}

const optionsOf = {
  stat: { reduceOptions: { calcs: ['lastNotNull'] }, colorMode: 'value', graphMode: 'area' },
  graph: {
    legend: { displayMode: 'list', placement: 'bottom' },
    tooltip: { mode: 'multi', sort: 'desc' },
  },
  table: { showHeader: true, footer: { show: false } },
} as const;

/** The JSON that Grafana imports, or its sidecar reads from a ConfigMap. */
export const grafanaText = (dashboard: Dashboard): string =>
  `${JSON.stringify(grafanaJson(dashboard), undefined, 1)}\n`;

function grafanaJson({ name, title, variables, rows }: Dashboard): object {
  const panels: object[] = [];
  let y = 0;
  for (const row of rows) {
    panels.push({
      id: panels.length + 1,
      type: 'row',
      title: row.title,
      collapsed: false,
      panels: [],
      gridPos: { x: 0, y: y++, w: 24, h: 1 },
    });
    const h = Math.max(...row.panels.map(({ kind }) => (kind === 'stat' ? statHeight : graphHeight)));
    let x = 0;
    for (const panel of row.panels) {
      const w = panel.width ?? Math.floor(24 / row.panels.length);
      panels.push(panelOf(panel, panels.length + 1, { x, y, w, h }));
      x += w;
    }
    y += h;
  }
  return {
    uid: `weft-${name}`,
    title: `Weft / ${title}`,
    tags: ['weft'],
    schemaVersion: 39,
    version: 1,
    editable: true,
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    links: [{ type: 'dashboards', title: 'Weft', tags: ['weft'], asDropdown: true, includeVars: true }],
    templating: {
      list: [
        { name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus' },
        ...variables.map(({ name: variable, label, query }) => ({
          name: variable,
          label,
          type: 'query',
          datasource,
          query: { query, refId: variable },
          refresh: 2,
          sort: 1,
          includeAll: true,
          allValue: '.*',
          multi: true,
          current: { text: 'All', value: '$__all' },
        })),
      ],
    },
    panels,
  };
}
