/**
 * Compiles Gateway API routes that are attached to Services to the form in which waypoints apply them, with the problems that their status
 * reports. Pure. What the validation rules (CEL) of the published CRDs refuse is refused here as well, because files pass no API server.
 */
import type {
  BackendTarget,
  Route,
  RouteBackend,
  RouteFilter,
  RouteMatch,
  RouteRule,
  SessionPersistence,
} from '../../../src/model/route.js';
import { errorText } from '../../../src/base/errors.js';
import { durationMsOf, timerMsMax } from '../../../src/model/duration.js';
import { routeIdleSettings } from '../../../src/model/idle-settings.js';
import { namespaceOf } from '../../../src/model/labels.js';
import type {
  BackendRef,
  GrpcRouteRule,
  HttpRouteRule,
  RouteBackendRef,
  RouteFilterObject,
  RouteObject,
  SessionPersistenceObject,
} from '../../objects/objects.js';
import { annotationFilters, compileFilter, RouteProblems } from './route-filters.js';
import { MatchReader } from './route-matches.js';
import {
  attach,
  isCoreGroup,
  isExternal,
  refNamespace,
  routeKeyOf,
  type ParentVerdict,
  type RouteLookup,
  type RouteProblem,
} from './route-parents.js';
import { serviceKeyOf, tcpPorts } from '../../compile/service.js';
import { createdMs } from '../../objects/age.js';

export interface CompiledRoute {
  /** Absent if no parent accepts the route. */
  readonly route?: Route;
  /** Parents that are Services, or misspelled references to one. Other controllers report the other parents. */
  readonly parents: readonly ParentVerdict[];
  /** The first feature that Weft does not support. Rules that use it respond with an error. */
  readonly unsupported?: RouteProblem;
  /** The first reference that cannot be resolved. */
  readonly unresolved?: RouteProblem;
  /** Rules that cannot be read, with the field. They respond with an error. */
  readonly invalid?: { readonly everyRule: boolean; readonly message: string };
  /** Annotations that cannot be read. The waypoint's own settings apply instead. */
  readonly unread?: string;
}

const kinds = { HTTPRoute: 'http', GRPCRoute: 'grpc', TLSRoute: 'tls', TCPRoute: 'tcp' } as const;
/** Milliseconds of a duration. Error: the text is not a duration. */
function durationMs(text: string): number {
  const ms = durationMsOf(text);
  if (ms === undefined)
    throw new Error(
      `${JSON.stringify(text.slice(0, 64))} is not a duration (GEP-2257), such as 10s or 1m30s`,
    );
  return ms;
}
/** A duration in milliseconds, limited to what a timer can wait. */
const timerMs = (text: string): number => Math.min(durationMs(text), timerMsMax);

class RouteCompiler {
  readonly problems = new RouteProblems();
  readonly #regexBudget = { weight: 0 };
  constructor(
    private readonly object: RouteObject,
    private readonly lookup: RouteLookup,
  ) {}

  get #name(): string {
    return `${this.object.kind} ${namespaceOf(this.object)}/${this.object.metadata.name}`;
  }

  /**
   * Resolves a backend reference. A Service of another namespace needs no ReferenceGrant: clients of a mesh route can reach the Service
   * without the route as well (GEP-1294, "Namespace boundaries").
   */
  target(ref: BackendRef): BackendTarget {
    const invalid = (reason: string, message: string): BackendTarget => {
      this.problems.unresolved ??= { reason, message };
      return { kind: 'invalid', reason: message };
    };
    if (!isCoreGroup(ref.group ?? '') || (ref.kind ?? 'Service') !== 'Service') {
      const kind = `${ref.kind ?? 'Service'}${ref.group ? `.${ref.group}` : ''}`;
      return invalid('InvalidKind', `backend ${ref.name} is a ${kind}: only Services are supported`);
    }
    const namespace = refNamespace(ref, this.object);
    const name = `${namespace}/${ref.name}`;
    const service = this.lookup.service(namespace, ref.name);
    if (!service) return invalid('BackendNotFound', `there is no Service ${name}`);
    if (isExternal(service))
      return invalid('BackendNotFound', `Service ${name} is an ExternalName: it has no endpoints`);
    if (ref.port === undefined) return invalid('BackendNotFound', `backend ${name} names no port`);
    if (!tcpPorts(service).some(({ port }) => port === ref.port))
      return invalid('BackendNotFound', `Service ${name} has no TCP port ${ref.port}`);
    return { kind: 'service', service: serviceKeyOf(service), port: ref.port };
  }

  /** Compiles a list of filters. Undefined if one of them is not supported: its requests must not continue without the filter. */
  filters(list: readonly RouteFilterObject[] | undefined): RouteFilter[] | undefined {
    const made = (list ?? []).map((filter) =>
      compileFilter(filter, (ref) => this.target(ref), this.problems, this.#name),
    );
    const known = made.filter((filter) => filter !== undefined);
    return known.length === made.length ? known : undefined;
  }

  backend(ref: RouteBackendRef): RouteBackend {
    const filters = this.filters(ref.filters);
    const target = this.target(ref);
    return {
      target: filters ? target : { kind: 'invalid', reason: 'a filter of the backend is not supported' },
      weight: ref.weight ?? 1,
      filters: filters ?? [],
    };
  }

  rule(
    name: string | undefined,
    matches: readonly RouteMatch[],
    backendRefs: readonly RouteBackendRef[] | undefined,
    filterList: readonly RouteFilterObject[] | undefined,
    more: Partial<RouteRule>,
  ): RouteRule {
    const filters = this.filters(filterList);
    const backends = (backendRefs ?? []).map((ref) => this.backend(ref));
    if (!filters) return refusedRule(name, matches, 'a filter of the rule is not supported');
    return { ...(name === undefined ? {} : { name }), matches, filters, backends, ...more };
  }

  /**
   * Compiles a rule. An unreadable rule matches all requests that it might have matched, and responds to them with an error. Another rule
   * must not take these requests: the unreadable rule may have been written to keep them from it.
   */
  #readable(
    index: number,
    { name, invalid }: { readonly name?: string; readonly invalid?: string },
    readMatches: (reader: MatchReader) => RouteMatch[],
    make: (matches: readonly RouteMatch[]) => RouteRule,
  ): RouteRule {
    const reader = new MatchReader(`rules[${index}]`, this.#regexBudget);
    const matches = readMatches(reader);
    let why = invalid ?? reader.problems[0];
    try {
      if (why === undefined) return make(matches);
    } catch (error) {
      why = `rules[${index}]: ${errorText(error)}`;
    }
    this.problems.invalid.push(why ?? '');
    return refusedRule(name, matches, why ?? '');
  }

  rules(): RouteRule[] {
    const { object } = this;
    if (object.invalid !== undefined) {
      this.problems.invalid.push(object.invalid);
      return [refusedRule(undefined, [], object.invalid)];
    }
    switch (object.kind) {
      case 'HTTPRoute':
        return (object.spec.rules ?? [{}]).map((rule, index) =>
          this.#readable(
            index,
            rule,
            (reader) => (rule.matches?.length ? rule.matches : [{}]).map((one, i) => reader.http(one, i)),
            (matches) => this.#http(rule, index, matches),
          ),
        );
      case 'GRPCRoute':
        return (object.spec.rules ?? []).map((rule, index) =>
          this.#readable(
            index,
            rule,
            (reader) => (rule.matches ?? []).map((one, i) => reader.grpc(one, i)),
            (matches) => this.#grpc(rule, index, matches),
          ),
        );
      case 'TLSRoute':
      case 'TCPRoute':
        return (object.spec.rules ?? []).map((rule, index) =>
          this.#readable(
            index,
            rule,
            () => [],
            () => this.rule(rule.name, [], rule.backendRefs, undefined, {}),
          ),
        );
    }
  }

  #grpc(rule: GrpcRouteRule, index: number, matches: readonly RouteMatch[]): RouteRule {
    const { name, backendRefs, filters, sessionPersistence } = rule;
    return this.rule(name, matches, backendRefs, filters, { ...this.#session(sessionPersistence, index) });
  }

  #http(rule: HttpRouteRule, index: number, matches: readonly RouteMatch[]): RouteRule {
    checkHttp(rule);
    const { name, backendRefs, filters, timeouts, retry } = rule;
    return this.rule(name, matches, backendRefs, filters, {
      ...(timeouts?.request === undefined ? {} : { requestTimeoutMs: timerMs(timeouts.request) }),
      ...(timeouts?.backendRequest === undefined
        ? {}
        : { backendRequestTimeoutMs: timerMs(timeouts.backendRequest) }),
      ...(retry
        ? {
            retry: {
              codes: retry.codes ?? [],
              ...(retry.attempts === undefined ? {} : { attempts: retry.attempts }),
              ...(retry.backoff === undefined ? {} : { backoffMs: timerMs(retry.backoff) }),
            },
          }
        : {}),
      ...this.#session(rule.sessionPersistence, index),
    });
  }

  #session(
    session: SessionPersistenceObject | undefined,
    index: number,
  ): { readonly sessionPersistence?: SessionPersistence } {
    if (!session) return {};
    const kind = session.type === 'Header' ? 'header' : 'cookie';
    const { namespace, name } = { namespace: namespaceOf(this.object), name: this.object.metadata.name };
    const named = kind === 'header' ? session.header?.name : session.cookie?.name;
    const { absoluteTimeout, idleTimeout, cookie, cookieConfig } = session;
    const permanent = (cookie ?? cookieConfig)?.lifetimeType === 'Permanent';
    if (permanent && absoluteTimeout === undefined)
      throw new Error('sessionPersistence: a permanent cookie needs an absoluteTimeout');
    if (kind === 'header' && named === undefined && session.sessionName === undefined)
      throw new Error('sessionPersistence: a session of type Header needs header.name');
    return {
      sessionPersistence: {
        kind,
        // Each rule has its own name: rules with different backends must not read each other's sessions.
        name: named ?? session.sessionName ?? `weft-${namespace}-${name}-${index}`,
        ...(absoluteTimeout === undefined ? {} : { absoluteTimeoutMs: durationMs(absoluteTimeout) }),
        ...(idleTimeout === undefined ? {} : { idleTimeoutMs: durationMs(idleTimeout) }),
        permanent,
      },
    };
  }
}

/** A rule that responds to its requests with an error. */
const refusedRule = (
  name: string | undefined,
  matches: readonly RouteMatch[],
  reason: string,
): RouteRule => ({
  ...(name === undefined ? {} : { name }),
  matches,
  filters: [],
  backends: [{ target: { kind: 'invalid', reason }, weight: 1, filters: [] }],
});

function checkHttp({ matches, filters = [], backendRefs = [], timeouts }: HttpRouteRule): void {
  const has = (list: readonly RouteFilterObject[], type: string): boolean =>
    list.some((filter) => filter.type === type);
  if (has(filters, 'RequestRedirect') && backendRefs.length > 0)
    throw new Error('a rule with RequestRedirect must not have backendRefs');
  const lists = [filters, ...backendRefs.map((ref) => ref.filters ?? [])];
  for (const list of lists) {
    if (has(list, 'RequestRedirect') && has(list, 'URLRewrite'))
      throw new Error('RequestRedirect and URLRewrite cannot be combined');
    for (const { requestRedirect, urlRewrite } of list) {
      const byPrefix = [requestRedirect?.path, urlRewrite?.path].some(
        (path) => path?.type === 'ReplacePrefixMatch',
      );
      const [only] = matches ?? [{}];
      if (byPrefix && ((matches?.length ?? 1) !== 1 || (only?.path?.type ?? 'PathPrefix') !== 'PathPrefix'))
        throw new Error('ReplacePrefixMatch needs exactly one match, with a path of type PathPrefix');
    }
  }
  const [request, backend] = [timeouts?.request, timeouts?.backendRequest].map((text) =>
    text === undefined ? 0 : durationMs(text),
  );
  if (request && backend && backend > request)
    throw new Error('timeouts: backendRequest is longer than request');
}

/** Compiles a route. Never throws: `invalid` has what the published CRDs refuse, and what cannot be read. */
export function compileRoute(object: RouteObject, lookup: RouteLookup): CompiledRoute {
  const compiler = new RouteCompiler(object, lookup);
  const isHttp = object.kind === 'HTTPRoute' || object.kind === 'GRPCRoute';
  const annotations = (isHttp ? object.metadata.annotations : undefined) ?? {};
  const { idleTimeouts, problems } = routeIdleSettings(annotations);
  const added = annotationFilters(annotations);
  const unread = [...problems, ...added.problems];
  const rules = compiler.rules().map((rule) => ({
    ...rule,
    ...(idleTimeouts && { idleTimeouts }),
    ...(added.withoutExternalAuthorization ? { withoutExternalAuthorization: true as const } : {}),
    // Ahead of the rule's own filters, which may respond themselves.
    filters: [...added.filters, ...rule.filters],
  }));
  const attached = (object.spec.parentRefs ?? [])
    .map((ref) => attach(object, ref, lookup))
    .filter((one) => one !== undefined);
  const parents = attached.flatMap((one) => one.parents);
  const { unsupported, unresolved, invalid } = compiler.problems;
  return {
    ...(parents.length > 0
      ? {
          route: {
            key: routeKeyOf(object),
            kind: kinds[object.kind],
            namespace: namespaceOf(object),
            name: object.metadata.name,
            createdMs: createdMs(object),
            parents,
            rules,
          },
        }
      : {}),
    parents: attached.map(({ verdict }) => verdict),
    ...(unread.length > 0 ? { unread: unread.join('; ') } : {}),
    ...(unsupported ? { unsupported } : {}),
    ...(unresolved ? { unresolved } : {}),
    ...(invalid.length > 0
      ? { invalid: { everyRule: invalid.length === rules.length, message: invalid.join('; ') } }
      : {}),
  };
}
