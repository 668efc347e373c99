/** Translates the matches of a VirtualService's rules. A condition that cannot be read is left out, which widens the match, and is a problem. */
import { errorText } from '../../../src/base/errors.js';
import type { PathMatch, RouteMatch, ValueMatch } from '../../../src/model/route.js';
import { normalizeAuthority } from '../../../src/policy/host.js';
import { byteRegex } from '../byte-regex.js';
import { quoteRegex, regexProblem, regexWeight, routeRegexWeightMax } from '../../../src/policy/regex.js';
import { routePath } from '../../compile/paths.js';
import type { ConnectionMatch, HttpMatch, StringMatch } from '../../objects/istio-virtual-service.js';

/** Part of a match that cannot be read: the rule is closed. */
export type OnProblem = (field: string, why: string) => void;

/** The matches of one VirtualService. Their regular expressions have a budget in common. */
export class MatchReader {
  #regexWeight = 0;
  constructor(private readonly onProblem: OnProblem) {}

  http(match: HttpMatch, at: string): RouteMatch {
    const { uri, ignoreUriCase, scheme, method, authority } = match;
    const path = this.#uri(uri, `${at}.uri`);
    const pseudo = [
      ...this.#text(':method', method, `${at}.method`),
      ...this.#text(':scheme', scheme, `${at}.scheme`),
      ...this.#authority(authority, `${at}.authority`),
    ];
    const withoutHeaders = this.#headers(match.withoutHeaders, `${at}.withoutHeaders`);
    return {
      ...(path ? { path } : {}),
      ...(path && path.kind !== 'regex' && ignoreUriCase === true ? { ignorePathCase: true } : {}),
      headers: [...pseudo, ...this.#headers(match.headers, `${at}.headers`)],
      query: Object.entries(match.queryParams ?? {}).flatMap(([name, value]) =>
        this.#text(name, value, `${at}.queryParams.${name}`),
      ),
      ...(withoutHeaders.length > 0 ? { withoutHeaders } : {}),
    };
  }

  /** The name that a TLS client asks for. `*.example.com` is a suffix. Undefined: any. */
  sni(hosts: readonly string[]): ValueMatch | undefined {
    if (hosts.length === 0 || hosts.includes('*')) return undefined;
    const source = hosts.map((host) =>
      host.startsWith('*.') ? `.+${quoteRegex(host.slice(1).toLowerCase())}` : quoteRegex(host.toLowerCase()),
    );
    return { kind: 'regex', name: ':authority', value: this.regex(source.join('|'), 'sniHosts') ?? '.*' };
  }

  /** Why an expression cannot be used, here or in a filter; empty if it can. */
  regexProblem(source: string): string {
    this.#regexWeight += regexWeight(source);
    return this.#regexWeight > routeRegexWeightMax
      ? `the regular expressions together exceed ${routeRegexWeightMax} steps`
      : regexProblem(source);
  }

  /** The expression; undefined if it cannot be used. */
  regex(source: string, field: string): string | undefined {
    const why = this.regexProblem(source);
    if (why === '') return source;
    this.onProblem(
      field,
      `${JSON.stringify(source.slice(0, 200))} is not a supported RE2 regular expression: ${why}`,
    );
    return undefined;
  }

  #uri(uri: StringMatch | undefined, at: string): PathMatch | undefined {
    if (!uri) return undefined;
    if (uri.regex !== undefined) {
      const value = this.regex(uri.regex, `${at}.regex`);
      return value === undefined ? undefined : { kind: 'regex', value };
    }
    try {
      if (uri.exact !== undefined) return { kind: 'exact', value: routePath(uri.exact) };
      if (uri.prefix === undefined || uri.prefix === '') return undefined;
      return { kind: 'string-prefix', value: routePath(uri.prefix) };
    } catch (error) {
      this.onProblem(at, errorText(error));
      return undefined;
    }
  }

  #authority(match: StringMatch | undefined, at: string): ValueMatch[] {
    const [read] = this.#text(':authority', match, at);
    if (read?.kind === 'prefix') return [{ ...read, value: read.value.toLowerCase() }];
    if (read?.kind !== 'exact') return read ? [read] : [];
    try {
      return [{ ...read, value: normalizeAuthority(read.value) }];
    } catch (error) {
      this.onProblem(at, errorText(error));
      return [];
    }
  }

  #headers(matches: Readonly<Record<string, StringMatch>> | undefined, at: string): ValueMatch[] {
    return Object.entries(matches ?? {}).flatMap(([given, match]) => {
      const name = given.toLowerCase();
      if (name === 'host' || name === ':authority') return this.#authority(match, `${at}.${given}`);
      if (name.startsWith(':') && name !== ':method' && name !== ':scheme') {
        this.onProblem(`${at}.${given}`, `${name} is not matched here`);
        return [];
      }
      // Istio reads claims at ingress gateways alone. No request has a header of this name.
      if (name.startsWith('@request.auth.')) {
        this.onProblem(
          `${at}.${given}`,
          'claims are not matched here: match a header that a claim is copied to (outputClaimToHeaders, or claimHeaders of an AuthenticationPolicy)',
        );
        return [];
      }
      // Header values are read byte by byte.
      return this.#text(name, match, `${at}.${given}`).flatMap((one) => this.#inBytes(one, `${at}.${given}`));
    });
  }

  #inBytes(match: ValueMatch, at: string): ValueMatch[] {
    if (match.kind !== 'regex')
      return [{ ...match, value: Buffer.from(match.value, 'utf8').toString('latin1') }];
    try {
      return [{ ...match, value: byteRegex(match.value) }];
    } catch (error) {
      this.onProblem(`${at}.regex`, errorText(error));
      return [];
    }
  }

  /** Without a value, and with a prefix or an expression that everything matches, it is enough that the name is present. */
  #text(name: string, match: StringMatch | undefined, at: string): ValueMatch[] {
    if (!match) return [];
    const { exact, prefix, regex } = match;
    if (exact !== undefined) return [{ kind: 'exact', name, value: exact }];
    if (prefix !== undefined && prefix !== '') return [{ kind: 'prefix', name, value: prefix }];
    if (regex === undefined || regex === '*') return [{ kind: 'present', name, value: '' }];
    const value = this.regex(regex, `${at}.regex`);
    return value === undefined ? [] : [{ kind: 'regex', name, value }];
  }
}

/** The matches of a rule that count at a port. Undefined: the rule does not apply there. Empty: it matches everything. */
export function matchesAt<M extends HttpMatch | ConnectionMatch>(
  matches: readonly M[] | undefined,
  port: number,
): readonly { readonly match: M; readonly index: number }[] | undefined {
  const all = (matches ?? []).map((match, index) => ({ match, index }));
  const here = all.filter(
    ({ match }) => (match.port === undefined || match.port === port) && isForMesh(match.gateways),
  );
  return all.length > 0 && here.length === 0 ? undefined : here;
}

/** Rules for ingress gateways alone do not concern the mesh. */
export const isForMesh = (gateways: readonly string[] | undefined): boolean =>
  gateways === undefined || gateways.length === 0 || gateways.includes('mesh');
