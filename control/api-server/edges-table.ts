/** Edges as a table, which `kubectl get edges.observe.weft.dev` prints. Pure. */
import type { Edge, EdgeParty } from '../../src/model/edge.js';

const columns = [
  ['Client', 'string', 'Workload, or identity if the workload is not known'],
  ['Calls', 'string', 'Workload or Service'],
  ['Port', 'integer', ''],
  ['Request', 'string', 'Method and path template, where a waypoint reads requests'],
  ['Reporter', 'string', 'Who observed it: agents of both sides, waypoints'],
  ['Connections', 'integer', 'Opened'],
  ['Requests', 'integer', 'Refused ones included'],
  ['Refused', 'integer', 'Connections and requests that the mesh refused'],
] as const;

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
export const edgesTable = (edges: readonly Edge[]): object => ({
  kind: 'Table',
  apiVersion: 'meta.k8s.io/v1',
  metadata: {},
  columnDefinitions: columns.map(([name, type, description]) => ({
    name,
    type,
    description,
    format: '',
    priority: 0,
  })),
  rows: edges.map((edge) => ({
    cells: cells(edge),
    object: {
      kind: 'PartialObjectMetadata',
      apiVersion: 'meta.k8s.io/v1',
      metadata: { name: '', namespace: edge.destination.namespace },
    },
  })),
});
