/** Filters of routes as the control plane sends them. */
import { encodeTarget } from '../../src/discovery/codec/backend-target.js';
import * as pb from '../../src/discovery/gen/weft.js';
import type { BackendTarget, RouteFilter } from '../../src/model/route.js';

type ValueOf<Kind> = Extract<RouteFilter, { readonly $case: Kind }>['value'];

/** The fields of a match that only ordered routes have. */
export const noMore = { ignorePathCase: false, withoutHeaders: [], clients: [] };

/** A filter with the given fields. */
export function filter<Kind extends RouteFilter['$case']>(
  kind: Kind,
  fields: Partial<ValueOf<Kind>>,
): Extract<RouteFilter, { readonly $case: Kind }> {
  const made = pb.RouteFilter.fromPartial({
    filter: { $case: kind, value: fields } as unknown as RouteFilter,
  });
  return made.filter as Extract<RouteFilter, { readonly $case: Kind }>;
}

export const mirrorTo = (target: BackendTarget, numerator = 1, denominator = 1): RouteFilter =>
  filter('mirror', { backend: encodeTarget(target), numerator, denominator });
