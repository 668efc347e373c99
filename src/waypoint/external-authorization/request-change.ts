/** Applies an allowing decision to a request's head. Pure, besides the head. */
import { normalizePath } from '../../policy/path.js';
import { dashed } from '../http/field-names.js';
import { headerOf, removeHeader, setHeader, type Headers } from '../http/headers.js';
import type { RequestHead } from '../http/http-stream.js';
import type { Allowed, HeaderChange } from './decision.js';

/** The longest path and query that a decision may make. */
const pathCharsMax = 16 << 10;

/** Changes the query. Error: the result is no path of a request. */
export function changeQuery(
  head: RequestHead,
  { parameters, parametersToRemove }: Allowed,
  mergeSlashes: boolean,
): void {
  if (parameters.length === 0 && parametersToRemove.length === 0) return;
  const at = head.path.indexOf('?');
  const path = at < 0 ? head.path : head.path.slice(0, at);
  const dropped = new Set([...parametersToRemove, ...parameters.map(([name]) => name)]);
  const kept = (at < 0 ? '' : head.path.slice(at + 1))
    .split('&')
    .filter((one) => one !== '' && !dropped.has(nameOf(one)));
  const set = parameters.map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`);
  const query = [...kept, ...set].join('&');
  const made = query === '' ? path : `${path}?${query}`;
  if (made.length > pathCharsMax) throw new Error(`the path would have more than ${pathCharsMax} characters`);
  head.path = normalizePath(made, mergeSlashes);
}

/** The decoded name of a parameter. */
function nameOf(parameter: string): string {
  const [name = ''] = parameter.split('=', 1);
  try {
    return decodeURIComponent(name.replaceAll('+', ' '));
  } catch {
    return name;
  }
}

/** Applies changes of headers, in their order. Several values of one name are all set. */
export function changeFields(headers: Headers, changes: readonly HeaderChange[]): void {
  const replaced = new Set<string>();
  for (const { name, value, action } of changes) {
    const present = headerOf(headers, name);
    if (action === 'set-if-absent' && present !== undefined) continue;
    if (action === 'set-if-present' && present === undefined) continue;
    const adds = action === 'append' || replaced.has(name);
    replaced.add(name);
    if (adds) headers.push(name, value);
    else setHeader(headers, name, value);
  }
}

/** Removes fields. */
export function removeFields(headers: Headers, names: Iterable<string>): void {
  for (const name of names) removeHeader(headers, name);
}

/** Removes fields that some endpoints would take for those that are set. */
export function removeSpellings(headers: Headers, set: readonly HeaderChange[]): void {
  for (const name of headers.filter((one, i) => i % 2 === 0 && one.includes('_')))
    if (set.some((one) => one.name !== name && dashed(one.name) === dashed(name)))
      removeHeader(headers, name);
}
