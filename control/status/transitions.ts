/** Selects the changed conditions that cause an event, by comparing an object's conditions with the written ones. Pure. */
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
  /** Key of the condition. */
  readonly condition: string;
}

interface Watched {
  /** Reason of the event when the condition becomes true again. */
  readonly holds: string;
  /** Reason of the event when the condition becomes false; absent: the condition's own reason. */
  readonly ends?: string;
  /** The condition is false until something has started: only a change from true to false causes an event. */
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
/** Invalid objects have an event of their own (`CannotBeRead`). */
const reportedElsewhere = 'Invalid';
/** The pod was unenrolled on purpose: no warning. */
const unenrolled = 'NotInMesh';

interface StatusText {
  readonly conditions?: readonly Condition[];
  readonly parents?: readonly {
    readonly controllerName: string;
    readonly parentRef?: object;
    readonly conditions?: readonly Condition[];
  }[];
}

/** Conditions by type; for routes, by parent and type. */
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
 * The changes of a new status that cause an event. A condition that is true from the start causes none, nor does a new message with the same
 * reason.
 * @param status the written status
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
