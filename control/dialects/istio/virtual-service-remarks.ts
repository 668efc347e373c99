/** Which differences of fields concern a VirtualService as it is written: the others would hide them in its status. Pure. */
import { mayHaveContent } from '../../../src/model/http-status.js';
import { isRecord } from '../../../src/base/record.js';
import type { UsedField } from '../fields.js';
import { isForMesh } from './virtual-service-matches.js';

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const at = (value: unknown, name: string): unknown => (isRecord(value) ? value[name] : undefined);
const isMeshMatch = (match: unknown): boolean =>
  isForMesh(at(match, 'gateways') as readonly string[] | undefined);

/** The rule and the match that a field is in. */
function placeOf(
  spec: unknown,
  path: string,
): { readonly rule: unknown; readonly match: unknown } | undefined {
  const [, kind = '', rule, match] = /^(http|tcp|tls)\[(\d+)\](?:\.match\[(\d+)\])?/.exec(path) ?? [];
  if (rule === undefined) return undefined;
  const found = listOf(at(spec, kind))[Number(rule)];
  return { rule: found, match: match === undefined ? undefined : listOf(at(found, 'match'))[Number(match)] };
}

/** Conditions of retries that have no effect, or another one. */
const otherConditions: ReadonlySet<string> = new Set([
  'retriable-headers',
  'envoy-ratelimited',
  'reset-before-request',
]);
function hasOtherConditions(value: unknown): boolean {
  const conditions = String(value)
    .split(',')
    .map((one) => one.trim());
  return (
    conditions.some((one) => otherConditions.has(one)) ||
    (conditions.includes('retriable-status-codes') && !conditions.some((one) => /^\d+$/.test(one)))
  );
}

/** @param spec of the object that has the field */
export const concernsVirtualService =
  (spec: unknown) =>
  ({ path, entry, value, support }: UsedField): boolean => {
    if (support.does === 'works') return false;
    const place = placeOf(spec, path);
    const matches = listOf(at(place?.rule, 'match'));
    // What is for ingress gateways alone does nothing in the mesh: that is all that there is to say about it.
    const isOfMesh =
      place?.match === undefined
        ? matches.length === 0 || matches.some(isMeshMatch)
        : isMeshMatch(place.match);
    if (/\.match\[\]\.gateways(\[\])?$/.test(entry)) return !isOfMesh;
    if (!isOfMesh) return false;
    if (/\.headers\.(request|response)\.(set|add)\{\}/.test(entry))
      return /%[^%]/.test(String(value).replaceAll('%%', ''));
    if (entry === 'http[].retries.retryOn') return hasOtherConditions(value);
    if (entry === 'http[].retries.retryIgnorePreviousHosts') return value === false;
    // A delegate that closes its rule is named.
    if (entry.startsWith('http[].delegate')) return false;
    if (entry.startsWith('http[].directResponse.body'))
      return !mayHaveContent(Number(at(at(place?.rule, 'directResponse'), 'status')));
    return true;
  };
