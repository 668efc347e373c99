/** Tables of the aggregated API (meta.k8s.io/v1), which `kubectl get` prints. Pure. */

/** Name, type, description, and OpenAPI format of a column. */
type Column = readonly [name: string, type: 'string' | 'integer', description: string, format?: string];

interface Row {
  readonly cells: readonly (string | number)[];
  /** Of the row's object. */
  readonly metadata: object;
}

/** Whether a client asks for a table in the first place. @param accept the header */
export const wantsTable = (accept: string): boolean => {
  const [first = ''] = accept.split(',');
  const parameters = first.split(';').map((one) => one.trim());
  return (
    parameters[0] === 'application/json' && parameters.includes('as=Table') && parameters.includes('v=v1')
  );
};

/** The definitions of columns, for `tableOf`. */
export const columnsOf = (columns: readonly Column[]): readonly object[] =>
  columns.map(([name, type, description, format = '']) => ({ name, type, format, description, priority: 0 }));

/** A list as a `Table`. @param metadata of the list */
export const tableOf = (
  columnDefinitions: readonly object[],
  rows: readonly Row[],
  metadata = {},
): object => ({
  kind: 'Table',
  apiVersion: 'meta.k8s.io/v1',
  metadata,
  columnDefinitions,
  rows: rows.map(({ cells, metadata: own }) => ({
    cells,
    object: { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: own },
  })),
});
