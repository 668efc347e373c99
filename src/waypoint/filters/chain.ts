/**
 * Composes filters to lists, once per configuration: one list for each Service port, for each rule of a route, and for each backend of a rule.
 * A request passes the lists in that order.
 */
import { errorText } from '../../base/errors.js';
import type { BackendTarget, RouteBackend, RouteFilter, RouteRule } from '../../model/route.js';
import { stages, type Filter, type FilterKind, type FilterKinds, type StagedFilter } from './filter.js';
import { rbac } from './rbac.js';
import { requestLimit } from './request-limit.js';
import { filterKinds } from './table.generated.js';

type With<K extends keyof Filter> = Filter & Required<Pick<Filter, K>>;

/** Filters that a request passes in a row. */
export interface FilterList {
  /** The list that the request has passed before this one. */
  readonly outer: FilterList | undefined;
  readonly request: readonly With<'onRequest'>[];
  readonly response: readonly With<'onResponse'>[];
  /** Filters that see the response after those of `response` of all lists. */
  readonly responseLast: readonly With<'onResponse'>[];
  /** Filters with `onEnd`. `after`: the number of filters of `request` up to and including the filter. */
  readonly end: readonly { readonly filter: With<'onEnd'>; readonly after: number }[];
}

const has = <K extends keyof Filter>(filter: Filter, method: K): filter is With<K> =>
  filter[method] !== undefined;
const stageOf = ({ stage }: StagedFilter): number => stages.indexOf(stage);

/** One list of the filters, in the order of their stages. */
export function listOf(filters: readonly StagedFilter[], outer?: FilterList): FilterList {
  const request: With<'onRequest'>[] = [];
  const response: With<'onResponse'>[] = [];
  const responseLast: With<'onResponse'>[] = [];
  const end: FilterList['end'][number][] = [];
  for (const { filter, respondsLast = false } of [...filters].sort((a, b) => stageOf(a) - stageOf(b))) {
    if (has(filter, 'onRequest')) request.push(filter);
    if (has(filter, 'onResponse')) (respondsLast ? responseLast : response).push(filter);
    if (has(filter, 'onEnd')) end.push({ filter, after: request.length });
  }
  return { outer, request, response, responseLast, end };
}

/** The filters of one Service port. */
export interface PortChain {
  /** The first list of each request. */
  readonly shedding: FilterList;
  /** The list before the route is matched. */
  readonly list: FilterList;
  /** Filters of later stages: each rule's list has them. */
  readonly late: readonly StagedFilter[];
  /** The list of requests for which there are no routes. */
  readonly withoutRoute: FilterList;
}

/** The first stage of the filters that are called after the route is matched. */
const afterRoute = stages.indexOf('rbac') + 1;

/** Composes the filters of a Service port. The request limit and the policies are always among them. */
export function portChainOf(filters: readonly StagedFilter[] = []): PortChain {
  const all = [requestLimit, rbac, ...filters];
  const of = (from: number, to: number): StagedFilter[] =>
    all.filter((one) => stageOf(one) >= from && stageOf(one) < to);
  const shedding = listOf(of(0, 1));
  const list = listOf(of(1, afterRoute), shedding);
  const late = of(afterRoute, stages.length);
  return { shedding, list, late, withoutRoute: listOf(late, list) };
}

/** The filters of one rule of a route. */
export interface RuleChain {
  readonly list: FilterList;
  /** The lists of backends that have filters of their own. */
  readonly backends: ReadonlyMap<RouteBackend, FilterList>;
}

const kindOf = (filter: RouteFilter): FilterKind<RouteFilter['value']> => {
  const kinds: FilterKinds = filterKinds;
  return kinds[filter.$case] as FilterKind<RouteFilter['value']>;
};

/** Compiles one filter. Error: its configuration cannot be applied. */
export function compileFilter(filter: RouteFilter): StagedFilter {
  const { stage, respondsLast = false, ...kind } = kindOf(filter);
  return { stage, respondsLast, filter: kind.compile(filter.value) };
}

/** Composes the filters of a rule. Error: a filter cannot be compiled. */
export function ruleChainOf(rule: RouteRule, port: PortChain): RuleChain {
  const list = listOf([...port.late, ...rule.filters.map(compileFilter)], port.list);
  const backends = new Map<RouteBackend, FilterList>();
  for (const backend of rule.backends)
    if (backend.filters.length > 0) backends.set(backend, listOf(backend.filters.map(compileFilter), list));
  return { list, backends };
}

/** Why the filters of a rule cannot be compiled; undefined if they can. */
export function filterProblem(rule: RouteRule): string | undefined {
  try {
    for (const filter of [...rule.filters, ...rule.backends.flatMap((one) => one.filters)])
      compileFilter(filter);
    return undefined;
  } catch (error) {
    return errorText(error);
  }
}

/** The filter with the backends replaced that it itself sends requests to. A filter that cannot be compiled is returned as it is. */
export function mapFilterBackends(
  filter: RouteFilter,
  map: (target: BackendTarget) => BackendTarget,
): RouteFilter {
  const { compile, mapBackends } = kindOf(filter);
  if (!mapBackends) return filter;
  try {
    compile(filter.value);
  } catch {
    return filter;
  }
  return { $case: filter.$case, value: mapBackends(filter.value, map) } as RouteFilter;
}
