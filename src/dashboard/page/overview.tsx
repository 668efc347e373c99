/** Whether the mesh is well, and if not, where. */
import type { ComponentChildren } from 'preact';
import type { MeshSnapshot, ProgramState, SnapshotPart } from '../../model/mesh-snapshot.js';
import { edgeHealth, filteredEdges, sumsOf } from '../view/edges.js';
import {
  countOf,
  countText,
  durationText,
  rateText,
  shareText,
  unknownText,
  untilText,
} from '../view/format.js';
import {
  expiringSoon,
  summaryOf,
  syncOf,
  undatedPrograms,
  versionsOf,
  type ProgramSummary,
} from '../view/programs.js';
import { unfiltered } from '../view/route.js';
import { visibleText } from '../view/text.js';
import { ifKnown, isUnknown, notKnownText, ofPart } from '../view/unknown.js';
import { ChangeList } from './changes.js';
import { Badge, EdgeList, Link, Name, NoRows, Panel } from './parts.js';
import { ProblemList } from './problems.js';
import { MeshChart } from './share-chart.js';

const topOf = 5;

export function Overview({ snapshot, nowMs }: { readonly snapshot: MeshSnapshot; readonly nowMs: number }) {
  const { edges, workloads, problems } = snapshot;
  const sums = sumsOf(edges);
  const worst = filteredEdges(edges, unfiltered)
    .filter((edge) => edgeHealth(edge) !== 'fine')
    .slice(0, topOf);
  const known = (part: SnapshotPart, text: string): string =>
    ifKnown(snapshot, part, ofPart(snapshot, part, text), notKnownText);
  const figure = (text: string): string => ifKnown(snapshot, 'edges', text);
  return (
    <>
      <dl class="figures">
        <Figure name="Requests" of={known('workloads', countOf(workloads.length, 'workload'))}>
          {figure(rateText(sums.requestsPerSecond))}
        </Figure>
        <Figure
          name="Success"
          of={known(
            'edges',
            `${countOf(sums.failures, 'failure')} in ${durationText(snapshot.takenMs - snapshot.fromMs)}`,
          )}
        >
          {shareText(sums.successShare)}
        </Figure>
        <Figure
          name="Connections"
          of={known(
            'edges',
            `${countText(sums.kernelEdges)} of ${countOf(edges.length, 'edge')} in the kernel`,
          )}
        >
          {figure(rateText(sums.connectionsPerSecond))}
        </Figure>
        <Figure
          name="Refused"
          of={known('edges', `${countText(sums.audited)} would be refused`)}
          isBad={sums.refused > 0}
        >
          {figure(countText(sums.refused))}
        </Figure>
        <Figure
          name="Protected"
          of={known('edges', 'edges with mutual TLS or on one node')}
          isBad={sums.protectedEdges < sums.knownEdges}
        >
          {sums.knownEdges === 0
            ? unknownText
            : `${countText(sums.protectedEdges)} / ${countText(sums.knownEdges)}`}
        </Figure>
      </dl>
      <div class="columns">
        <Panel title="Programs" id="programs">
          <Programs snapshot={snapshot} />
        </Panel>
        <Panel title="Certificates, versions, configuration" id="state">
          <Currency snapshot={snapshot} nowMs={nowMs} />
        </Panel>
        <Panel
          title="Problems"
          id="top-problems"
          aside={
            problems.length > topOf ? (
              <Link to={{ ...unfiltered, view: 'problems' }}>All {countText(problems.length)}</Link>
            ) : undefined
          }
        >
          <ProblemList problems={problems.slice(0, topOf)} snapshot={snapshot} />
        </Panel>
        <Panel
          title="Edges to look at"
          id="worst"
          aside={<Link to={{ ...unfiltered, view: 'graph' }}>Graph</Link>}
        >
          {worst.length === 0 ? (
            <NoRows isUnknown={isUnknown(snapshot, 'edges')}>
              {ofPart(
                snapshot,
                'edges',
                edges.length === 0 ? 'No edges were observed' : 'No edge was refused, and none fails',
              )}
              .
            </NoRows>
          ) : (
            <EdgeList edges={worst} />
          )}
        </Panel>
      </div>
      <Panel
        title="Success and changes"
        id="timeline"
        aside={<Link to={{ ...unfiltered, view: 'changes' }}>All changes</Link>}
      >
        <MeshChart snapshot={snapshot} />
        <ChangeList changes={snapshot.changes.slice(0, topOf)} snapshot={snapshot} nowMs={nowMs} />
      </Panel>
    </>
  );
}

function Figure({
  name,
  of,
  children,
  isBad,
}: {
  name: string;
  of: string;
  children: ComponentChildren;
  isBad?: boolean;
}) {
  return (
    <div class={isBad === true ? 'figure bad' : 'figure'}>
      <dt>{name}</dt>
      <dd>
        <strong>{children}</strong>
        <span>{of}</span>
      </dd>
    </div>
  );
}

const kinds: readonly (readonly [ProgramState['kind'], string])[] = [
  ['control-plane', 'Control plane'],
  ['agent', 'Agents'],
  ['waypoint', 'Waypoints'],
  ['rate-limiter', 'Rate limiters'],
];

function Programs({ snapshot }: { readonly snapshot: MeshSnapshot }) {
  const { programs, programsUnread = [] } = snapshot;
  const rows = kinds
    .map(([kind, name]) => ({
      kind,
      name,
      summary: summaryOf(programs, kind),
      unread: programsUnread.filter((one) => one.kind === kind),
    }))
    .filter(({ summary, unread }) => summary.total > 0 || unread.length > 0);
  if (rows.length === 0)
    return <NoRows isUnknown={isUnknown(snapshot, 'programs')}>No program is known.</NoRows>;
  return (
    <ul class="rows">
      {rows.map(({ kind, name, summary, unread }) => (
        <li key={kind} class="program">
          <span class="program-kind">{name}</span>
          <ReadyBadge summary={summary} areAllRead={unread.length === 0} />
          {summary.problems.length === 0 && unread.length === 0 ? undefined : (
            <ul>
              {unread.map(({ why }) => (
                <li key={why}>
                  {summary.total > 0 ? 'not all are known' : 'they are not known'}: {visibleText(why)}
                </li>
              ))}
              {summary.problems.slice(0, topOf).map((program) => (
                <li key={program.name}>
                  <Name text={program.name} />{' '}
                  {program.health === 'unknown' ? 'is not known' : 'is not ready'}
                  {program.why === undefined ? '' : `: ${visibleText(program.why)}`}
                </li>
              ))}
              {summary.problems.length > topOf ? (
                <li>and {countText(summary.problems.length - topOf)} more</li>
              ) : undefined}
            </ul>
          )}
        </li>
      ))}
    </ul>
  );
}

/** Nothing is good while some are not known, and nothing is bad for that alone. */
function ReadyBadge({
  summary: { ready, total, unknown },
  areAllRead,
}: {
  readonly summary: ProgramSummary;
  readonly areAllRead: boolean;
}) {
  if (unknown === total) return <Badge tone="neutral">not known</Badge>;
  const tone = ready + unknown < total ? 'bad' : unknown > 0 || !areAllRead ? 'neutral' : 'good';
  return (
    <Badge tone={tone}>
      {countText(ready)} of {countText(total)} ready
      {unknown > 0 ? `, ${countText(unknown)} not known` : ''}
    </Badge>
  );
}

const namedMax = 3;
const namesText = (programs: readonly ProgramState[]): string =>
  programs.length <= namedMax
    ? programs.map(({ name }) => visibleText(name)).join(', ')
    : countOf(programs.length, 'program');

function Currency({ snapshot, nowMs }: { readonly snapshot: MeshSnapshot; readonly nowMs: number }) {
  const { programs, programsUnread = [] } = snapshot;
  const undated = undatedPrograms(programs);
  const soon = expiringSoon(snapshot, nowMs);
  const dated = programs.filter(({ certificateExpiresMs }) => certificateExpiresMs !== undefined).length;
  const versions = versionsOf(programs);
  // A program whose version is not known need not have another one.
  const known = versions.filter(({ version }) => version !== undefined);
  const sync = syncOf(programs);
  const areAllRead = programsUnread.length === 0;
  const areVersionsKnown = areAllRead && known.length === versions.length;
  return (
    <ul class="rows">
      {programsUnread.length > 0 ? (
        <li class="muted">Of the programs that could be read; others are {notKnownText}</li>
      ) : undefined}
      <li>
        <span class="program-kind">Certificates</span>
        <Badge
          tone={
            soon.length > 0 ? 'bad' : dated > 0 && undated.length === 0 && areAllRead ? 'good' : 'neutral'
          }
        >
          {soon.length > 0
            ? `${countOf(soon.length, 'expires', 'expire')} soon`
            : dated === 0
              ? 'not known'
              : undated.length === 0 && areAllRead
                ? 'none expires soon'
                : 'none of those that are known expires soon'}
        </Badge>
        {soon.length === 0 && undated.length === 0 ? undefined : (
          <ul>
            {soon.slice(0, topOf).map((program) => (
              <li key={`${program.kind} ${program.name}`}>
                <Name text={program.name} /> {untilText(program.certificateExpiresMs ?? 0, nowMs)}
              </li>
            ))}
            {undated.length > 0 ? <li>not known of {namesText(undated)}</li> : undefined}
          </ul>
        )}
      </li>
      <li>
        <span class="program-kind">Versions</span>
        <Badge
          tone={known.length > 1 ? 'warn' : known.length === 0 || !areVersionsKnown ? 'neutral' : 'good'}
        >
          {known.length > 1
            ? `${countText(known.length)} different`
            : visibleText(known[0]?.version ?? 'not known')}
        </Badge>
        {versions.length <= 1 ? undefined : (
          <ul>
            {versions.map(({ version, programs: own }) => (
              <li key={version ?? ''}>
                {visibleText(version ?? 'not known')}: {countOf(own.length, 'program')}
                {own.length <= namedMax ? ` (${own.map(({ name }) => visibleText(name)).join(', ')})` : ''}
              </li>
            ))}
          </ul>
        )}
      </li>
      <li>
        <span class="program-kind">Configuration</span>
        <Badge
          tone={
            sync.behind.length > 0
              ? 'warn'
              : sync.inSync === 0 || sync.unknown > 0 || !areAllRead
                ? 'neutral'
                : 'good'
          }
        >
          {sync.behind.length > 0
            ? `${countText(sync.behind.length)} behind`
            : sync.inSync === 0
              ? 'not known'
              : `${countText(sync.inSync)} in sync`}
        </Badge>
        {sync.behind.length === 0 && (sync.unknown === 0 || sync.inSync === 0) ? undefined : (
          <ul>
            {sync.behind.slice(0, topOf).map((program) => (
              <li key={`${program.kind} ${program.name}`}>
                <Name text={program.name} /> does not have the current configuration
              </li>
            ))}
            {sync.unknown > 0 ? <li>not known of {countOf(sync.unknown, 'program')}</li> : undefined}
          </ul>
        )}
      </li>
    </ul>
  );
}
