/** Changes as a table, which `kubectl get changes.observe.weft.dev` prints. Pure. */
import type { Change } from '../../src/model/change.js';

const columns = [
  ['Name', 'Of the object'],
  ['Kind', ''],
  ['Change', 'Created, updated or deleted'],
  ['Time', ''],
  ['By', 'Field manager'],
  ['Acknowledged', 'By how many of the nodes and waypoints that it was sent to'],
] as const;

function acknowledgedText({ receivers, omitted }: Change): string {
  const { acknowledged = 0, waiting = 0 } = omitted ?? {};
  const listed = receivers.filter(({ acknowledgedMs }) => acknowledgedMs !== undefined).length;
  return `${listed + acknowledged} of ${receivers.length + acknowledged + waiting}`;
}

/** A list as a `Table`. */
export const changesTable = (changes: readonly Change[]): object => ({
  kind: 'Table',
  apiVersion: 'meta.k8s.io/v1',
  metadata: {},
  columnDefinitions: columns.map(([name, description]) => ({
    name,
    type: 'string',
    description,
    format: '',
    priority: 0,
  })),
  rows: changes.map((change) => ({
    cells: [
      change.name,
      change.kind,
      change.operation,
      new Date(change.timeMs).toISOString(),
      change.by ?? '',
      acknowledgedText(change),
    ],
    object: {
      kind: 'PartialObjectMetadata',
      apiVersion: 'meta.k8s.io/v1',
      metadata: { name: change.name, namespace: change.namespace },
    },
  })),
});
