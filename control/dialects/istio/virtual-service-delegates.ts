/** Resolves the delegates of a VirtualService: a root's rule passes its requests on to the rules of another object. One level. Pure. */
import { isDeepStrictEqual } from 'node:util';
import { namespaceOf } from '../../../src/model/labels.js';
import type { HttpMatch, HttpRule, StringMatch } from '../../objects/istio-virtual-service.js';
import type { WrittenRule } from './virtual-service-http.js';
import { isExportedTo, type VirtualService } from './virtual-service-hosts.js';

export interface DelegateLookup {
  readonly virtualService: (namespace: string, name: string) => VirtualService | undefined;
}

/** Matches of one object with those of its delegates: each of a rule is combined with each of its delegate's (docs/limits.md). */
const mergedMax = 10_000;
/** How many matches a rule has with its delegate. */
const mergedCount = ({ match = [] }: HttpRule, delegate: VirtualService): number =>
  Math.max(match.length, 1) *
  listOf<HttpRule>(delegate.spec.http).reduce((sum, inner) => sum + Math.max(inner.match?.length ?? 0, 1), 0);

/** The objects (`<namespace>/<name>`) that the rules of an object delegate to. */
export const delegatesOf = (object: VirtualService): readonly string[] =>
  listOf<HttpRule>(object.spec.http).flatMap(({ delegate }) =>
    delegate ? [`${delegate.namespace || namespaceOf(object)}/${delegate.name ?? ''}`] : [],
  );

/** The spec of a closed form may have any content. */
export function listOf<T extends object>(list: unknown): readonly T[] {
  return (Array.isArray(list) ? list : []).filter((one) => typeof one === 'object' && one !== null) as T[];
}

/** The HTTP rules with those of the delegates in their places. */
export function writtenRules(object: VirtualService, lookup: DelegateLookup): WrittenRule[] {
  const namespace = namespaceOf(object);
  let mergedSoFar = 0;
  return listOf<HttpRule>(object.spec.http).flatMap((rule, index): WrittenRule[] => {
    const at = `http[${index}]`;
    const name = rule.name ?? String(index);
    if (!rule.delegate) return [{ rule, at, name, namespace }];
    const to = rule.delegate.namespace || namespace;
    const full = `${to}/${rule.delegate.name ?? ''}`;
    const delegate = lookup.virtualService(to, rule.delegate.name ?? '');
    const closed = delegateProblem(rule, delegate, full, namespace);
    if (closed !== undefined || !delegate)
      return [{ rule, at, name, namespace, closed: `${at}.delegate: ${closed}` }];
    mergedSoFar += mergedCount(rule, delegate);
    if (mergedSoFar > mergedMax)
      return [
        {
          rule,
          at,
          name,
          namespace,
          closed: `${at}.delegate: with those of its delegates the object has more than ${mergedMax} matches`,
        },
      ];
    return listOf<HttpRule>(delegate.spec.http).flatMap((inner, i): WrittenRule[] => {
      const ofDelegate = inner.name ?? String(i);
      const merged = mergedRule(rule, inner);
      if (!merged) return [];
      return [
        {
          rule: merged,
          at: `${at}.delegate(${full}).http[${i}]`,
          name: `${name}-${ofDelegate}`,
          namespace: to,
        },
      ];
    });
  });
}

function delegateProblem(
  { route, redirect }: HttpRule,
  delegate: VirtualService | undefined,
  name: string,
  namespace: string,
): string | undefined {
  if ((route?.length ?? 0) > 0 || redirect) return 'a rule with a delegate has neither route nor redirect';
  // An object that is not exported is not named as existing either.
  if (!delegate || !isExportedTo(delegate, namespace))
    return `there is no VirtualService ${name} that namespace ${namespace} may use`;
  if (delegate.invalid !== undefined) return `VirtualService ${name} cannot be read`;
  if ((delegate.spec.hosts ?? []).length > 0) return `VirtualService ${name} has hosts: a delegate has none`;
  if (listOf<HttpRule>(delegate.spec.http).some((rule) => rule.delegate))
    return `VirtualService ${name} delegates itself: only one level is carried out`;
  return undefined;
}

/** The delegate's rule within the root's. Undefined: no request can meet the conditions of both. */
function mergedRule(root: HttpRule, inner: HttpRule): HttpRule | undefined {
  const { delegate: _, match: rootMatches = [], name: __, route: ___, redirect: ____, ...settings } = root;
  const own = inner.match ?? [];
  const match =
    rootMatches.length === 0 || own.length === 0
      ? [...rootMatches, ...own]
      : rootMatches.flatMap((a) => own.flatMap((b) => mergedMatch(a, b) ?? []));
  if (match.length === 0 && rootMatches.length + own.length > 0) return undefined;
  // What the delegate does not say, the root says.
  return { ...settings, ...inner, match };
}

type Texts = 'scheme' | 'method' | 'authority' | 'port' | 'sourceNamespace' | 'gateways';
const texts: readonly Texts[] = ['scheme', 'method', 'authority', 'port', 'sourceNamespace', 'gateways'];
type Maps = 'headers' | 'withoutHeaders' | 'queryParams' | 'sourceLabels';
const maps: readonly Maps[] = ['headers', 'withoutHeaders', 'queryParams', 'sourceLabels'];

function mergedMatch(root: HttpMatch, inner: HttpMatch): HttpMatch | undefined {
  for (const field of texts)
    if (
      root[field] !== undefined &&
      inner[field] !== undefined &&
      !isDeepStrictEqual(root[field], inner[field])
    )
      return undefined;
  const merged: Partial<Record<Maps, object>> = {};
  for (const field of maps) {
    const a: Readonly<Record<string, unknown>> = root[field] ?? {};
    const b: Readonly<Record<string, unknown>> = inner[field] ?? {};
    for (const name of Object.keys(a))
      if (b[name] !== undefined && !isDeepStrictEqual(a[name], b[name])) return undefined;
    merged[field] = { ...a, ...b };
  }
  if (root.uri && inner.uri && !isWithin(inner.uri, root.uri)) return undefined;
  return { ...root, ...inner, ...(merged as Pick<HttpMatch, Maps>) };
}

/** Whether every path of `inner` is one of `root`, as far as Istio looks at it. */
function isWithin(inner: StringMatch, root: StringMatch): boolean {
  if (isDeepStrictEqual(inner, root)) return true;
  const text = inner.exact ?? inner.prefix;
  return root.prefix !== undefined && text !== undefined && text.startsWith(root.prefix);
}
