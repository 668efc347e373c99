/** Every edge as a row: what a screen reader reads in place of the graph. */
import { useState } from 'preact/hooks';
import type { EdgeState } from '../../model/mesh-snapshot.js';
import { nameWithPort } from '../../model/party-name.js';
import { edgeHealth, edgeRate } from '../view/edges.js';
import { countText, percentileText, rateText, shareText } from '../view/format.js';
import { selecting, type Route } from '../view/route.js';
import { inPartText } from '../view/unknown.js';
import { EdgeBadge, Link, Name, NoRows, PathText, Security } from './parts.js';

/** More rows take the browser longer to lay out than the first view may take. */
const rowsFirst = 300;

export function EdgeTable({
  edges,
  route,
  caption,
  isUnknown,
  isPartial,
}: {
  readonly edges: readonly EdgeState[];
  readonly route: Route;
  readonly caption: string;
  readonly isUnknown: boolean;
  readonly isPartial: boolean;
}) {
  const [isWhole, setWhole] = useState(false);
  if (edges.length === 0)
    return (
      <NoRows isUnknown={isUnknown}>
        No edges: nothing was observed here in this time{isPartial ? `, ${inPartText}` : ''}, or the filter
        leaves none.
      </NoRows>
    );
  const shown = isWhole ? edges : edges.slice(0, rowsFirst);
  return (
    <div class="table-box" role="region" aria-label={caption} tabIndex={0}>
      <table class="edges">
        <caption class="unseen">{caption}</caption>
        <thead>
          <tr>
            <th scope="col">From</th>
            <th scope="col">To</th>
            <th scope="col">State</th>
            <th scope="col">Security</th>
            <th scope="col">Path</th>
            <th scope="col" class="number">
              Rate
            </th>
            <th scope="col" class="number">
              Success
            </th>
            <th scope="col" class="number">
              p50
            </th>
            <th scope="col" class="number">
              p99
            </th>
            <th scope="col" class="number">
              Refused
            </th>
          </tr>
        </thead>
        <tbody>
          {shown.map((edge) => (
            <EdgeRow key={edge.id} edge={edge} route={route} />
          ))}
        </tbody>
      </table>
      {shown.length < edges.length ? (
        <button type="button" class="more" onClick={() => setWhole(true)}>
          Show all {countText(edges.length)} edges
        </button>
      ) : undefined}
    </div>
  );
}

function EdgeRow({ edge, route }: { readonly edge: EdgeState; readonly route: Route }) {
  const isSelected = route.edge === edge.id;
  return (
    <tr
      data-edge-id={edge.id}
      data-health={edgeHealth(edge)}
      class={isSelected ? 'selected' : undefined}
      aria-current={isSelected ? 'true' : undefined}
    >
      <th scope="row">
        <Link to={selecting(route, { edge: edge.id })}>
          <Name text={edge.source} />
        </Link>
      </th>
      <td>
        <Name text={nameWithPort(edge.destination, edge.port)} />
      </td>
      <td>
        <EdgeBadge edge={edge} />
      </td>
      <td>
        <Security security={edge.security} />
      </td>
      <td>
        <PathText path={edge.path} />
      </td>
      <td class="number" title={edge.requests > 0 ? 'requests' : 'connections'}>
        {rateText(edgeRate(edge))}
      </td>
      <td class="number">{shareText(edge.successShare)}</td>
      <td class="number">{percentileText(edge.latencyMs?.p50)}</td>
      <td class="number">{percentileText(edge.latencyMs?.p99)}</td>
      <td class="number">{countText(edge.refused)}</td>
    </tr>
  );
}
