/**
 * Compiles the matches of a route's rules. An unreadable part of a match (a regular expression, a path) is reported as a problem with its
 * field, and is replaced by the widest condition that it could have meant. Pure.
 */
import { errorText } from '../../../src/base/errors.js';
import type { PathMatch, RouteMatch, ValueMatch } from '../../../src/model/route.js';
import { normalizeAuthority } from '../../../src/policy/host.js';
import { byteRegex } from '../byte-regex.js';
import { regexProblem, regexWeight, routeRegexWeightMax } from '../../../src/policy/regex.js';
import type { GrpcRouteMatch, HttpRouteMatch, NamedMatch } from '../../objects/objects.js';
import { routePath } from '../../compile/paths.js';

/** Longest pattern of the Gateway API (headers and query parameters). */
const patternCharsMax = 4096;

/**
 * A regular expression that matches any text, and takes precedence over `source`: longer expressions come first. Repeating `\s\S` inside the
 * character class does not change what it matches, so that the length costs nothing at match time.
 */
const anyText = (source: string): string =>
  `[${'\\s\\S'.repeat(Math.ceil(Math.min(source.length, patternCharsMax) / 4) + 1)}]*`;

export class MatchReader {
  readonly #problems: string[] = [];
  /**
   * @param rule the field path of the rule, for problems
   * @param budget of the route: the total weight of its regular expressions so far
   */
  constructor(
    private readonly rule: string,
    private readonly budget: { weight: number } = { weight: 0 },
  ) {}

  /** Problems found so far, each with its field. */
  get problems(): readonly string[] {
    return this.#problems;
  }

  http({ path, method, headers, queryParams, unreadable }: HttpRouteMatch, index: number): RouteMatch {
    const field = `${this.rule}.matches[${index}]`;
    return {
      ...(unreadable ? { unreadable: true } : {}),
      ...(unreadable === 'path' && !path ? {} : { path: this.#httpPath(path, `${field}.path.value`) }),
      ...(method === undefined ? {} : { method }),
      headers: this.#headers(headers, `${field}.headers`),
      query: this.#values(queryParams, `${field}.queryParams`, (name) => name),
    };
  }

  grpc({ method, headers, unreadable }: GrpcRouteMatch, index: number): RouteMatch {
    const field = `${this.rule}.matches[${index}]`;
    const path = this.#grpcPath(method, `${field}.method`);
    return {
      ...(unreadable ? { unreadable: true } : {}),
      ...(path ? { path } : unreadable === 'other' ? { path: { kind: 'prefix', value: '/' } } : {}),
      headers: this.#headers(headers, `${field}.headers`),
      query: [],
    };
  }

  #problem(field: string, why: string): void {
    this.#problems.push(`${field}: ${why}`);
  }

  #regex(source: string, field: string): string {
    this.budget.weight += regexWeight(source);
    const why =
      this.budget.weight > routeRegexWeightMax
        ? `the regular expressions of the route together exceed ${routeRegexWeightMax} steps`
        : regexProblem(source);
    if (why === '') return source;
    this.#problem(
      field,
      `${JSON.stringify(source.slice(0, 200))} is not a supported RE2 regular expression: ${why}`,
    );
    return anyText(source);
  }

  #httpPath(path: HttpRouteMatch['path'], field: string): PathMatch {
    const { type = 'PathPrefix', value = '/' } = path ?? {};
    // The expression is matched, unchanged, against the normalized path.
    if (type === 'RegularExpression') return { kind: 'regex', value: this.#regex(value, field) };
    try {
      const normalized = routePath(value);
      return type === 'Exact'
        ? { kind: 'exact', value: normalized }
        : { kind: 'prefix', value: normalized.replace(/\/+$/, '') || '/' };
    } catch (error) {
      this.#problem(field, errorText(error));
      return { kind: 'regex', value: anyText(value) };
    }
  }

  /** Of several matches with the same name only the first counts (specification of headers and queryParams). */
  #values(
    list: readonly NamedMatch[] | undefined,
    field: string,
    nameOf: (name: string) => string,
  ): readonly ValueMatch[] {
    const found = new Map<string, ValueMatch>();
    for (const [i, { type = 'Exact', name: given, value }] of (list ?? []).entries()) {
      const name = nameOf(given);
      if (found.has(name)) continue;
      if (type === 'Exact') found.set(name, { kind: 'exact', name, value });
      else found.set(name, { kind: 'regex', name, value: this.#regex(value, `${field}[${i}].value`) });
    }
    return [...found.values()];
  }

  #headers(list: readonly NamedMatch[] | undefined, field: string): readonly ValueMatch[] {
    return this.#values(list, field, (name) => name.toLowerCase()).map((match) => {
      if (match.kind === 'regex') return this.#inBytes(match, field);
      if (match.kind !== 'exact') return match;
      if (match.name !== 'host')
        // Header values are read byte by byte.
        return { ...match, value: Buffer.from(match.value, 'utf8').toString('latin1') };
      try {
        return { ...match, value: normalizeAuthority(match.value) };
      } catch (error) {
        this.#problem(field, `host: ${JSON.stringify(match.value)}: ${errorText(error)}`);
        return { kind: 'regex', name: match.name, value: anyText('') };
      }
    });
  }

  #inBytes(match: ValueMatch, field: string): ValueMatch {
    try {
      return { ...match, value: byteRegex(match.value) };
    } catch (error) {
      this.#problem(field, `${match.name}: ${errorText(error)}`);
      return { ...match, value: anyText('') };
    }
  }

  #grpcPath(match: GrpcRouteMatch['method'], field: string): PathMatch | undefined {
    const { type = 'Exact', service, method } = match ?? {};
    if (service === undefined && method === undefined) {
      if (match) this.#problem(field, 'a method match needs service, method, or both');
      return undefined;
    }
    if (type === 'RegularExpression') {
      // Each expression is checked alone: a bracket left open in one must not be closed by the other.
      const before = this.#problems.length;
      if (service !== undefined) this.#regex(service, `${field}.service`);
      if (method !== undefined) this.#regex(method, `${field}.method`);
      const value = `/(?:${service ?? '[^/]+'})/(?:${method ?? '[^/]+'})`;
      if (this.#problems.length === before) this.#regex(value, field);
      return { kind: 'regex', value: this.#problems.length > before ? anyText(value) : value };
    }
    const before = this.#problems.length;
    if (service !== undefined && !/^\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$/i.test(service))
      this.#problem(`${field}.service`, `${JSON.stringify(service)} is not a gRPC service name`);
    if (method !== undefined && !/^[a-z_][a-z_0-9]*$/i.test(method))
      this.#problem(`${field}.method`, `${JSON.stringify(method)} is not a gRPC method name`);
    if (this.#problems.length > before)
      return { kind: 'regex', value: anyText(`/${service ?? ''}/${method ?? ''}`) };
    if (service === undefined) return { kind: 'suffix', value: `/${method}` };
    return method === undefined
      ? { kind: 'prefix', value: `/${service}` }
      : { kind: 'exact', value: `/${service}/${method}` };
  }
}
