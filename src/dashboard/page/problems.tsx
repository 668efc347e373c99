/** What is wrong, and what to do about it. */
import type { MeshSnapshot, Problem } from '../../model/mesh-snapshot.js';
import { visibleText } from '../view/text.js';
import { inPartText, isIncomplete, isUnknown } from '../view/unknown.js';
import { Badge, Name, NoRows } from './parts.js';

/** What could not be read may have problems too, so an incomplete list never says that there is none. */
export function ProblemList({
  problems,
  snapshot,
}: {
  readonly problems: readonly Problem[];
  readonly snapshot: MeshSnapshot;
}) {
  if (problems.length === 0)
    return (
      <NoRows isUnknown={isUnknown(snapshot, 'problems')}>
        {snapshot.incomplete.length > 0 ? `No problem ${inPartText}.` : 'No problems.'}
      </NoRows>
    );
  return (
    <>
      {isIncomplete(snapshot, 'problems') ? (
        <p class="muted">There may be other problems: some objects could not be read, see above.</p>
      ) : undefined}
      <ul class="rows problems">
        {problems.map((problem, index) => (
          <li key={index}>
            <Badge tone={problem.level === 'fail' ? 'bad' : 'warn'}>
              {problem.level === 'fail' ? 'error' : 'warning'}
            </Badge>
            <div>
              {problem.object === undefined ? undefined : (
                <strong>
                  <Name text={problem.object} />
                </strong>
              )}
              <p>{visibleText(problem.what)}</p>
              {problem.help === undefined ? undefined : <p class="help">{visibleText(problem.help)}</p>}
            </div>
          </li>
        ))}
      </ul>
    </>
  );
}

export function ProblemsView({ snapshot }: { readonly snapshot: MeshSnapshot }) {
  const fails = snapshot.problems.filter(({ level }) => level === 'fail');
  const warnings = snapshot.problems.filter(({ level }) => level !== 'fail');
  return <ProblemList problems={[...fails, ...warnings]} snapshot={snapshot} />;
}
