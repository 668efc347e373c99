/** Matches of HTTP rules as an HTTPRoute has them, their order there, and whether a request can have two of them. Pure. */
import type { Reader } from './reader.js';
import { quoteRegex } from '../../../src/policy/regex.js';

export interface Named {
  readonly type: 'Exact' | 'RegularExpression';
  readonly name: string;
  readonly value: string;
}
export interface HttpMatch {
  readonly path?: { readonly type: 'Exact' | 'PathPrefix' | 'RegularExpression'; readonly value: string };
  readonly method?: string;
  readonly headers?: readonly Named[];
  readonly queryParams?: readonly Named[];
}
/** A rule of a VirtualService for workloads of the mesh. */
export interface ConvertedRule {
  readonly index: number;
  readonly reader: Reader;
  readonly name?: string;
  /** Empty: every request. */
  readonly matches: readonly { readonly match: HttpMatch; readonly port?: number }[];
}
/** Thrown: the rule has no form in an HTTPRoute. */
export class Impossible extends Error {
  constructor(
    readonly field: string,
    message: string,
  ) {
    super(message);
  }
}

const methods: ReadonlySet<string> = new Set(
  'GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH'.split(' '),
);

/** A string match of Istio: exact, prefix or regex; undefined: none of them. */
function valueOf(reader: Reader): { readonly regex: boolean; readonly text: string } | undefined {
  const [exact, prefix, regex] = [reader.text('exact'), reader.text('prefix'), reader.text('regex')];
  if (exact !== undefined) return { regex: false, text: exact };
  if (prefix !== undefined) return { regex: true, text: `${quoteRegex(prefix)}.*` };
  return regex === undefined ? undefined : { regex: true, text: regex };
}
function named(name: string, reader: Reader): Named {
  const found = valueOf(reader);
  // Without a value the header must be there.
  if (!found) return { type: 'RegularExpression', name, value: '.*' };
  return { type: found.regex ? 'RegularExpression' : 'Exact', name, value: found.text };
}

function pathOf(match: Reader): HttpMatch['path'] {
  const uri = match.child('uri');
  if (!match.has('uri')) return undefined;
  const isCaseless = match.flag('ignoreUriCase') === true;
  const prefix = uri.text('prefix');
  if (prefix === '/') return { type: 'PathPrefix', value: '/' };
  const found = valueOf(uri);
  if (!found) throw new Impossible(uri.path, 'it has neither exact, prefix nor regex');
  if (isCaseless)
    return { type: 'RegularExpression', value: `(?i)${found.regex ? found.text : quoteRegex(found.text)}` };
  return found.regex
    ? { type: 'RegularExpression', value: found.text }
    : { type: 'Exact', value: found.text };
}

/** One match of a VirtualService. Errors: Impossible. */
export function httpMatch(match: Reader): HttpMatch {
  for (const key of ['withoutHeaders', 'sourceLabels', 'sourceNamespace', 'scheme'])
    if (match.has(key)) throw new Impossible(match.pathOf(key), `an HTTPRoute has no ${key}`);
  const method = match.child('method');
  const exact = method.text('exact');
  if (match.has('method') && (exact === undefined || !methods.has(exact)))
    throw new Impossible(method.path, 'an HTTPRoute compares a whole method of RFC 9110');
  const headers = match.child('headers');
  const all = headers.keys.map((name) => {
    if (/^:?(uri|scheme|method|path)$/i.test(name) && name.startsWith(':'))
      throw new Impossible(headers.pathOf(name), 'it is no header');
    return named(name === ':authority' ? 'host' : name, headers.child(name));
  });
  const authority = match.child('authority');
  if (match.has('authority')) all.push(named('host', authority));
  const query = match.child('queryParams');
  const params = query.keys.map((name) => named(name, query.child(name)));
  // Names of statistics.
  match.take('name');
  match.take('statPrefix');
  const path = pathOf(match);
  return {
    ...(path ? { path } : {}),
    ...(exact === undefined ? {} : { method: exact }),
    ...(all.length > 0 ? { headers: all } : {}),
    ...(params.length > 0 ? { queryParams: params } : {}),
  };
}

/** The order in which a waypoint tries matches (src/waypoint/routes/compile.ts): the lower comes first. */
function orderOf({ path, method, headers = [], queryParams = [] }: HttpMatch): readonly number[] {
  const { type, value } = path ?? { type: 'PathPrefix', value: '/' };
  const rank = type === 'Exact' ? 0 : type === 'RegularExpression' ? 1 : value === '/' ? 4 : 2;
  const length = type === 'PathPrefix' ? value.replace(/\/+$/, '').length || 1 : value.length;
  return [rank, -length, method === undefined ? 1 : 0, -headers.length, -queryParams.length];
}

/** Whether `later`, which is written behind `earlier`, would be tried first. */
export function overtakes(later: HttpMatch, earlier: HttpMatch): boolean {
  const [a, b] = [orderOf(later), orderOf(earlier)];
  for (const [i, mine] of a.entries()) {
    const other = b[i] ?? 0;
    if (mine !== other) return mine < other;
  }
  return false;
}

function disjointNames(
  a: readonly Named[] = [],
  b: readonly Named[] = [],
  fold: (name: string) => string,
): boolean {
  return a.some((one) =>
    b.some(
      (other) =>
        fold(one.name) === fold(other.name) &&
        one.type === 'Exact' &&
        other.type === 'Exact' &&
        one.value !== other.value,
    ),
  );
}
/** The text that each path that the match accepts begins with. */
function beginning({ path }: HttpMatch): { readonly text: string; readonly whole: boolean } {
  if (!path) return { text: '', whole: false };
  if (path.type === 'Exact') return { text: path.value, whole: true };
  if (path.type === 'PathPrefix') return { text: path.value === '/' ? '' : path.value, whole: false };
  // Of an expression only what its author could not have meant otherwise: letters, digits and slashes, without alternatives.
  if (/[|]|\(\?/.test(path.value)) return { text: '', whole: false };
  const plain = /^(?:[A-Za-z0-9/_~-]|\\[.])*/.exec(path.value)?.[0] ?? '';
  const next = path.value.slice(plain.length);
  return { text: (/^[?*{]/.test(next) ? plain.slice(0, -1) : plain).replaceAll('\\', ''), whole: false };
}
function disjointPaths(a: HttpMatch, b: HttpMatch): boolean {
  const [one, other] = [beginning(a), beginning(b)];
  if (one.whole && other.whole) return one.text !== other.text;
  if (one.whole) return !one.text.startsWith(other.text);
  if (other.whole) return !other.text.startsWith(one.text);
  return !one.text.startsWith(other.text) && !other.text.startsWith(one.text);
}

/** Whether no request has both matches. Only what is certain counts: an expression may match anything behind its plain beginning. */
export function areDisjoint(a: HttpMatch, b: HttpMatch): boolean {
  return (
    (a.method !== undefined && b.method !== undefined && a.method !== b.method) ||
    disjointNames(a.headers, b.headers, (name) => name.toLowerCase()) ||
    disjointNames(a.queryParams, b.queryParams, (name) => name) ||
    disjointPaths(a, b)
  );
}
