/** Finds the token of a request in the places that a policy names, and removes it from there. */
import type { JwtLocation } from '../../discovery/gen/weft.js';
import { isToken } from '../filters/config-values.js';
import { headerOf, removeHeader, setHeader } from '../http/headers.js';
import type { RequestHead } from '../http/http-stream.js';
import { parameterName, parametersOf, withoutParameters, type ParameterName } from '../http/query.js';

/** A token in one place; `several`: there is more than one, or its readers may differ. */
type Found = { readonly token: string } | 'several' | undefined;

/** One place where tokens may be. */
export interface TokenPlace {
  /** Unique; it names the place in logs. */
  readonly name: string;
  readonly isQuery: boolean;
  /** The header, and characters of its prefix: of two places in one header, the one with the longer prefix is meant. */
  readonly header?: { readonly name: string; readonly prefixLength: number };
  find(head: RequestHead): Found;
  /** Removes the token from the head, in place. */
  remove(head: RequestHead): void;
}

/** Compiles a place. Error: this version cannot read it. */
export function placeOf({ place }: JwtLocation): TokenPlace {
  switch (place?.$case) {
    case 'header':
      return headerPlace(needToken(place.value.name).toLowerCase(), place.value.prefix);
    case 'cookie':
      return cookiePlace(needToken(place.value));
    case 'query':
      if (place.value === '') throw new Error('the name of a query parameter is empty');
      return queryPlace(place.value);
    default:
      throw new Error('the place of a token is unknown');
  }
}

function needToken(name: string): string {
  if (!isToken(name))
    throw new Error(`${JSON.stringify(name.slice(0, 64))} is no name of a header or cookie`);
  return name;
}

function headerPlace(name: string, prefix: string): TokenPlace {
  // Authentication schemes are not case-sensitive (RFC 9110, section 11.1), so an endpoint may take any case.
  const start = prefix.trim().toLowerCase();
  const hasSpace = prefix !== prefix.trimEnd();
  const read = (value: string): string | undefined => {
    if (start === '') return value.trim();
    const text = value.trimStart();
    if (text.length < start.length || text.slice(0, start.length).toLowerCase() !== start) return undefined;
    const rest = text.slice(start.length);
    return hasSpace && rest !== '' && !/^\s/.test(rest) ? undefined : rest.trim();
  };
  return {
    name: `header ${name}${start === '' ? '' : ` with ${start}`}`,
    isQuery: false,
    header: { name, prefixLength: start.length },
    find({ headers }) {
      let found: string | undefined;
      let fields = 0;
      for (let i = 0; i < headers.length; i += 2) {
        if (headers[i] !== name) continue;
        fields++;
        found ??= read(headers[i + 1] ?? '');
      }
      if (found === undefined) return undefined;
      // Endpoints take the first, the last or all fields of the name.
      return fields > 1 ? 'several' : { token: found };
    },
    remove: ({ headers }) => removeHeader(headers, name),
  };
}

function cookiePlace(name: string): TokenPlace {
  return {
    name: `cookie ${name}`,
    isQuery: false,
    find({ headers }) {
      const line = headerOf(headers, 'cookie') ?? '';
      const [only, another] = cookiesOf(line, name);
      if (!only) return undefined;
      if (another) return 'several';
      const value = line.slice(only.equals + 1, only.to).trim();
      return { token: value.replace(/^"(.*)"$/, '$1') };
    },
    remove({ headers }) {
      const line = headerOf(headers, 'cookie') ?? '';
      let rest = line;
      for (const { from, to } of cookiesOf(line, name).reverse())
        rest = from > 0 ? rest.slice(0, from - 1) + rest.slice(to) : rest.slice(to + 1);
      rest = rest.trim();
      if (rest === '') removeHeader(headers, 'cookie');
      else setHeader(headers, 'cookie', rest);
    },
  };
}

interface Cookie {
  readonly from: number;
  readonly equals: number;
  readonly to: number;
}

/** The first two cookies of a name. The line may be long, so it is not split. */
function cookiesOf(line: string, name: string): Cookie[] {
  const found: Cookie[] = [];
  for (let from = 0; from < line.length && found.length < 2;) {
    let to = line.indexOf(';', from);
    if (to < 0) to = line.length;
    const equals = line.indexOf('=', from);
    // Without any further `=` there is no further cookie.
    if (equals < 0) break;
    if (equals < to && line.slice(from, equals).trim() === name) found.push({ from, equals, to });
    from = to + 1;
  }
  return found;
}

function queryPlace(text: string): TokenPlace {
  const name = parameterName(text);
  return {
    name: `parameter ${text}`,
    isQuery: true,
    find({ path }) {
      const at = path.indexOf('?');
      if (at < 0) return undefined;
      const query = path.slice(at + 1);
      const found = parametersOf(query, name);
      const [only] = found;
      // Some endpoints take a semicolon for a separator, too.
      const others = query.includes(';') ? parametersOf(query, name, true) : found;
      if (found.length > 1 || others.length !== found.length || others[0]?.value !== only?.value)
        return 'several';
      return only && { token: only.value };
    },
    remove(head) {
      head.path = withoutParameter(head.path, name);
    },
  };
}

function withoutParameter(path: string, name: ParameterName): string {
  const at = path.indexOf('?');
  if (at < 0) return path;
  const query = path.slice(at + 1);
  // The request is refused, so that only the log has this path.
  if (query.includes(';') && parametersOf(query, name, true).length > 0) return path.slice(0, at);
  const rest = withoutParameters(query, name);
  return rest === '' ? path.slice(0, at) : `${path.slice(0, at)}?${rest}`;
}
