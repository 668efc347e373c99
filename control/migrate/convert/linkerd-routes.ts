/** Linkerd's ServiceProfiles, and its HTTPRoutes of the group policy.linkerd.io, as HTTPRoutes of the Gateway API. */
import { fieldsOf, listOf, textOf, type Fields } from '../load.js';
import type { Block } from './block.js';
import { areDisjoint, Impossible, overtakes, type HttpMatch } from './matches.js';
import { Reader } from './reader.js';
import { gatewayDuration, serviceNamed, serviceTarget, type Services } from './services.js';

const rulesMax = 16;
const matchesMax = 64;
const retryCodes = [500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511];
const methods: ReadonlySet<string> = new Set(
  'GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH'.split(' '),
);

/** A path without signs of an expression is one path. */
function pathMatch(regex: string): NonNullable<HttpMatch['path']> {
  const plain = regex.replace(/^\^|\$$/g, '');
  const unescaped = plain.replace(/\\([./-])/g, '$1');
  return /^\/[A-Za-z0-9/._~-]*$/.test(unescaped) && !/(^|[^\\])\./.test(plain)
    ? { type: 'Exact', value: unescaped }
    : { type: 'RegularExpression', value: plain };
}

/** Requests that have both matches; undefined: no request has. Throws Impossible if a match can have only one of them. */
function both(a: HttpMatch, b: HttpMatch, field: string): HttpMatch | undefined {
  if (a.method !== undefined && b.method !== undefined && a.method !== b.method) return undefined;
  if (a.path && b.path && (a.path.type !== b.path.type || a.path.value !== b.path.value))
    throw new Impossible(field, 'a match of an HTTPRoute has one path');
  return { ...a, ...b };
}

/** The alternatives of a condition. Errors: Impossible. */
function matchesOf(condition: Reader): HttpMatch[] {
  for (const key of ['not', 'status'])
    if (condition.has(key))
      throw new Impossible(condition.pathOf(key), `a match of an HTTPRoute has no ${key}`);
  let found: HttpMatch[] = [{}];
  const also = (more: readonly HttpMatch[], field: string): void => {
    found = found.flatMap((one) => more.flatMap((other) => both(one, other, field) ?? []));
    if (found.length > matchesMax)
      throw new Impossible(field, `an HTTPRoute has at most ${matchesMax} matches in a rule`);
  };
  const [method, path] = [condition.text('method'), condition.text('pathRegex')];
  if (method !== undefined) {
    if (!methods.has(method))
      throw new Impossible(condition.pathOf('method'), `an HTTPRoute has no method ${method}`);
    also([{ method }], condition.path);
  }
  if (path !== undefined) also([{ path: pathMatch(path) }], condition.path);
  for (const one of condition.children('all')) also(matchesOf(one), one.path);
  const any = condition.children('any');
  if (any.length > 0) also(any.flatMap(matchesOf), condition.pathOf('any'));
  return found;
}

interface ProfileRule {
  readonly path: string;
  readonly matches: readonly HttpMatch[];
  readonly settings: Fields;
}

function checkOrder(rules: readonly ProfileRule[]): void {
  for (const [i, later] of rules.entries())
    for (const earlier of rules.slice(0, i)) {
      if (JSON.stringify(earlier.settings) === JSON.stringify(later.settings)) continue;
      for (const a of earlier.matches)
        for (const b of later.matches)
          if (!areDisjoint(a, b) && overtakes(b, a))
            throw new Impossible(
              later.path,
              `the order of the routes matters: ${earlier.path} comes first here, and an HTTPRoute would try ${later.path} first`,
            );
    }
}

const nameOfRule = (name: string | undefined, seen: Set<string>): Fields => {
  const made = (name ?? '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 63)
    .replace(/-+$/, '');
  if (made === '' || seen.has(made)) return {};
  seen.add(made);
  return { name: made };
};

export function convertServiceProfile(block: Block, services: Services): void {
  const { namespace, name, value } = block.source;
  const reader = new Reader(fieldsOf(value['spec']));
  const service = serviceNamed(name, namespace);
  if (!service)
    return block.lost(
      'metadata.name',
      `${name} is no Service of the cluster, and a route has Services as parents`,
    );
  const given = services.get(service.namespace, service.name);
  const metadata = { name: service.name, namespace };
  try {
    if (reader.children('routes').length > 0) {
      if (!given)
        throw new Impossible(
          '',
          `the ports of Service ${service.namespace}/${service.name} are unknown: add it to the directory`,
        );
      const seen = new Set<string>();
      const rules = reader.children('routes').map((route) => {
        const timeout = route.text('timeout');
        const request = timeout === undefined ? undefined : gatewayDuration(timeout);
        if (timeout !== undefined && request === undefined)
          block.lost(route.pathOf('timeout'), `${timeout} is no duration in milliseconds`);
        const isRetryable = route.flag('isRetryable') === true;
        const matches = matchesOf(route.child('condition'));
        const ruleName = nameOfRule(route.text('name'), seen);
        if (isRetryable)
          block.differs(route.pathOf('isRetryable'), 'the codes that are registered stand for 500 to 599');
        const settings = {
          ...(request === undefined ? {} : { timeouts: { request } }),
          ...(isRetryable ? { retry: { codes: retryCodes } } : {}),
        };
        return { path: route.path, matches, name: ruleName, settings };
      });
      if (rules.length >= rulesMax)
        throw new Impossible(
          'routes',
          `an HTTPRoute has at most ${rulesMax} rules, of which the last one is for all other requests`,
        );
      checkOrder(rules);
      for (const { port } of given.ports) {
        const backendRefs = [
          {
            ...serviceTarget(service.name),
            ...(service.namespace === namespace ? {} : { namespace: service.namespace }),
            port,
          },
        ];
        const doc = block.add({
          apiVersion: 'gateway.networking.k8s.io/v1',
          kind: 'HTTPRoute',
          metadata: given.ports.length > 1 ? { ...metadata, name: `${service.name}-${port}` } : metadata,
          spec: {
            parentRefs: [
              {
                ...serviceTarget(service.name),
                ...(service.namespace === namespace ? {} : { namespace: service.namespace }),
                port,
              },
            ],
            rules: [
              ...rules.map((rule) => ({
                ...rule.name,
                matches: rule.matches,
                backendRefs,
                ...rule.settings,
              })),
              { backendRefs },
            ],
          },
        });
        block.info('requests that no route of the ServiceProfile matches go on as well', {
          doc,
          path: ['spec', 'rules', rules.length],
        });
      }
    }
    const budget = reader.child('retryBudget');
    const [ratio, least] = [budget.number('retryRatio'), budget.number('minRetriesPerSecond')];
    budget.take('ttl');
    if (ratio !== undefined || least !== undefined) {
      if (service.namespace !== namespace)
        throw new Impossible('retryBudget', 'a TrafficPolicy is for Services of its own namespace');
      block.add({
        apiVersion: 'weft.dev/v1alpha1',
        kind: 'TrafficPolicy',
        metadata: { ...metadata, name: `${service.name}-retries` },
        spec: {
          targetRefs: [serviceTarget(service.name)],
          retry: {
            budget: {
              ...(ratio === undefined ? {} : { percent: Math.min(100, Math.floor(ratio * 100)) }),
              ...(least === undefined ? {} : { minRetries: least }),
            },
          },
        },
      });
    }
    reader.take('opaquePorts');
    if (reader.has('opaquePorts'))
      block.differs('opaquePorts', 'appProtocol: tcp of the Service port says it, where there is a waypoint');
    for (const path of reader.rest()) block.lost(path, 'an HTTPRoute has nothing of the kind');
  } catch (error) {
    if (!(error instanceof Impossible)) throw error;
    block.lost(error.field, `${error.message}. The object was not converted`);
  }
}

/** An HTTPRoute of policy.linkerd.io: outbound ones have the form of the Gateway API. */
export function convertLinkerdRoute(block: Block): void {
  const { namespace, name, value } = block.source;
  const spec = fieldsOf(value['spec']);
  const parents = listOf(spec['parentRefs']);
  const outbound = parents.filter((one) => one['kind'] === 'Service' || one['kind'] === undefined);
  for (const one of parents.filter((other) => !outbound.includes(other)))
    block.lost(
      'parentRefs',
      `a route of the ${String(one['kind'])} ${String(one['name'])} chooses requests for authorization: paths and methods of an AccessPolicy at a Service with a waypoint take its place`,
    );
  if (outbound.length === 0) return;
  if (spec['hostnames'] !== undefined)
    return block.lost('hostnames', 'a route of a Service has no host names. The object was not converted');
  const core = (one: Fields): Fields => ({ ...one, group: '', kind: 'Service' });
  const rules = listOf(spec['rules']).map((rule): Fields => {
    const timeouts = Object.fromEntries(
      Object.entries(fieldsOf(rule['timeouts'])).flatMap(([key, given]) => {
        const text = gatewayDuration(textOf(given) ?? '');
        if (text === undefined)
          block.lost(`rules[].timeouts.${key}`, `${String(given)} is no duration in milliseconds`);
        return text === undefined ? [] : [[key, text]];
      }),
    );
    const { backendRefs, ...rest } = rule;
    return {
      ...rest,
      ...(Object.keys(timeouts).length > 0 ? { timeouts } : {}),
      ...(backendRefs === undefined
        ? {}
        : {
            backendRefs: listOf(backendRefs).map((one) =>
              one['kind'] === undefined || one['kind'] === 'Service' ? core(one) : one,
            ),
          }),
    };
  });
  block.add({
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'HTTPRoute',
    metadata: { name, namespace },
    spec: { parentRefs: outbound.map(core), ...(rules.length > 0 ? { rules } : {}) },
  });
  if (rules.some((rule) => rule['backendRefs'] === undefined))
    block.lost(
      'rules',
      'a rule without backendRefs goes to the Service itself in Linkerd, and is refused by Weft: name the Service as its backend',
    );
}
