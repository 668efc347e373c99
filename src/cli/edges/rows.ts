/** What `weft edges` shows. Pure. */
import type { Edge, EdgeParty } from '../../model/edge.js';
import { table } from '../cluster/table.js';

export interface EdgeRow {
  /** `namespace/workload`, or the identity or `unknown` if the workload is not known. */
  readonly source: string;
  readonly destination: string;
  readonly port: number;
  readonly path: string;
  readonly security: string;
  readonly connections: number;
  readonly requests: number;
  readonly refused: number;
  readonly failures: number;
  readonly lastSeenMs: number;
}

/** The name of an end of an edge: its workload, else its identity, else its namespace. */
export const nameOf = ({ namespace, workload, identity }: EdgeParty): string =>
  workload !== '' && namespace !== '' ? `${namespace}/${workload}` : (identity ?? (namespace || 'unknown'));

/** The Service stands for a destination of which no endpoint is known. */
const destinationOf = ({ destination, service }: Edge): string =>
  destination.workload === '' && service !== '' ? service : nameOf(destination);

const securities: Readonly<Record<string, string>> = {
  hbone: 'mutual TLS',
  'inbound-hbone': 'mutual TLS',
  waypoint: 'mutual TLS',
  kernel: 'same node',
  local: 'same node',
  plain: 'none',
  'inbound-plain': 'none',
};

function rowOf(edge: Edge): EdgeRow {
  const { path, port, counts, source } = edge;
  const isProven = path !== 'waypoint' || source.identity !== undefined;
  return {
    source: nameOf(source),
    destination: destinationOf(edge),
    port,
    path,
    security: isProven ? (securities[path] ?? '-') : 'none',
    connections: counts.connections,
    requests: counts.requests,
    refused: counts.refused,
    failures: counts.failures,
    lastSeenMs: counts.lastSeenMs,
  };
}

const added = (a: EdgeRow, b: EdgeRow): EdgeRow => ({
  ...a,
  connections: a.connections + b.connections,
  requests: a.requests + b.requests,
  refused: a.refused + b.refused,
  failures: a.failures + b.failures,
  lastSeenMs: Math.max(a.lastSeenMs, b.lastSeenMs),
});

/**
 * One row for each pair of workloads, port and path. A connection in the mesh is reported by both of its nodes: the client's is shown, or that
 * of the waypoint between them, and the server's for clients that no agent serves.
 */
export function rowsOf(edges: readonly Edge[]): EdgeRow[] {
  const pairOf = (edge: Edge): string => `${nameOf(edge.source)} ${destinationOf(edge)}`;
  const fromElsewhere = new Set(edges.filter(({ reporter }) => reporter !== 'destination').map(pairOf));
  const rows = new Map<string, EdgeRow>();
  for (const edge of edges) {
    if (edge.reporter === 'destination' && fromElsewhere.has(pairOf(edge))) continue;
    const row = rowOf(edge);
    const key = JSON.stringify([row.source, row.destination, row.port, row.path, row.security]);
    const same = rows.get(key);
    rows.set(key, same ? added(same, row) : row);
  }
  return [...rows.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);
}

function ageText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}

const heads = [
  'SOURCE',
  'DESTINATION',
  'PORT',
  'PATH',
  'SECURITY',
  'CONNECTIONS',
  'REQUESTS',
  'REFUSED',
  'FAILED',
  'LAST SEEN',
];

/** The table of edges with its head. */
export function edgeLines(edges: readonly Edge[], nowMs: number): string[] {
  return table([
    heads,
    ...rowsOf(edges).map((row) => [
      row.source,
      row.destination,
      row.port === 0 ? '-' : String(row.port),
      row.path,
      row.security,
      ...[row.connections, row.requests, row.refused, row.failures].map(String),
      ageText(nowMs - row.lastSeenMs),
    ]),
  ]);
}
