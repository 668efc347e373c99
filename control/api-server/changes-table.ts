/** Changes as a table, which `kubectl get changes.observe.weft.dev` prints. Pure. */
import type { Change } from '../../src/model/change.js';
import { columnsOf, tableOf } from './table.js';

const columns = columnsOf([
  ['Name', 'string', 'Of the object'],
  ['Kind', 'string', ''],
  ['Change', 'string', 'Created, updated or deleted'],
  ['Time', 'string', ''],
  ['By', 'string', 'Field manager'],
  ['Acknowledged', 'string', 'By how many of the nodes and waypoints that it was sent to'],
]);

function acknowledgedText({ receivers, omitted }: Change): string {
  const { acknowledged = 0, waiting = 0 } = omitted ?? {};
  const listed = receivers.filter(({ acknowledgedMs }) => acknowledgedMs !== undefined).length;
  return `${listed + acknowledged} of ${receivers.length + acknowledged + waiting}`;
}

/** A list as a `Table`. */
export const changesTable = (changes: readonly Change[]): object =>
  tableOf(
    columns,
    changes.map((change) => ({
      cells: [
        change.name,
        change.kind,
        change.operation,
        new Date(change.timeMs).toISOString(),
        change.by ?? '',
        acknowledgedText(change),
      ],
      metadata: { name: change.name, namespace: change.namespace },
    })),
  );
