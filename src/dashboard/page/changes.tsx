/** What changed, when, by whom, and which programs have it. */
import type { Change } from '../../model/change.js';
import type { MeshSnapshot } from '../../model/mesh-snapshot.js';
import { countOf, countText } from '../view/format.js';
import { visibleText } from '../view/text.js';
import { isIncomplete, isUnknown, ofPart } from '../view/unknown.js';
import { Ago, Badge, Name, NoRows } from './parts.js';
import { MeshChart } from './share-chart.js';

const tones = { created: 'info', updated: 'neutral', deleted: 'warn' } as const;

function receiversText({ receivers, omitted }: Change): string {
  const has =
    receivers.filter(({ acknowledgedMs }) => acknowledgedMs !== undefined).length +
    (omitted?.acknowledged ?? 0);
  const total = receivers.length + (omitted === undefined ? 0 : omitted.acknowledged + omitted.waiting);
  if (total === 0) return 'sent to no program';
  return has === total
    ? `${countOf(total, 'program')} acknowledged it`
    : `${countText(has)} of ${countOf(total, 'program')} acknowledged it`;
}

export function ChangeList({
  changes,
  snapshot,
  nowMs,
}: {
  readonly changes: readonly Change[];
  readonly snapshot: MeshSnapshot;
  readonly nowMs: number;
}) {
  if (changes.length === 0)
    return (
      <NoRows isUnknown={isUnknown(snapshot, 'changes')}>
        {ofPart(snapshot, 'changes', 'No changes since the control plane started')}.
      </NoRows>
    );
  // A replica that does not answer may know of more acknowledgments.
  const isPartial = isIncomplete(snapshot, 'changes');
  return (
    <ol class="rows changes">
      {changes.map((change) => {
        const refused = change.receivers.filter((receiver) => receiver.refused !== undefined);
        return (
          <li key={`${change.timeMs} ${change.kind} ${change.namespace} ${change.name} ${change.operation}`}>
            <span class="when">
              <Ago timeMs={change.timeMs} nowMs={nowMs} />
            </span>
            <Badge tone={tones[change.operation]}>{change.operation}</Badge>
            <div>
              <strong>
                <Name
                  text={`${change.kind} ${change.namespace === '' ? '' : `${change.namespace}/`}${change.name}`}
                />
              </strong>
              <p class="muted">
                {change.by === undefined ? '' : `by ${visibleText(change.by)} · `}
                {change.file === undefined ? '' : `from ${visibleText(change.file)} · `}
                {receiversText(change)}
                {isPartial ? ', as far as is known' : ''}
              </p>
              {refused.map((receiver) => (
                <p key={receiver.name} class="bad-text">
                  <Name text={receiver.name} /> did not accept it: {visibleText(receiver.refused ?? '')}
                </p>
              ))}
            </div>
          </li>
        );
      })}
    </ol>
  );
}

export function ChangesView({
  snapshot,
  nowMs,
}: {
  readonly snapshot: MeshSnapshot;
  readonly nowMs: number;
}) {
  return (
    <>
      <MeshChart snapshot={snapshot} />
      <ChangeList changes={snapshot.changes} snapshot={snapshot} nowMs={nowMs} />
    </>
  );
}
