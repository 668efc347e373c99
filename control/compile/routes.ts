/**
 * Gateway API routes that are attached to Services, as waypoints carry them out, and what is to be said of them. Pure. What the
 * published CRDs' rules refuse (CEL) is refused here too: a file has only us.
 */
import type {
  BackendTarget,
  Route,
  RouteBackend,
  RouteFilter,
  RouteMatch,
  RouteRule,
  SessionPersistence,
} from '../../src/model/route.js';
import { errorText } from '../../src/base/errors.js';
import { durationMsOf, timerMsMax } from '../../src/model/duration.js';
import { routeIdleSettings } from '../../src/model/idle-settings.js';
import { namespaceOf } from '../../src/model/labels.js';
import type {
  BackendRef,
  GrpcRouteRule,
  HttpRouteRule,
  RouteBackendRef,
  RouteFilterObject,
  RouteObject,
  SessionPersistenceObject,
} from '../objects/objects.js';
import { compileFilter, RouteProblems } from './route-filters.js';
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
import { serviceKeyOf, tcpPorts } from './service.js';

export interface CompiledRoute {
  /** Absent where no parent is left. */
  readonly route?: Route;
  /** Of Services, and of references that mean one and name none: what is to be said of other parents is others' to say. */
  readonly parents: readonly ParentVerdict[];
  /** Something that no version of ours can do; the rules that ask for it answer with an error. */
  readonly unsupported?: RouteProblem;
  /** The first reference that names nothing. */
  readonly unresolved?: RouteProblem;
  /** Rules that cannot be read, with the field: their requests are answered with an error. */
  readonly invalid?: { readonly everyRule: boolean; readonly message: string };
  /** Annotations that cannot be read: the waypoint's own settings hold in their place. */
  readonly unread?: string;
}

const kinds = { HTTPRoute: 'http', GRPCRoute: 'grpc', TLSRoute: 'tls', TCPRoute: 'tcp' } as const;
/** Error: the text is no duration. */
function durationMs(text: string): number {
  const ms = durationMsOf(text);
  if (ms === undefined) throw new Error(`${JSON.stringify(text.slice(0, 64))} is no duration (GEP-2257)`);
  return ms;
}
/** A duration that the waypoint waits for by a timer. */
const timerMs = (text: string): number => Math.min(durationMs(text), timerMsMax);

class RouteCompiler {
  readonly problems = new RouteProblems();
  readonly #regexBudget = { weight: 0 };
  constructor(
    private readonly object: RouteObject,
    private readonly lookup: RouteLookup,
  ) {}

  /**
   * A Service of another namespace needs no ReferenceGrant: a route of the mesh opens nothing that its clients could not reach
   * without it (GEP-1294, "Namespace boundaries").
   */
  target(ref: BackendRef): BackendTarget {
    const invalid = (reason: string, message: string): BackendTarget => {
      this.problems.unresolved ??= { reason, message };
      return { kind: 'invalid', reason: message };
    };
    if (!isCoreGroup(ref.group ?? '') || (ref.kind ?? 'Service') !== 'Service') {
      const kind = `${ref.kind ?? 'Service'}${ref.group ? `.${ref.group}` : ''}`;
      return invalid('InvalidKind', `backend ${ref.name} is a ${kind}: only Services are known`);
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

  /** Undefined where one of them is none that Weft has: nothing that it was to guard may go on without it. */
  filters(list: readonly RouteFilterObject[] | undefined): RouteFilter[] | undefined {
    const made = (list ?? []).map((filter) =>
      compileFilter(filter, (ref) => this.target(ref), this.problems),
    );
    const known = made.filter((filter) => filter !== undefined);
    return known.length === made.length ? known : undefined;
  }

  backend(ref: RouteBackendRef): RouteBackend {
    const filters = this.filters(ref.filters);
    const target = this.target(ref);
    return {
      target: filters ? target : { kind: 'invalid', reason: 'a filter of it is not supported' },
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
    if (!filters) return refusedRule(name, matches, 'a filter of its rule is not supported');
    return { ...(name === undefined ? {} : { name }), matches, filters, backends, ...more };
  }

  /**
   * One that cannot be read holds for all requests for which it might hold, and those are answered with an error: they go by no other
   * rule, which may be the one that it was to keep them from.
   */
  #readable(
    index: number,
    name: string | undefined,
    readMatches: (reader: MatchReader) => RouteMatch[],
    make: (matches: readonly RouteMatch[]) => RouteRule,
  ): RouteRule {
    const reader = new MatchReader(`rules[${index}]`, this.#regexBudget);
    const matches = readMatches(reader);
    let [why] = reader.problems;
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
            rule.name,
            (reader) => (rule.matches?.length ? rule.matches : [{}]).map((one, i) => reader.http(one, i)),
            (matches) => this.#http(rule, index, matches),
          ),
        );
      case 'GRPCRoute':
        return (object.spec.rules ?? []).map((rule, index) =>
          this.#readable(
            index,
            rule.name,
            (reader) => (rule.matches ?? []).map((one, i) => reader.grpc(one, i)),
            (matches) => this.#grpc(rule, index, matches),
          ),
        );
      case 'TLSRoute':
      case 'TCPRoute':
        return (object.spec.rules ?? []).map(({ name, backendRefs }) =>
          this.rule(name, [], backendRefs, undefined, {}),
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
      throw new Error('sessionPersistence: a session by header needs header.name');
    return {
      sessionPersistence: {
        kind,
        // Each rule's own: two with other backends must not read each other's.
        name: named ?? session.sessionName ?? `weft-${namespace}-${name}-${index}`,
        ...(absoluteTimeout === undefined ? {} : { absoluteTimeoutMs: durationMs(absoluteTimeout) }),
        ...(idleTimeout === undefined ? {} : { idleTimeoutMs: durationMs(idleTimeout) }),
        permanent,
      },
    };
  }
}

/** Its requests are answered with an error. */
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
    throw new Error('a rule with RequestRedirect has no backendRefs');
  const lists = [filters, ...backendRefs.map((ref) => ref.filters ?? [])];
  for (const list of lists) {
    if (has(list, 'RequestRedirect') && has(list, 'URLRewrite'))
      throw new Error('RequestRedirect and URLRewrite do not go together');
    for (const { requestRedirect, urlRewrite } of list) {
      const byPrefix = [requestRedirect?.path, urlRewrite?.path].some(
        (path) => path?.type === 'ReplacePrefixMatch',
      );
      const [only] = matches ?? [{}];
      if (byPrefix && ((matches?.length ?? 1) !== 1 || (only?.path?.type ?? 'PathPrefix') !== 'PathPrefix'))
        throw new Error('ReplacePrefixMatch needs exactly one match, of a path of type PathPrefix');
    }
  }
  const [request, backend] = [timeouts?.request, timeouts?.backendRequest].map((text) =>
    text === undefined ? 0 : durationMs(text),
  );
  if (request && backend && backend > request)
    throw new Error('timeouts: backendRequest is longer than request');
}

/** Never throws: what the published CRDs refuse, and what nobody can read, is in `invalid`. */
export function compileRoute(object: RouteObject, lookup: RouteLookup): CompiledRoute {
  const compiler = new RouteCompiler(object, lookup);
  const isHttp = object.kind === 'HTTPRoute' || object.kind === 'GRPCRoute';
  const { idleTimeouts, problems: unread } = routeIdleSettings(isHttp ? object.metadata.annotations : {});
  const rules = compiler.rules().map((rule) => (idleTimeouts ? { ...rule, idleTimeouts } : rule));
  const attached = (object.spec.parentRefs ?? [])
    .map((ref) => attach(object, ref, lookup))
    .filter((one) => one !== undefined);
  const parents = attached.flatMap((one) => one.parents);
  const { unsupported, unresolved, invalid } = compiler.problems;
  const created = Date.parse(object.metadata.creationTimestamp ?? '');
  return {
    ...(parents.length > 0
      ? {
          route: {
            key: routeKeyOf(object),
            kind: kinds[object.kind],
            namespace: namespaceOf(object),
            name: object.metadata.name,
            createdMs: Number.isNaN(created) ? 0 : created,
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
