/**
 * Makes a rule safe to apply, whatever its author wrote: no configured value may contain a line end of a head or set a body's length. Done once
 * per configuration.
 */
import type { HeaderPair, PathChange, RouteFilter, RouteRule } from '../../model/route.js';
import { normalizeAuthority } from '../../policy/host.js';
import { framingFields } from '../http/restricted-fields.js';

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const badInValue = /[\0-\x08\x0a-\x1f\x7f]|[^\0-\xff]/;
const isHost = (text: string): boolean => {
  try {
    return normalizeAuthority(text) !== '';
  } catch {
    return false;
  }
};
const isGood = (text: string): boolean => !badInValue.test(text);

export function sanitizeRule(rule: RouteRule): RouteRule {
  const { sessionPersistence: persistence, ...rest } = rule;
  return {
    ...rest,
    filters: rule.filters.map(safeFilter),
    backends: rule.backends.map((backend) => ({ ...backend, filters: backend.filters.map(safeFilter) })),
    ...(persistence && token.test(persistence.name) ? { sessionPersistence: persistence } : {}),
  };
}

function safeFilter(filter: RouteFilter): RouteFilter {
  switch (filter.kind) {
    case 'request-headers':
    case 'response-headers': {
      const isSafe = ({ name, value }: HeaderPair): boolean =>
        token.test(name) &&
        isGood(value) &&
        !framingFields.has(name) &&
        (name !== 'host' || (filter.kind === 'request-headers' && isHost(value)));
      return { ...filter, set: filter.set.filter(isSafe), add: filter.add.filter(isSafe) };
    }
    case 'redirect': {
      const { hostname, path, scheme, ...rest } = filter;
      return {
        ...rest,
        ...(scheme !== undefined && /^[a-z][a-z0-9+.-]*$/i.test(scheme) ? { scheme } : {}),
        ...(hostname !== undefined && isHost(hostname) ? { hostname } : {}),
        ...(path ? { path: safePath(path) } : {}),
      };
    }
    case 'rewrite': {
      const { hostname, path, ...rest } = filter;
      return {
        ...rest,
        ...(hostname !== undefined && isHost(hostname) ? { hostname } : {}),
        ...(path ? { path: safePath(path) } : {}),
      };
    }
    case 'cors':
      return {
        ...filter,
        allowOrigins: filter.allowOrigins.filter(isGood),
        allowMethods: filter.allowMethods.filter(isGood),
        allowHeaders: filter.allowHeaders.filter(isGood),
        exposeHeaders: filter.exposeHeaders.filter(isGood),
      };
    case 'mirror':
      return filter;
  }
}

/** Escapes characters that a request line cannot contain. */
function safePath({ kind, value }: PathChange): PathChange {
  const escaped = value.replace(/[^\x21-\x7e]|#/gu, (character) =>
    [...Buffer.from(character)]
      .map((byte) => `%${byte.toString(16).padStart(2, '0').toUpperCase()}`)
      .join(''),
  );
  return { kind, value: escaped };
}
