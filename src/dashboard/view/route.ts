/** The part of the URL after `#` says what is shown, so that a view can be linked: `#/graph?namespace=shop&edge=…`. Pure. */

export const views = ['overview', 'graph', 'policies', 'problems', 'changes', 'tap'] as const;
export type View = (typeof views)[number];

export interface Route {
  readonly view: View;
  /** Empty: all. */
  readonly namespace: string;
  /** What names must contain; empty: everything. */
  readonly text: string;
  /** What is shown in detail; at most one of both. */
  readonly edge?: string;
  readonly workload?: string;
}

/** A hash of something else is the overview. */
export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?', 2);
  const parameters = new URLSearchParams(query);
  const of = (name: string): string => parameters.get(name) ?? '';
  const [edge, workload] = [of('edge'), of('workload')];
  return {
    view: views.find((view) => view === path) ?? 'overview',
    namespace: of('namespace'),
    text: of('text'),
    ...(edge !== '' ? { edge } : workload !== '' ? { workload } : {}),
  };
}

export function routeHash({ view, namespace, text, edge, workload }: Route): string {
  const parameters = new URLSearchParams();
  if (namespace !== '') parameters.set('namespace', namespace);
  if (text !== '') parameters.set('text', text);
  if (edge !== undefined) parameters.set('edge', edge);
  else if (workload !== undefined) parameters.set('workload', workload);
  const query = parameters.toString();
  return `#/${view === 'overview' ? '' : view}${query === '' ? '' : `?${query}`}`;
}

/** Everything is shown. */
export const unfiltered: Pick<Route, 'namespace' | 'text'> = { namespace: '', text: '' };

/** The same view with another selection; without one, nothing is selected. */
export const selecting = (
  route: Route,
  selection: { readonly edge: string } | { readonly workload: string } | undefined,
): Route => ({ view: 'graph', namespace: route.namespace, text: route.text, ...selection });
