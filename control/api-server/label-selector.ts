/** Label selectors in the syntax of the Kubernetes API's query parameter. Pure. */
import type { Labels } from '../../src/model/labels.js';

const textMax = 1_024;
const requirementsMax = 64;

const key = String.raw`(?:[A-Za-z0-9][A-Za-z0-9.-]*/)?[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?`;
const value = String.raw`(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)?`;
const forms = {
  set: new RegExp(String.raw`^(${key})\s+(in|notin)\s*\(([^()]*)\)$`),
  equal: new RegExp(String.raw`^(${key})\s*(==|=|!=)\s*(${value})$`),
  exists: new RegExp(String.raw`^(!?)\s*(${key})$`),
} as const;
const wholeValue = new RegExp(`^${value}$`);

type Matcher = (labels: Labels) => boolean;

function requirement(text: string): Matcher | undefined {
  const set = forms.set.exec(text);
  if (set) {
    const [, name = '', operator, list = ''] = set;
    const values = list.split(',').map((one) => one.trim());
    if (values.some((one) => !wholeValue.test(one))) return undefined;
    const isIn: Matcher = (labels) => Object.hasOwn(labels, name) && values.includes(labels[name] ?? '');
    return operator === 'in' ? isIn : (labels) => !isIn(labels);
  }
  const equal = forms.equal.exec(text);
  if (equal) {
    const [, name = '', operator, wanted = ''] = equal;
    const has: Matcher = (labels) => Object.hasOwn(labels, name) && labels[name] === wanted;
    return operator === '!=' ? (labels) => !has(labels) : has;
  }
  const exists = forms.exists.exec(text);
  if (!exists) return undefined;
  const [, not, name = ''] = exists;
  return (labels) => Object.hasOwn(labels, name) === (not === '');
}

/** Whether labels meet a selector; undefined: the text is no selector, or it is too long. */
export function parseSelector(text: string): Matcher | undefined {
  if (text.length > textMax) return undefined;
  if (text.trim() === '') return () => true;
  // A comma within parentheses separates values.
  const parts = text.split(/,(?![^(]*\))/);
  if (parts.length > requirementsMax) return undefined;
  const all = parts.map((one) => requirement(one.trim()));
  const known = all.filter((one) => one !== undefined);
  return known.length === all.length ? (labels) => known.every((one) => one(labels)) : undefined;
}
