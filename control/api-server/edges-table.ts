/** Edges as a table, which `kubectl get edges.observe.weft.dev` prints. Pure. */
import type { Edge, EdgeParty } from '../../src/model/edge.js';
import { columnsOf, tableOf } from './table.js';

const columns = columnsOf([
  ['Client', 'string', 'Workload, or identity if the workload is not known'],
  ['Calls', 'string', 'Workload or Service'],
  ['Port', 'integer', ''],
  ['Request', 'string', 'Method and path template, where a waypoint reads requests'],
  ['Reporter', 'string', 'Who observed it: agents of both sides, waypoints'],
  ['Connections', 'integer', 'Opened'],
  ['Requests', 'integer', 'Refused ones included'],
  ['Refused', 'integer', 'Connections and requests that the mesh refused'],
]);

const nameOf = ({ namespace, workload, identity }: EdgeParty): string =>
  workload === '' ? (identity ?? (namespace || 'unknown')) : `${namespace}/${workload}`;

const cells = ({ source, destination, service, port, method, pathTemplate, reporter, counts }: Edge) => [
  nameOf(source),
  destination.workload === '' && service !== '' ? service : nameOf(destination),
  port,
  `${method} ${pathTemplate}`.trim(),
  reporter,
  counts.connections,
  counts.requests,
  counts.refused,
];

/** A list as a `Table`. An edge has no name: it cannot be read alone. */
export const edgesTable = (edges: readonly Edge[]): object =>
  tableOf(
    columns,
    edges.map((edge) => ({
      cells: cells(edge),
      metadata: { name: '', namespace: edge.destination.namespace },
    })),
  );
