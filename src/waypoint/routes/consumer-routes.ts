/**
 * Restricts consumer routes (in the client's namespace, GEP-1294). They send clients' requests from the waypoint's address. To a backend in the
 * mesh this gives a client nothing: the tunnel ends at the workload that policies name, and policies apply to the client's identity. To a plain
 * backend it would: the backend may admit the waypoint's address where it does not admit the client's. Pure.
 */
import type { BackendTarget, Route, RouteFilter } from '../../model/route.js';
import type { ServiceKey } from '../../model/workload.js';
import { mapFilterBackends } from '../filters/chain.js';

type ServiceTarget = Extract<BackendTarget, { readonly kind: 'service' }>;
/** True: the waypoint would connect to the backend without a tunnel, and it does not serve the backend. */
export type IsPlain = (target: ServiceTarget) => boolean;

const checked = (target: BackendTarget, isPlain: IsPlain): BackendTarget =>
  target.kind === 'service' && isPlain(target)
    ? {
        kind: 'invalid',
        reason: `Service ${target.service} is not in the mesh, so a route of another namespace cannot use it as a backend`,
      }
    : target;

const filtersOf = (filters: readonly RouteFilter[], isPlain: IsPlain): readonly RouteFilter[] =>
  filters.map((filter) => mapFilterBackends(filter, (target) => checked(target, isPlain)));

/** The route with its plain backends, also those of mirrors, replaced by an error. */
export const withoutPlainBackends = (route: Route, isPlain: IsPlain): Route => ({
  ...route,
  rules: route.rules.map((rule) => ({
    ...rule,
    filters: filtersOf(rule.filters, isPlain),
    backends: rule.backends.map((backend) => ({
      ...backend,
      target: checked(backend.target, isPlain),
      filters: filtersOf(backend.filters, isPlain),
    })),
  })),
});

/** The plain backends of the routes, as text: if it changes, the routes have to be compiled again. */
export function plainBackendsOf(routes: readonly Route[], isPlain: IsPlain): string {
  const plain = new Set<ServiceKey>();
  for (const route of routes)
    withoutPlainBackends(route, (target) => {
      if (isPlain(target)) plain.add(target.service);
      return false;
    });
  return [...plain].sort().join(' ');
}
