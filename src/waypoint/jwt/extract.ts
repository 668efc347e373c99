/** Finds the token of a request in the places that a policy names, and removes it from there. */
import type { JwtLocation } from '../../discovery/gen/weft.js';
import { isToken } from '../filters/config-values.js';
import { headerOf, removeHeader, setHeader, type Headers } from '../http/headers.js';
import type { RequestHead } from '../http/http-stream.js';

/** A token in one place; `several`: there is more than one, or its readers may differ. */
type Found = { readonly token: string } | 'several' | undefined;

/** One place where tokens may be. */
export interface TokenPlace {
  /** Unique; it names the place in logs. */
  readonly name: string;
  readonly isQuery: boolean;
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
  const isOf = (pair: string): boolean => pair.slice(0, pair.indexOf('=')).trim() === name;
  const pairsOf = (headers: Headers): string[] => headerOf(headers, 'cookie')?.split(';') ?? [];
  return {
    name: `cookie ${name}`,
    isQuery: false,
    find({ headers }) {
      const line = headerOf(headers, 'cookie');
      if (line?.includes(name) !== true) return undefined;
      const pairs = pairsOf(headers).filter((pair) => pair.includes('=') && isOf(pair));
      const [only] = pairs;
      if (only === undefined) return undefined;
      if (pairs.length > 1) return 'several';
      const value = only.slice(only.indexOf('=') + 1).trim();
      return { token: value.replace(/^"(.*)"$/, '$1') };
    },
    remove({ headers }) {
      const rest = pairsOf(headers).filter((pair) => !(pair.includes('=') && isOf(pair)));
      const line = rest.map((pair) => pair.trim()).join('; ');
      if (line === '') removeHeader(headers, 'cookie');
      else setHeader(headers, 'cookie', line);
    },
  };
}

function queryPlace(name: string): TokenPlace {
  return {
    name: `parameter ${name}`,
    isQuery: true,
    find({ path }) {
      const at = path.indexOf('?');
      if (at < 0) return undefined;
      const query = path.slice(at + 1);
      const values = new URLSearchParams(query).getAll(name);
      // Some endpoints take a semicolon for a separator, too.
      const others = query.includes(';')
        ? new URLSearchParams(query.replaceAll(';', '&')).getAll(name)
        : values;
      const [value] = values;
      if (values.length > 1 || others.length !== values.length || others[0] !== value) return 'several';
      return value === undefined ? undefined : { token: value };
    },
    remove(head) {
      head.path = withoutParameter(head.path, name);
    },
  };
}

/** The path without a query parameter, however its name is escaped. The rest of the query stays as it is. */
function withoutParameter(path: string, name: string): string {
  const at = path.indexOf('?');
  if (at < 0) return path;
  const isOf = (pair: string): boolean => new URLSearchParams(pair).has(name);
  const rest = path
    .slice(at + 1)
    .split('&')
    // A part with a semicolon is removed whole: some endpoints read several parameters of it.
    .filter((pair) => !isOf(pair) && !(pair.includes(';') && isOf(pair.replaceAll(';', '&'))));
  return rest.length === 0 ? path.slice(0, at) : `${path.slice(0, at)}?${rest.join('&')}`;
}
