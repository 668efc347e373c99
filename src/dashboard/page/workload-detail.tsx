/** One workload: who it is, where it runs, who calls it, whom it calls, and which policies apply to it. */
import type { EdgeState, MeshSnapshot } from '../../model/mesh-snapshot.js';
import { nameWithPort, observedOnly } from '../../model/party-name.js';
import { changesBeside } from '../view/changes.js';
import { edgeRate, filteredEdges } from '../view/edges.js';
import { countOf, rateText, unknownText } from '../view/format.js';
import { selecting, unfiltered, type Route } from '../view/route.js';
import { ifKnown, inPartText, isIncomplete, isUnknown, notKnownText, ofPart } from '../view/unknown.js';
import { ChangeList } from './changes.js';
import { Detail, Row } from './edge-detail.js';
import { Badge, EdgeBadge, Link, Name, NoRows } from './parts.js';

const outsideText = 'outside of the mesh, or you may not read it';
const podsShown = 12;
const changesShown = 4;

export function WorkloadDetail({
  snapshot,
  route,
  id,
  nowMs,
}: {
  readonly snapshot: MeshSnapshot;
  readonly route: Route;
  readonly id: string;
  readonly nowMs: number;
}) {
  const workload = snapshot.workloads.find((one) => one.id === id) ?? observedOnly(id);
  const noneText = workload.isObservedOnly === true ? unknownText : 'none';
  const policies = snapshot.policies.filter(({ workloads }) => workloads.includes(id));
  const incoming = snapshot.edges.filter(({ destination }) => destination === id);
  const outgoing = snapshot.edges.filter(({ source }) => source === id);
  const beside = changesBeside(snapshot.changes, [workload.namespace]).slice(0, changesShown);
  return (
    <Detail title="Workload" route={route}>
      <p class="ends">
        <strong>
          <Name text={id} />
        </strong>
      </p>
      {workload.isObservedOnly === true ? (
        <p class="muted">
          {isUnknown(snapshot, 'workloads')
            ? `It was seen in edges; more is ${notKnownText}`
            : `It was only seen in edges: it is ${outsideText}.`}
        </p>
      ) : undefined}
      <dl class="values">
        <Row name="Identity">
          {workload.identity === undefined ? noneText : <Name text={workload.identity} />}
        </Row>
        <Row name="Services">
          {workload.services.length === 0
            ? noneText
            : workload.services.map((service) => <Name key={service} text={service} />)}
        </Row>
        <Row name="Waypoint">
          {workload.waypoint === undefined ? noneText : <Name text={workload.waypoint} />}
        </Row>
      </dl>
      <EdgeList title="Called by" snapshot={snapshot} edges={incoming} route={route} end="source" />
      <EdgeList title="Calls" snapshot={snapshot} edges={outgoing} route={route} end="destination" />
      <section>
        <h3>Policies</h3>
        {policies.length === 0 ? (
          <NoRows isUnknown={isUnknown(snapshot, 'policies')}>
            {isIncomplete(snapshot, 'policies') || isIncomplete(snapshot, 'workloads')
              ? `None ${inPartText}.`
              : workload.isObservedOnly === true
                ? `None is known: it is ${outsideText}.`
                : 'None: everybody may connect.'}
          </NoRows>
        ) : (
          <ul class="rows">
            {policies.map((policy) => (
              <li key={`${policy.kind} ${policy.namespace}/${policy.name}`}>
                <Badge
                  tone={policy.action === 'deny' ? 'bad' : policy.action === 'allow' ? 'good' : 'neutral'}
                >
                  {policy.action}
                </Badge>
                <Link to={{ view: 'policies', namespace: '', text: `${policy.namespace}/${policy.name}` }}>
                  <Name text={`${policy.namespace}/${policy.name}`} />
                </Link>
              </li>
            ))}
          </ul>
        )}
      </section>
      <section>
        <h3>
          {workload.isObservedOnly === true
            ? 'Pods: not known'
            : ifKnown(snapshot, 'workloads', countOf(workload.pods.length, 'pod'), `Pods: ${notKnownText}`)}
        </h3>
        <ul class="rows">
          {workload.pods.slice(0, podsShown).map((pod) => (
            <li key={pod.name}>
              <Name text={pod.name} />
              <span class="muted">
                on <Name text={pod.node} />
              </span>
              {pod.isEnrolled === undefined ? (
                <Badge tone="neutral">in the mesh or not is not known</Badge>
              ) : pod.isEnrolled ? (
                <Badge tone="good">in the mesh</Badge>
              ) : (
                <Badge tone="warn">not in the mesh</Badge>
              )}
            </li>
          ))}
        </ul>
        {workload.pods.length > podsShown ? (
          <p class="muted">and {workload.pods.length - podsShown} more</p>
        ) : undefined}
      </section>
      {beside.length === 0 && !isUnknown(snapshot, 'changes') ? undefined : (
        <section>
          <h3>Changes</h3>
          <ChangeList changes={beside} snapshot={snapshot} nowMs={nowMs} />
        </section>
      )}
    </Detail>
  );
}

function EdgeList({
  title,
  snapshot,
  edges,
  route,
  end,
}: {
  readonly title: string;
  readonly snapshot: MeshSnapshot;
  readonly edges: readonly EdgeState[];
  readonly route: Route;
  readonly end: 'source' | 'destination';
}) {
  return (
    <section>
      <h3>{title}</h3>
      {edges.length === 0 ? (
        <NoRows isUnknown={isUnknown(snapshot, 'edges')}>
          {ofPart(snapshot, 'edges', 'Nobody was seen')}.
        </NoRows>
      ) : undefined}
      <ul class="rows">
        {filteredEdges(edges, unfiltered).map((edge) => (
          <li key={edge.id}>
            <EdgeBadge edge={edge} />
            <Link to={selecting(route, { edge: edge.id })}>
              <Name text={end === 'source' ? edge.source : nameWithPort(edge.destination, edge.port)} />
            </Link>
            <span class="muted">{rateText(edgeRate(edge))}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}
