/**
 * Matches of a route's rules. What cannot be read of one (a regular expression, a path) is a problem with its field, and in its place stands
 * what it might have meant at the widest. Pure.
 */
import { errorText } from '../../src/base/errors.js';
import type { PathMatch, RouteMatch, ValueMatch } from '../../src/model/route.js';
import { normalizeAuthority } from '../../src/policy/host.js';
import { regexProblem, regexWeight, routeRegexWeightMax } from '../../src/policy/regex.js';
import type { GrpcRouteMatch, HttpRouteMatch, NamedMatch } from '../objects/objects.js';
import { routePath } from './paths.js';

/** Longest pattern of the Gateway API (headers and query parameters). */
const patternCharsMax = 4096;

/**
 * Any text, and among regular expressions in no later place than `source`: longer ones come first. The class holds everything however
 * often it is said in it, so that length costs nothing when it is matched.
 */
const anyText = (source: string): string =>
  `[${'\\s\\S'.repeat(Math.ceil(Math.min(source.length, patternCharsMax) / 4) + 1)}]*`;

export class MatchReader {
  readonly #problems: string[] = [];
  /**
   * @param rule the field of the rule, for problems
   * @param budget of the route: what its regular expressions cost so far
   */
  constructor(
    private readonly rule: string,
    private readonly budget: { weight: number } = { weight: 0 },
  ) {}

  /** Each with its field. */
  get problems(): readonly string[] {
    return this.#problems;
  }

  http({ path, method, headers, queryParams }: HttpRouteMatch, index: number): RouteMatch {
    const field = `${this.rule}.matches[${index}]`;
    return {
      path: this.#httpPath(path, `${field}.path.value`),
      ...(method === undefined ? {} : { method }),
      headers: this.#headers(headers, `${field}.headers`),
      query: this.#values(queryParams, `${field}.queryParams`, (name) => name),
    };
  }

  grpc({ method, headers }: GrpcRouteMatch, index: number): RouteMatch {
    const field = `${this.rule}.matches[${index}]`;
    const path = this.#grpcPath(method, `${field}.method`);
    return { ...(path ? { path } : {}), headers: this.#headers(headers, `${field}.headers`), query: [] };
  }

  #problem(field: string, why: string): void {
    this.#problems.push(`${field}: ${why}`);
  }

  #regex(source: string, field: string): string {
    this.budget.weight += regexWeight(source);
    const why =
      this.budget.weight > routeRegexWeightMax
        ? `with it the route's regular expressions have more than ${routeRegexWeightMax} steps`
        : regexProblem(source);
    if (why === '') return source;
    this.#problem(field, `${JSON.stringify(source.slice(0, 200))} is no regular expression of RE2: ${why}`);
    return anyText(source);
  }

  #httpPath(path: HttpRouteMatch['path'], field: string): PathMatch {
    const { type = 'PathPrefix', value = '/' } = path ?? {};
    // Held against the normalized path, as it is written.
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

  /** The first of a name holds, others are passed over (specification of headers and queryParams). */
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

  #grpcPath(match: GrpcRouteMatch['method'], field: string): PathMatch | undefined {
    const { type = 'Exact', service, method } = match ?? {};
    if (service === undefined && method === undefined) {
      if (match) this.#problem(field, 'a method match needs service, method or both');
      return undefined;
    }
    if (type === 'RegularExpression') {
      // Each by itself: a bracket that one leaves open must not be closed in the other.
      const before = this.#problems.length;
      if (service !== undefined) this.#regex(service, `${field}.service`);
      if (method !== undefined) this.#regex(method, `${field}.method`);
      const value = `/(?:${service ?? '[^/]+'})/(?:${method ?? '[^/]+'})`;
      if (this.#problems.length === before) this.#regex(value, field);
      return { kind: 'regex', value: this.#problems.length > before ? anyText(value) : value };
    }
    const before = this.#problems.length;
    if (service !== undefined && !/^\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$/i.test(service))
      this.#problem(`${field}.service`, `${JSON.stringify(service)} is no name of a gRPC service`);
    if (method !== undefined && !/^[a-z_][a-z_0-9]*$/i.test(method))
      this.#problem(`${field}.method`, `${JSON.stringify(method)} is no name of a gRPC method`);
    if (this.#problems.length > before)
      return { kind: 'regex', value: anyText(`/${service ?? ''}/${method ?? ''}`) };
    if (service === undefined) return { kind: 'suffix', value: `/${method}` };
    return method === undefined
      ? { kind: 'prefix', value: `/${service}` }
      : { kind: 'exact', value: `/${service}/${method}` };
  }
}
