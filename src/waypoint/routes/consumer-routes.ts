/**
 * Consumer routes (of the client's namespace, GEP-1294) send their clients' requests from the waypoint's place in the network. Toward a backend in
 * the mesh that gains nothing: a tunnel ends at the workload that policy names, and policy is that of the client. Toward an address that is
 * plain it would: the waypoint's own address may be let in where the client's is not. Pure.
 */
import type { BackendTarget, Route, RouteFilter } from '../../model/route.js';
import type { ServiceKey } from '../../model/workload.js';

type ServiceTarget = Extract<BackendTarget, { readonly kind: 'service' }>;
/** Whether the waypoint would connect to it without a tunnel, though it is not what the waypoint serves. */
export type IsPlain = (target: ServiceTarget) => boolean;

const checked = (target: BackendTarget, isPlain: IsPlain): BackendTarget =>
  target.kind === 'service' && isPlain(target)
    ? {
        kind: 'invalid',
        reason: `Service ${target.service} is not in the mesh: a waypoint of another namespace connects to it for nobody's own route`,
      }
    : target;

const filtersOf = (filters: readonly RouteFilter[], isPlain: IsPlain): readonly RouteFilter[] =>
  filters.map((filter) =>
    filter.kind === 'mirror' ? { ...filter, backend: checked(filter.backend, isPlain) } : filter,
  );

/** The route with backends, also of mirrors, that are answered with an error where they are plain. */
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

/** Which of the routes' backends are plain now: routes are compiled anew where it is another answer. */
export function plainBackendsOf(routes: readonly Route[], isPlain: IsPlain): string {
  const plain = new Set<ServiceKey>();
  for (const route of routes)
    withoutPlainBackends(route, (target) => {
      if (isPlain(target)) plain.add(target.service);
      return false;
    });
  return [...plain].sort().join(' ');
}
