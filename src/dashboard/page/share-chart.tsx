/** The success of requests over time, with a mark for each change: a drop stands beside its cause. */
import type { Change } from '../../model/change.js';
import type { MeshSnapshot } from '../../model/mesh-snapshot.js';
import { clockText, countOf, shareText } from '../view/format.js';
import { sharePoints, type Point } from '../view/history.js';
import { visibleText } from '../view/text.js';
import { Empty } from './parts.js';

const box = { width: 600, height: 70 };
const pointsLeast = 3;

export function ShareChart({
  points,
  changes,
  snapshot,
}: {
  readonly points: readonly Point[];
  readonly changes: readonly Change[];
  readonly snapshot: MeshSnapshot;
}) {
  const first = points[0];
  if (points.length < pointsLeast || !first)
    return <Empty>The line of success over time begins when this page is open for some seconds.</Empty>;
  const toMs = snapshot.takenMs;
  const { line, lowest } = sharePoints(points, { ...box, fromMs: first.timeMs, toMs });
  const marks = changes.filter(({ timeMs }) => timeMs >= first.timeMs && timeMs <= toMs);
  const label = `Success from ${clockText(first.timeMs)} to ${clockText(toMs)}: now ${shareText(points.at(-1)?.successShare)}, with ${countOf(marks.length, 'change')}`;
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
          const x = ((timeMs - first.timeMs) / Math.max(1, toMs - first.timeMs)) * box.width;
          return (
            <path key={`${timeMs} ${kind} ${name}`} class="mark" d={`M${x} -4V${box.height + 4}`}>
              <title>{visibleText(`${clockText(timeMs)} ${kind} ${namespace}/${name} ${operation}`)}</title>
            </path>
          );
        })}
        <polyline class="line" points={line.map(({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`).join(' ')} />
      </svg>
      <figcaption>
        <span>{clockText(first.timeMs)}</span>
        <span>top 100 %, bottom {shareText(lowest)}; lines across are changes</span>
        <span>{clockText(toMs)}</span>
      </figcaption>
    </figure>
  );
}
