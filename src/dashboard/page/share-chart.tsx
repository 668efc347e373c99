/** The success of requests over time, with a mark for each change: a drop stands beside its cause. */
import type { Change } from '../../model/change.js';
import type { MeshSnapshot } from '../../model/mesh-snapshot.js';
import { clockText, countOf, shareText } from '../view/format.js';
import { meshPoints, shareLines, type SharePoint } from '../view/history.js';
import { visibleText } from '../view/text.js';
import { isUnknown, notKnownText, ofPart } from '../view/unknown.js';
import { Empty } from './parts.js';

const box = { width: 600, height: 70 };

export function ShareChart({
  points,
  changes,
  snapshot,
}: {
  readonly points: readonly SharePoint[];
  readonly changes: readonly Change[];
  readonly snapshot: MeshSnapshot;
}) {
  const { history, takenMs: toMs } = snapshot;
  if (!history) return <Empty>Success over time is {notKnownText}</Empty>;
  const { fromMs, slotMs } = history;
  const { lines, lowest } = shareLines(points, { ...box, fromMs, toMs, slotMs });
  if (lines.length === 0)
    return (
      <Empty>
        {ofPart(
          snapshot,
          'history',
          `No request passed since ${clockText(fromMs)}, where what is known begins`,
        )}
        .
      </Empty>
    );
  const marks = changes.filter(({ timeMs }) => timeMs >= fromMs && timeMs <= toMs);
  const label = `Success from ${clockText(fromMs)} to ${clockText(toMs)}: last ${shareText(points.at(-1)?.successShare)}, with ${countOf(marks.length, 'change')}`;
  return (
    <figure class="share-chart">
      <svg
        viewBox={`0 -4 ${box.width} ${box.height + 8}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={label}
      >
        <path class="frame" d={`M0 0H${box.width}M0 ${box.height}H${box.width}`} />
        {marks.map(({ timeMs, kind, namespace, name, operation }) => {
          const x = ((timeMs - fromMs) / Math.max(1, toMs - fromMs)) * box.width;
          return (
            <path
              key={`${timeMs} ${kind} ${namespace} ${name} ${operation}`}
              class="mark"
              d={`M${x} -4V${box.height + 4}`}
            >
              <title>{visibleText(`${clockText(timeMs)} ${kind} ${namespace}/${name} ${operation}`)}</title>
            </path>
          );
        })}
        {lines.map((line) => (
          <polyline
            key={line[0]?.x}
            class="line"
            points={line.map(({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`).join(' ')}
          />
        ))}
      </svg>
      <figcaption>
        <span>{clockText(fromMs)}</span>
        <span>
          {ofPart(snapshot, 'history', `100 % to ${shareText(lowest)}`)}; dashed lines are{' '}
          {ofPart(snapshot, 'changes', 'changes')}
          {isUnknown(snapshot, 'changes') ? ' (not known)' : ''}; gaps have no requests
        </span>
        <span>{clockText(toMs)}</span>
      </figcaption>
    </figure>
  );
}

/** The line of all edges. */
export const MeshChart = ({ snapshot }: { readonly snapshot: MeshSnapshot }) => (
  <ShareChart
    points={snapshot.history ? meshPoints(snapshot.history) : []}
    changes={snapshot.changes}
    snapshot={snapshot}
  />
);
