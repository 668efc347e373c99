/** Who is allowed to do what, and what was refused. */
import type { MeshSnapshot, PolicyState } from '../../model/mesh-snapshot.js';
import { namespacesOf } from '../view/edges.js';
import { countOf, countText } from '../view/format.js';
import { filteredPolicies, isUnenforced } from '../view/policies.js';
import { selecting, unfiltered, type Route } from '../view/route.js';
import { visibleText } from '../view/text.js';
import { inPartText, isIncomplete, isUnknown, notKnownText, ofPart } from '../view/unknown.js';
import { FilterBar } from './filter-bar.js';
import { Badge, EdgeList, Link, Name, NoRows } from './parts.js';

const shownOf = 8;

export function PoliciesView({
  snapshot,
  route,
}: {
  readonly snapshot: MeshSnapshot;
  readonly route: Route;
}) {
  const policies = filteredPolicies(snapshot.policies, route);
  return (
    <>
      <FilterBar route={route} namespaces={namespacesOf(snapshot)} />
      {policies.length === 0 ? (
        <NoRows isUnknown={isUnknown(snapshot, 'policies')}>
          {snapshot.policies.length > 0
            ? 'The filter leaves no policy.'
            : isIncomplete(snapshot, 'policies')
              ? `No policy ${inPartText}.`
              : 'No policies: what has no policy is allowed.'}
        </NoRows>
      ) : (
        <>
          {isIncomplete(snapshot, 'policies') ? (
            <p class="muted">There may be other policies: some kinds could not be read, see above.</p>
          ) : undefined}
          <div class="cards">
            {policies.map((policy) => (
              <Policy
                key={`${policy.kind} ${policy.namespace}/${policy.name}`}
                policy={policy}
                snapshot={snapshot}
              />
            ))}
          </div>
        </>
      )}
    </>
  );
}

function Policy({ policy, snapshot }: { readonly policy: PolicyState; readonly snapshot: MeshSnapshot }) {
  const name = `${policy.namespace}/${policy.name}`;
  const edges = snapshot.edges.filter(({ policies }) => policies.includes(name)).slice(0, shownOf);
  return (
    <article class="panel">
      <header>
        <h2>
          <Name text={name} />
        </h2>
        <span class="muted">{visibleText(policy.kind)}</span>
        <Badge tone={policy.action === 'deny' ? 'bad' : policy.action === 'allow' ? 'good' : 'neutral'}>
          {policy.action}
        </Badge>
        {isUnenforced(policy, snapshot.problems) ? (
          <Badge tone="bad">not in force as written</Badge>
        ) : isUnknown(snapshot, 'problems') ? (
          <Badge tone="neutral">in force as written or not: not known</Badge>
        ) : undefined}
        {policy.isAudited ? <Badge tone="warn">audit mode: refuses nothing</Badge> : undefined}
      </header>
      <ul class="rules">
        {policy.rules.length === 0 ? (
          <li>{policy.action === 'allow' ? 'It allows nobody.' : 'It has no rules.'}</li>
        ) : undefined}
        {policy.rules.map((rule, index) => (
          <li key={index}>{visibleText(rule)}</li>
        ))}
      </ul>
      <p class="muted">
        {policy.workloads.length > 0
          ? 'For '
          : isUnknown(snapshot, 'workloads')
            ? `To which workloads it applies is ${notKnownText}`
            : `${ofPart(snapshot, 'workloads', 'It applies to no workload')}.`}
        {policy.workloads.slice(0, shownOf).map((id, index) => (
          <span key={id}>
            {index > 0 ? ', ' : ''}
            <Link to={selecting({ view: 'graph', ...unfiltered }, { workload: id })}>
              <Name text={id} />
            </Link>
          </span>
        ))}
        {policy.workloads.length > shownOf ? ` and ${countText(policy.workloads.length - shownOf)} more` : ''}
      </p>
      <p>
        {isUnknown(snapshot, 'edges') ? (
          <span class="muted">How often it refused is {notKnownText}</span>
        ) : policy.refused === 0 && policy.audited === 0 ? (
          <span class="muted">{ofPart(snapshot, 'edges', 'Nothing was refused by it')}.</span>
        ) : (
          <>
            {policy.refused > 0 ? (
              <Badge tone="bad">{countOf(policy.refused, 'time')} refused</Badge>
            ) : undefined}{' '}
            {policy.audited > 0 ? (
              <Badge tone="warn">{countOf(policy.audited, 'time')} would be refused</Badge>
            ) : undefined}
          </>
        )}
      </p>
      {edges.length === 0 ? undefined : <EdgeList edges={edges} />}
    </article>
  );
}
