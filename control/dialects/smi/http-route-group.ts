/** HTTPRouteGroup: matches that TrafficTargets and TrafficSplits name. It does nothing by itself. */
import type { Compiled } from '../../kinds/kind.js';
import type { SmiObject } from '../../objects/objects.js';
import { differs, usedFields, works, type FieldTable } from '../fields.js';
import { fieldRemarks } from '../remarks.js';
import { routeKey } from './index-keys.js';
import { checkMatches } from './route-group.js';
import { smiKind } from './smi-kind.js';
import { checkVersion, matchesOfGroup, writtenFields } from './specs.js';

export const httpRouteGroupFields: FieldTable = {
  'matches[].name': works,
  'matches[].pathRegex': differs(
    'RE2 syntax, matched from the beginning of the path without the query; the path is normalized before (dot segments, escapes)',
  ),
  'matches[].methods': works,
  'matches[].headers': differs('RE2 syntax; the expression has to match the whole value'),
};

export const httpRouteGroupKind = smiKind(
  'HTTPRouteGroup',
  { group: 'specs.smi-spec.io', plural: 'httproutegroups' },
  {
    dependents({ namespace, name }, registry, recompile) {
      const key = routeKey('HTTPRouteGroup', namespace, name);
      recompile.objects(registry.trafficTargetsOf(key));
      recompile.objects(registry.trafficSplitsOf(key));
    },
    compile: compileGroup,
  },
);

/** Expressions for which the differences matter: those that may be meant for a part of a value, a query, or a path that is normalized. */
const isPart = (source: string): boolean => !/^(\^|\.\*)/.test(source) || !/(\$|\.\*)$/.test(source);
const isUnusual = (source: string): boolean => /\?|%|\/\/|\/\\?\./.test(source);

function compileGroup(object: SmiObject<'HTTPRouteGroup'>): Compiled {
  if (object.invalid !== undefined) return { resources: [] };
  checkVersion(object);
  if (object.spec?.matches && object.matches)
    throw new Error('matches: given beside spec, too: give it at one place');
  checkMatches(matchesOfGroup(object), object.spec ? 'spec.matches' : 'matches');
  const used = usedFields(writtenFields(object), httpRouteGroupFields).flatMap((one) => {
    const { entry, value } = one;
    if (entry === 'matches[].pathRegex') return typeof value === 'string' && isUnusual(value) ? [one] : [];
    if (!entry.startsWith('matches[].headers')) return [one];
    return typeof value === 'string' && isPart(value) ? [{ ...one, entry: 'matches[].headers' }] : [];
  });
  return { resources: [], remarks: fieldRemarks(used) };
}
