/**
 * Configured paths in the form in which requests are compared. Pure. What can never match a request is an error: an ALLOW of it would
 * be closed for no visible reason, a DENY of it would deny nothing.
 */
import type { PolicyPath } from '../../src/model/policy.js';
import { normalizePath, placeholders, TargetError } from '../../src/policy/path.js';

const wrong = (field: string, value: string, why: string): Error =>
  new Error(`${field}: ${JSON.stringify(value)}: ${why}`);

function normalized(field: string, given: string, path: string): string {
  if (/[\uE000\uE001]/.test(given)) throw wrong(field, given, 'it has a character of private use');
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
      throw wrong(field, value, '{**} stands for all that follows: it has to be last');
    }
    if (/[*{}]/.test(part))
      throw wrong(field, value, 'a segment is a text, {*} for any one, or as the last {**} for all others');
    return part;
  });
  const segments = normalized(field, value, `/${marked.join('/')}`)
    .slice(1)
    .split('/');
  const count = (list: readonly string[]): number =>
    list.filter((one) => one === segment || one === rest).length;
  if (count(segments) !== count(marked))
    throw wrong(field, value, 'a dot segment removes a wildcard: requests come without dot segments');
  return {
    kind: 'template',
    segments: segments.map((one) => (one === segment ? '*' : one === rest ? '**' : one)),
  };
}

/**
 * Of an AccessPolicy: `/exact`, `/prefix*`, `*suffix`, `*`, or a template whose segments are texts, `{*}` and as the last `{**}`. Escapes,
 * characters beyond ASCII, dot segments and slashes are normalized as those of requests are. Errors name `field` and the value.
 */
export function policyPath(field: string, value: string): PolicyPath {
  const { rest } = placeholders;
  if (/[?#]/.test(value)) throw wrong(field, value, 'a path ends before ? and #');
  if (!value.startsWith('/') && !value.startsWith('*'))
    throw wrong(field, value, 'it has to begin with / or *');
  if (/[{}]/.test(value)) {
    if (value.startsWith('/')) return template(field, value);
    throw wrong(field, value, 'a template has to begin with /');
  }
  if (/.\*./.test(value) || (value.length > 1 && value.startsWith('*') && value.endsWith('*')))
    throw wrong(field, value, '* may stand at one end; within a path write {*} for a segment');
  if (value === '*') return { kind: 'prefix', value: '' };
  if (value.endsWith('*'))
    // With something in the place of the rest: `/.*` is all that begins with a dot, not the root.
    return { kind: 'prefix', value: normalized(field, value, `${value.slice(0, -1)}${rest}`).slice(0, -1) };
  if (!value.startsWith('*')) return { kind: 'exact', value: normalized(field, value, value) };
  if (/;|%3b/i.test(value))
    throw wrong(field, value, 'endpoints that ignore parameters would take any path for it: write a prefix');
  const text = normalized(field, value, `/${rest}${value.slice(1)}`);
  if (!text.startsWith(`/${rest}`))
    throw wrong(field, value, 'a dot segment removes the wildcard: requests come without dot segments');
  return { kind: 'suffix', value: text.slice(2) };
}

/** What a published CRD of the Gateway API lets in as an exact path or a prefix. */
const routePathText = /^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+$/;
const routePathNever = /\/\/|\/\.\.?(\/|$)|%2f/i;

/** Of a route's match: an exact path or a prefix, in the form that requests have. Errors name the value. */
export function routePath(value: string): string {
  if (!value.startsWith('/') || !routePathText.test(value) || routePathNever.test(value))
    throw new Error(
      `path ${JSON.stringify(value)} is none that a request could have: it begins with / and has no //, dot segment, %2F or ?, and other characters are written as escapes (/caf%C3%A9)`,
    );
  return normalized('path', value, value);
}

/** Of a rewrite: errors where no request could be sent to it. */
export function rewrittenPath(field: string, value: string): string {
  normalized(field, value, value.startsWith('/') ? value : `/${value}`);
  return value;
}
