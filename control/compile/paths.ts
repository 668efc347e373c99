/**
 * Converts configured paths to the normalized form in which request paths are compared. Pure. A path that no request can have is an error:
 * an ALLOW rule with it would allow nothing for no visible reason, and a DENY rule with it would deny nothing.
 */
import type { PolicyPath } from '../../src/model/policy.js';
import { normalizePath, placeholders, TargetError } from '../../src/policy/path.js';

const wrong = (field: string, value: string, why: string): Error =>
  new Error(`${field}: ${JSON.stringify(value)}: ${why}`);

function normalized(field: string, given: string, path: string): string {
  if (/[\uE000\uE001]/.test(given))
    throw wrong(field, given, 'it contains a private-use character (U+E000 or U+E001)');
  try {
    return normalizePath(path);
  } catch (error) {
    if (error instanceof TargetError)
      throw wrong(field, given, `${error.message}: no request has such a path`);
    throw error;
  }
}

function template(field: string, value: string): PolicyPath {
  const { segment, rest } = placeholders;
  const parts = value.slice(1).split('/');
  const marked = parts.map((part, index) => {
    if (part === '{*}') return segment;
    if (part === '{**}') {
      if (index === parts.length - 1) return rest;
      throw wrong(field, value, '{**} matches the rest of the path: it must be last');
    }
    if (/[*{}]/.test(part))
      throw wrong(
        field,
        value,
        'a segment is a literal text, {*} for any segment, or as the last one {**} for the rest',
      );
    return part;
  });
  const segments = normalized(field, value, `/${marked.join('/')}`)
    .slice(1)
    .split('/');
  const count = (list: readonly string[]): number =>
    list.filter((one) => one === segment || one === rest).length;
  if (count(segments) !== count(marked))
    throw wrong(
      field,
      value,
      'a dot segment removes a wildcard: request paths are compared without dot segments',
    );
  return {
    kind: 'template',
    segments: segments.map((one) => (one === segment ? '*' : one === rest ? '**' : one)),
  };
}

/**
 * A path of an AccessPolicy: `/exact`, `/prefix*`, `*suffix`, `*`, or a template whose segments are literal texts, `{*}`, and as the last
 * one `{**}`. Escapes, non-ASCII characters, dot segments and slashes are normalized as in requests. Errors name `field` and the value.
 */
export function policyPath(field: string, value: string): PolicyPath {
  const { rest } = placeholders;
  if (/[?#]/.test(value)) throw wrong(field, value, 'a path ends before ? and #');
  if (!value.startsWith('/') && !value.startsWith('*'))
    throw wrong(field, value, 'it must begin with / or *');
  if (/[{}]/.test(value)) {
    if (value.startsWith('/')) return template(field, value);
    throw wrong(field, value, 'a template must begin with /');
  }
  if (/.\*./.test(value) || (value.length > 1 && value.startsWith('*') && value.endsWith('*')))
    throw wrong(field, value, '* is allowed only at one end; inside a path write {*} for a segment');
  if (value === '*') return { kind: 'prefix', value: '' };
  if (value.endsWith('*'))
    // A placeholder keeps the last segment from being normalized: `/.*` matches everything that begins with a dot, not the root.
    return { kind: 'prefix', value: normalized(field, value, `${value.slice(0, -1)}${rest}`).slice(0, -1) };
  if (!value.startsWith('*')) return { kind: 'exact', value: normalized(field, value, value) };
  if (/;|%3b/i.test(value))
    throw wrong(
      field,
      value,
      'endpoints that ignore path parameters would treat any path as a match: write a prefix',
    );
  const text = normalized(field, value, `/${rest}${value.slice(1)}`);
  if (!text.startsWith(`/${rest}`))
    throw wrong(
      field,
      value,
      'a dot segment removes the wildcard: request paths are compared without dot segments',
    );
  return { kind: 'suffix', value: text.slice(2) };
}

/** Exact paths and prefixes that the published CRDs of the Gateway API accept. */
const routePathText = /^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+$/;
const routePathNever = /\/\/|\/\.\.?(\/|$)|%2f/i;

/** The exact path or prefix of a route's match, normalized as in requests. Errors name the value. */
export function routePath(value: string): string {
  if (!value.startsWith('/') || !routePathText.test(value) || routePathNever.test(value))
    throw new Error(
      `path ${JSON.stringify(value)} cannot occur in a request: a path begins with / and has no //, dot segment, %2F or ?; other characters are written as escapes (/caf%C3%A9)`,
    );
  return normalized('path', value, value);
}

/** The path of a rewrite. Error: no request could be sent to that path. */
export function rewrittenPath(field: string, value: string): string {
  normalized(field, value, value.startsWith('/') ? value : `/${value}`);
  return value;
}
