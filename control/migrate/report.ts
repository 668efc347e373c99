/** What `weft migrate check` says: for each object what Weft does with it. */

/**
 * `works`: as in the mesh that it was written for. `differs`: with this difference. `missing`: not carried out. `closed`: not carried out,
 * and what has the field is refused.
 */
export type Result = 'works' | 'differs' | 'missing' | 'closed';

export interface MigrateFinding {
  readonly result: Result;
  /** The field, label or annotation; absent: the object. */
  readonly field?: string;
  readonly message: string;
  /** What to do about it, or what does the same in Weft. */
  readonly instead?: string;
}
export interface ObjectReport {
  readonly kind: string;
  readonly apiVersion: string;
  readonly namespace?: string;
  readonly name: string;
  /** The number of further pods of which the same is true. */
  readonly alike?: number;
  /** File and line; absent: from a cluster. */
  readonly place?: string;
  readonly result: Result;
  readonly findings: readonly MigrateFinding[];
}
export interface FileProblem {
  readonly file: string;
  /** 0: the whole file. */
  readonly line: number;
  readonly message: string;
}
export interface MigrateReport {
  readonly objects: readonly ObjectReport[];
  /** What could not be read. */
  readonly problems: readonly FileProblem[];
  /** Services that objects name and that were not given: they were assumed to exist and to have a waypoint. */
  readonly assumed: readonly string[];
  /** Objects that do not configure a mesh, by kind. */
  readonly others: Readonly<Record<string, number>>;
}

const order: readonly Result[] = ['works', 'differs', 'missing', 'closed'];
/** The gravest result of an object's findings. */
export const worstOf = (findings: readonly MigrateFinding[]): Result =>
  findings.reduce<Result>(
    (worst, { result }) => (order.indexOf(result) > order.indexOf(worst) ? result : worst),
    'works',
  );

const isDone = (result: Result): boolean => result === 'works' || result === 'differs';
/** Whether everything was read, and is carried out. */
export const isComplete = ({ objects, problems }: MigrateReport): boolean =>
  problems.length === 0 && objects.every(({ result }) => isDone(result));

const words: Readonly<Record<Result, string>> = {
  works: 'works',
  differs: 'differs',
  missing: 'MISSING',
  closed: 'CLOSED',
};
const line = (result: Result, text: string): string => `${words[result].padEnd(8)} ${text}`;

const findingText = ({ field, message, instead }: MigrateFinding): string =>
  `${field === undefined ? '' : `${field}: `}${message}${instead === undefined ? '' : `; instead: ${instead}`}`;

const nameOf = ({ kind, namespace, name, alike }: ObjectReport): string =>
  `${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}${alike === undefined ? '' : ` and ${alike} more`}`;

const count = (number: number, one: string, many: string): string => `${number} ${number === 1 ? one : many}`;

/** The report as lines for people: objects, what could not be read, what was assumed, and a summary. */
export function* reportLines({ objects, problems, assumed, others }: MigrateReport): Generator<string> {
  for (const object of objects) {
    const place = object.place === undefined ? '' : ` (${object.place})`;
    yield line(object.result, `${nameOf(object)}${place}`);
    for (const finding of object.findings)
      if (finding.result !== 'works' || finding.message !== '')
        yield `         ${finding.result === 'works' ? '' : `${words[finding.result]}: `}${findingText(finding)}`;
  }
  for (const { file, line: at, message } of problems)
    yield `UNREAD   ${file}${at > 0 ? `:${at}` : ''}: ${message}`;
  yield '';
  if (assumed.length > 0)
    yield `Not given, so assumed to exist and to have a waypoint: Service ${assumed.join(', ')}. For an exact answer add them: kubectl get services -A -o yaml`;
  const counts = (['works', 'differs', 'missing', 'closed'] as const).map(
    (result) => objects.filter((one) => one.result === result).length,
  );
  const [working = 0, differing = 0, missing = 0, closed = 0] = counts;
  const other = Object.values(others).reduce((sum, number) => sum + number, 0);
  yield [
    `${count(objects.length, 'object', 'objects')} of a mesh: ${count(working, 'works', 'work')}`,
    `${count(differing, 'works with a difference', 'work with a difference')}`,
    `${count(missing, 'is', 'are')} not carried out in full`,
    `${count(closed, 'is', 'are')} closed in part`,
    ...(problems.length > 0 ? [`${count(problems.length, 'place', 'places')} could not be read`] : []),
    ...(other > 0 ? [`${count(other, 'other object needs', 'other objects need')} nothing`] : []),
  ].join(', ');
}
