/** Annotations of Weft on Gateways and routes that say nothing: mistyped, at the wrong place, or with a value that cannot be read. Pure. */
import { nearest } from '../base/nearest.js';
import { routeIdleKeys } from '../model/idle-settings.js';
import { gatewayKeys, waypointFlags } from '../model/waypoint-settings.js';
import type { Finding } from './finding.js';
import { nameOf, type Labeled } from './objects.js';

export type AnnotatedKind = 'Gateway' | 'HTTPRoute' | 'GRPCRoute';

const prefix = 'weft.dev/';

function keyProblem(kind: AnnotatedKind, key: string): { what: string; help: string } | undefined {
  const keys = kind === 'Gateway' ? gatewayKeys : routeIdleKeys;
  if (!key.startsWith(prefix) || keys.includes(key)) return undefined;
  // Whatever routes may have, Gateways may have too.
  if (gatewayKeys.includes(key))
    return {
      what: `annotation ${key} is not read on a ${kind}: it has no effect there`,
      help: 'put it on the Gateway of the waypoint',
    };
  const meant = nearest(key, keys);
  return {
    what: `annotation ${key} is unknown: Weft has the annotations ${keys.join(', ')} on a ${kind}${meant === undefined ? '' : ` (did you mean ${meant}?)`}; it has no effect`,
    help: 'correct it, or take it away',
  };
}

/** `objects`: Gateways of the class of waypoints, or routes. What a route's values are is told by its condition `weft.dev/Enforced`. */
export function annotationFindings(kind: AnnotatedKind, objects: readonly Labeled[]): Finding[] {
  return objects.flatMap((object) => {
    const { annotations = {} } = object.metadata;
    const name = nameOf(kind, object);
    const keys = Object.keys(annotations).flatMap((key): Finding[] => {
      const problem = keyProblem(kind, key);
      return problem ? [{ level: 'warn', what: `${name}: ${problem.what}`, help: problem.help }] : [];
    });
    if (kind !== 'Gateway') return keys;
    return waypointFlags(annotations)
      .problems.map((problem): Finding => ({
        level: 'fail',
        what: `${name}: ${problem}`,
        help: 'correct it',
      }))
      .concat(keys);
  });
}
