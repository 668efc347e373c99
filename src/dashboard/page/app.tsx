/** The frame of the page: its views, whether what it shows is current, and what could not be read. */
import { useEffect, useState } from 'preact/hooks';
import type { MeshSnapshot } from '../../model/mesh-snapshot.js';
import { agoText, clockText, countText, dateText } from '../view/format.js';
import { parseRoute, routeHash, unfiltered, views, type Route, type View } from '../view/route.js';
import { visibleText } from '../view/text.js';
import { isIncomplete } from '../view/unknown.js';
import { ChangesView } from './changes.js';
import { GraphView } from './graph-view.js';
import { useLive, type Live } from './live.js';
import { Overview } from './overview.js';
import { Name } from './parts.js';
import { PoliciesView } from './policies.js';
import { ProblemsView } from './problems.js';
import { TapView } from './tap.js';
import { ThemeButton } from './theme.js';

const titles: Readonly<Record<View, string>> = {
  overview: 'Overview',
  graph: 'Graph',
  policies: 'Policies',
  problems: 'Problems',
  changes: 'Changes',
  tap: 'Live tap',
};

const windows: readonly string[] = ['1m', '5m', '15m'];

function useRoute(): Route {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    const changed = (): void => setRoute(parseRoute(location.hash));
    addEventListener('hashchange', changed);
    return () => removeEventListener('hashchange', changed);
  }, []);
  return route;
}

/** Of a snapshot in the page, its own time: everything in it was said then. */
function useNow(live: Live): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return live.isStatic && live.snapshot ? live.snapshot.takenMs : now;
}

export function App() {
  const route = useRoute();
  const live = useLive();
  const nowMs = useNow(live);
  const { snapshot } = live;
  const shown = views.filter((view) => view !== 'tap' || !live.isStatic);
  const view = shown.includes(route.view) ? route.view : 'overview';
  useEffect(() => {
    document.title = `${titles[view]} – ${visibleText(snapshot?.mesh.name ?? 'Weft')}`;
  }, [view, snapshot?.mesh.name]);
  // On a small screen the list of views scrolls.
  useEffect(() => {
    document.querySelector('nav [aria-current]')?.scrollIntoView({ inline: 'nearest', block: 'nearest' });
  }, [view]);
  return (
    <>
      <a class="skip" href="#main" onClick={skipToMain}>
        Skip to the content
      </a>
      <header class="top">
        <div class="mesh">
          <span class="brand">Weft</span>
          {snapshot ? (
            <span class="mesh-name">
              <Name text={snapshot.mesh.name} />
              <span class="muted">{snapshot.mesh.kind}</span>
            </span>
          ) : undefined}
        </div>
        <nav aria-label="Views">
          {shown.map((one) => (
            <a
              key={one}
              href={routeHash({ view: one, ...unfiltered })}
              aria-current={one === view ? 'page' : undefined}
            >
              {titles[one]}
              {one === 'problems' && snapshot ? <ProblemCount snapshot={snapshot} /> : undefined}
            </a>
          ))}
        </nav>
        <Controls live={live} nowMs={nowMs} />
      </header>
      <State live={live} />
      <main id="main" tabIndex={-1} class={live.problem === undefined ? undefined : 'stale'}>
        <h1 class={view === 'graph' ? 'unseen' : undefined}>{titles[view]}</h1>
        {snapshot && snapshot.incomplete.length > 0 ? (
          <div class="notice warn" role="note">
            <strong>This is not everything.</strong>
            <ul>
              {snapshot.incomplete.map((sentence) => (
                <li key={sentence}>{visibleText(sentence)}</li>
              ))}
            </ul>
          </div>
        ) : undefined}
        {view === 'tap' ? <TapView route={route} snapshot={snapshot} /> : undefined}
        {snapshot === undefined ? (
          live.problem === undefined ? (
            <p class="empty" aria-busy="true">
              Reading the state of the mesh…
            </p>
          ) : undefined
        ) : view === 'overview' ? (
          <Overview snapshot={snapshot} nowMs={nowMs} />
        ) : view === 'graph' ? (
          <GraphView snapshot={snapshot} live={live} route={route} nowMs={nowMs} />
        ) : view === 'policies' ? (
          <PoliciesView snapshot={snapshot} route={route} />
        ) : view === 'problems' ? (
          <ProblemsView snapshot={snapshot} />
        ) : view === 'changes' ? (
          <ChangesView snapshot={snapshot} nowMs={nowMs} />
        ) : undefined}
      </main>
    </>
  );
}

/** Problems of what could not be read are not known: no number would say that there is none. */
function ProblemCount({ snapshot }: { readonly snapshot: MeshSnapshot }) {
  const count = snapshot.problems.length;
  const isPart = isIncomplete(snapshot, 'problems');
  if (count === 0 && !isPart) return null;
  return (
    <span class={count === 0 ? 'count unknown' : 'count'}>
      {count === 0 ? '?' : `${countText(count)}${isPart ? '+' : ''}`}
      <span class="unseen">{count === 0 ? ' problems are not known' : ' problems'}</span>
    </span>
  );
}

/** The hash is the view, so the link moves the focus itself. */
function skipToMain(event: Event): void {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

function Controls({ live, nowMs }: { readonly live: Live; readonly nowMs: number }) {
  const { snapshot, isStatic } = live;
  return (
    <div class="controls">
      {isStatic ? (
        snapshot ? (
          <span class="taken">Snapshot of {dateText(snapshot.takenMs)}</span>
        ) : undefined
      ) : (
        <>
          {snapshot ? (
            <span class="taken" title={dateText(snapshot.takenMs)}>
              {agoText(snapshot.takenMs, Math.max(nowMs, snapshot.takenMs))}
            </span>
          ) : undefined}
          <label>
            <span class="unseen">Time that is counted</span>
            <select value={live.since} onChange={(event) => live.setSince(event.currentTarget.value)}>
              {windows.includes(live.since) ? undefined : (
                <option value={live.since}>last {visibleText(live.since)}</option>
              )}
              <option value="1m">last 1 min</option>
              <option value="5m">last 5 min</option>
              <option value="15m">last 15 min</option>
            </select>
          </label>
          <button type="button" aria-pressed={live.isPaused} onClick={() => live.setPaused(!live.isPaused)}>
            Pause
          </button>
        </>
      )}
      <ThemeButton />
    </div>
  );
}

/** Polite: a screen reader says it when it has finished its sentence. */
function State({ live }: { readonly live: Live }) {
  const { problem, snapshot, isStatic } = live;
  return (
    <div role="status" aria-live="polite" class="state">
      {problem === undefined ? undefined : (
        <p class="notice bad" id="stale">
          <strong>{visibleText(problem)}.</strong>{' '}
          {snapshot === undefined || isStatic
            ? undefined
            : `What is shown is of ${clockText(snapshot.takenMs)} and no longer current.`}
        </p>
      )}
    </div>
  );
}
