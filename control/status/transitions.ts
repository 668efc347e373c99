/** Which changes of conditions are worth an event: from the conditions that an object has and those that are written. Pure. */
import {
  acceptedType,
  capturedCondition,
  enforcedType,
  isRoute,
  waypointBoundType,
  type Condition,
  type MeshObject,
} from '../objects/objects.js';
import { waypointController } from '../compile/waypoints.js';
import type { EventText } from './events.js';

export interface Transition extends EventText {
  /** Of the condition. */
  readonly condition: string;
}

interface Watched {
  /** Reason of the event once the condition holds again. */
  readonly holds: string;
  /** Reason of the event once it no longer holds; absent: the condition's own. */
  readonly ends?: string;
  /** It is not true at first, until something has started: only what was true and no longer is, is a fault. */
  readonly startsFalse?: true;
}
const programmedType = 'Programmed';
const watched: ReadonlyMap<string, Watched> = new Map([
  [acceptedType, { holds: 'Accepted' }],
  [enforcedType, { holds: 'Enforced' }],
  [waypointBoundType, { holds: 'WaypointBound' }],
  [programmedType, { holds: 'Programmed', ends: 'NotProgrammed', startsFalse: true }],
  [capturedCondition, { holds: 'Captured', ends: 'NotCaptured', startsFalse: true }],
]);
/** An object that cannot be read has an event of its own (`CannotBeRead`). */
const reportedElsewhere = 'Invalid';
/** An operator took the pod out of the mesh. */
const unenrolled = 'NotInMesh';

interface StatusText {
  readonly conditions?: readonly Condition[];
  readonly parents?: readonly {
    readonly controllerName: string;
    readonly parentRef?: object;
    readonly conditions?: readonly Condition[];
  }[];
}

/** Conditions by a key that tells a route's parents apart. */
function conditionsByKey(object: MeshObject, status: StatusText | undefined): Map<string, Condition> {
  const found = new Map<string, Condition>();
  const add = (prefix: string, conditions: readonly Condition[] | undefined): void => {
    for (const one of conditions ?? []) found.set(`${prefix}${one.type}`, one);
  };
  if (!isRoute(object)) add('', status?.conditions);
  else
    for (const { controllerName, parentRef, conditions } of status?.parents ?? [])
      if (controllerName === waypointController) add(`${JSON.stringify(parentRef)} `, conditions);
  return found;
}

/**
 * What a new status changes. A condition that holds from the beginning is no event, nor is another message of the same reason.
 * @param status as it is written
 */
export function transitionsOf(object: MeshObject, status: object): Transition[] {
  const before = conditionsByKey(object, 'status' in object ? (object.status as StatusText) : undefined);
  const after = conditionsByKey(object, status as StatusText);
  const transitions: Transition[] = [];
  for (const [key, { type, status: now, reason = '', message = '' }] of after) {
    const kind = watched.get(type);
    if (!kind) continue;
    const previous = before.get(key);
    if (previous?.status === now && (now === 'True' || previous.reason === reason)) continue;
    if (now === 'True') {
      if (previous?.status !== 'False') continue;
      transitions.push({ condition: key, type: 'Normal', reason: kind.holds, message });
    } else if (now === 'False') {
      if (reason === reportedElsewhere || (kind.startsFalse === true && previous?.status !== 'True'))
        continue;
      transitions.push({
        condition: key,
        type: reason === unenrolled ? 'Normal' : 'Warning',
        reason: kind.ends ?? reason,
        message: kind.ends === undefined ? message : `${reason}: ${message}`,
      });
    }
  }
  return transitions;
}
