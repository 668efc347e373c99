/** One edge: what it does, what refused it, its routes, and what changed beside it. */
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { EdgeState, MeshSnapshot } from '../../model/mesh-snapshot.js';
import { namespaceOf } from '../../model/party-name.js';
import { connectionRate, requestRate } from '../../telemetry/observed/rates.js';
import { changesBeside } from '../view/changes.js';
import { edgeHealth } from '../view/edges.js';
import { edgePoints } from '../view/history.js';
import {
  bytesText,
  countOf,
  countText,
  percentileText,
  rateText,
  shareText,
  unknownText,
} from '../view/format.js';
import { selecting, type Route } from '../view/route.js';
import { isUnknown, ofPart } from '../view/unknown.js';
import { ChangeList } from './changes.js';
import { ExplainPanel } from './explain-panel.js';
import type { Live } from './live.js';
import { Ago, EdgeBadge, Link, Name, NoRows, PathText, Security } from './parts.js';
import { ShareChart } from './share-chart.js';

const changesShown = 4;

export function EdgeDetail({
  snapshot,
  live,
  route,
  id,
  nowMs,
}: {
  readonly snapshot: MeshSnapshot;
  readonly live: Live;
  readonly route: Route;
  readonly id: string;
  readonly nowMs: number;
}) {
  const edge = snapshot.edges.find((one) => one.id === id);
  if (!edge)
    return (
      <Detail title="Edge" route={route}>
        <NoRows isUnknown={isUnknown(snapshot, 'edges')}>
          {ofPart(snapshot, 'edges', 'This edge was not seen in this time')}.
        </NoRows>
      </Detail>
    );
  const beside = changesBeside(snapshot.changes, [namespaceOf(edge.source), namespaceOf(edge.destination)]);
  return (
    <Detail title="Edge" route={route}>
      <p class="ends">
        <Link to={selecting(route, { workload: edge.source })}>
          <Name text={edge.source} />
        </Link>
        <span> calls </span>
        <Link to={selecting(route, { workload: edge.destination })}>
          <Name text={edge.destination} />
        </Link>
      </p>
      <p class="tags">
        <EdgeBadge edge={edge} />
        <Security security={edge.security} />
        <PathText path={edge.path} />
      </p>
      <EdgeFigures edge={edge} nowMs={nowMs} />
      {edge.policies.length === 0 ? undefined : (
        <section>
          <h3>Policies that {edge.refused > 0 ? 'refused' : 'would refuse'} it</h3>
          <ul class="rows">
            {edge.policies.map((policy) => (
              <li key={policy}>
                <Link to={{ view: 'policies', namespace: '', text: policy }}>
                  <Name text={policy} />
                </Link>
              </li>
            ))}
          </ul>
        </section>
      )}
      {live.isStatic ? undefined : <ExplainPanel edge={edge} />}
      {edge.routes.length === 0 ? undefined : <Routes edge={edge} />}
      <section>
        <h3>Success and changes</h3>
        {edge.requests === 0 || edgeHealth(edge) === 'denied' ? undefined : (
          <ShareChart
            points={snapshot.history ? edgePoints(snapshot.history, edge) : []}
            changes={beside}
            snapshot={snapshot}
          />
        )}
        {beside.length === 0 ? (
          <NoRows isUnknown={isUnknown(snapshot, 'changes')}>
            {ofPart(snapshot, 'changes', 'Nothing changed in these namespaces')}.
          </NoRows>
        ) : (
          <ChangeList changes={beside.slice(0, changesShown)} snapshot={snapshot} nowMs={nowMs} />
        )}
      </section>
    </Detail>
  );
}

function EdgeFigures({ edge, nowMs }: { readonly edge: EdgeState; readonly nowMs: number }) {
  return (
    <dl class="values">
      <Row name="Service">{edge.service === undefined ? unknownText : <Name text={edge.service} />}</Row>
      <Row name="Port">{edge.port === 0 ? unknownText : edge.port}</Row>
      <Row name="Requests">
        {edge.requests === 0
          ? unknownText
          : `${rateText(requestRate(edge))}, ${countText(edge.requests)} in total`}
      </Row>
      <Row name="Success">
        {shareText(edge.successShare)}
        {edge.failures > 0 ? `, ${countOf(edge.failures, 'failure')}` : ''}
      </Row>
      <Row name="Latency">
        p50 {percentileText(edge.latencyMs?.p50)}, p95 {percentileText(edge.latencyMs?.p95)}, p99{' '}
        {percentileText(edge.latencyMs?.p99)}
      </Row>
      <Row name="Connections">
        {rateText(connectionRate(edge))}, {countText(edge.connections)} in total
      </Row>
      <Row name="Bytes">
        {bytesText(edge.bytesSent)} sent, {bytesText(edge.bytesReceived)} received
      </Row>
      <Row name="Refused">
        {countText(edge.refused)}
        {edge.audited > 0 ? `, ${countText(edge.audited)} would be refused` : ''}
      </Row>
      <Row name="Last seen">
        {edge.lastSeenMs === 0 ? unknownText : <Ago timeMs={edge.lastSeenMs} nowMs={nowMs} />}
      </Row>
    </dl>
  );
}

function Routes({ edge }: { readonly edge: EdgeState }) {
  return (
    <section>
      <h3>Routes</h3>
      <div class="table-box" role="region" aria-label="Routes of the edge" tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th scope="col">Route</th>
              <th scope="col" class="number">
                Requests
              </th>
              <th scope="col" class="number">
                Success
              </th>
              <th scope="col" class="number">
                p99
              </th>
            </tr>
          </thead>
          <tbody>
            {edge.routes.map((one) => (
              <tr key={`${one.method} ${one.pathTemplate}`}>
                <th scope="row">
                  <Name text={`${one.method} ${one.pathTemplate}`} />
                </th>
                <td class="number">{countText(one.requests)}</td>
                <td class="number">
                  {shareText(one.requests === 0 ? undefined : 1 - one.failures / one.requests)}
                </td>
                <td class="number">{percentileText(one.latencyMs?.p99)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

export function Row({ name, children }: { readonly name: string; readonly children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** Where the keyboard goes when the selection is closed: the row of the edge, else the graph. */
function focusBack({ edge }: Route): void {
  const rows = [...document.querySelectorAll<HTMLElement>('tr[data-edge-id]')];
  const row = rows.find(({ dataset }) => dataset['edgeId'] === edge);
  (row?.querySelector('a') ?? document.querySelector<HTMLElement>('.graph-canvas'))?.focus();
}

/** What is selected in the graph. */
export function Detail({
  title,
  route,
  children,
}: {
  readonly title: string;
  readonly route: Route;
  readonly children: ComponentChildren;
}) {
  const section = useRef<HTMLElement>(null);
  // A link was followed: what it leads to is read next, and is on the screen. A click in the graph leaves the reader there.
  useEffect(() => {
    if (document.activeElement instanceof HTMLAnchorElement || document.activeElement === document.body)
      section.current?.focus();
  }, []);
  return (
    <section ref={section} class="panel detail" aria-labelledby="detail" tabIndex={-1}>
      <header>
        <h2 id="detail">{title}</h2>
        <Link to={selecting(route, undefined)} onClick={() => focusBack(route)}>
          Close
        </Link>
      </header>
      {children}
    </section>
  );
}
