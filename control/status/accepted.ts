/** The condition `Accepted` of Weft's own kinds. Pure. */
import { closedMeans } from '../compile/closed.js';
import { acceptedType, auditType, enforcedType, resolvedType, type Condition } from '../objects/objects.js';
import { withTransitionTimes, type ConditionReason, type ConditionUpdate } from './conditions.js';
import type { OwnObject, StatusLookup, StatusUpdate } from './status.js';

const optional: ReadonlySet<string> = new Set([enforcedType, auditType, resolvedType]);

/**
 * The conditions of an object of Weft's own kinds. Undefined if the object has them already.
 * @param problem why the object is invalid, or another reason; undefined: it is in force
 * @param remark what of an object in force is not carried out
 * @param enforced the second condition of a policy that a waypoint has to enforce
 * @param audit the condition of a policy in audit mode
 */
export function acceptedUpdate(
  object: OwnObject,
  problem: string | ConditionReason | undefined,
  timestamp: string,
  enforced?: ConditionUpdate,
  remark?: string,
  audit?: ConditionUpdate,
): StatusUpdate | undefined {
  const { generation = 0 } = object.metadata;
  const accepted: ConditionUpdate =
    problem === undefined
      ? {
          type: acceptedType,
          status: 'True',
          reason: 'Accepted',
          message: remark === undefined ? 'in force' : `in force, except: ${remark}`,
        }
      : typeof problem === 'object'
        ? { type: acceptedType, status: 'False', ...problem }
        : {
            type: acceptedType,
            status: 'False',
            reason: 'Invalid',
            message: `${problem}; ${closedMeans(object.kind)}`,
          };
  const present = object.status?.conditions ?? [];
  const wanted = [accepted, ...(enforced ? [enforced] : []), ...(audit ? [audit] : [])];
  const isPresent = ({ type, status, message }: ConditionUpdate): boolean => {
    const found = present.find((one) => one.type === type);
    return found?.status === status && found.observedGeneration === generation && found.message === message;
  };
  const isOver = ({ type }: Condition): boolean =>
    optional.has(type) && !wanted.some((one) => one.type === type);
  if (wanted.every(isPresent) && !present.some(isOver)) return undefined;
  return { status: { conditions: withTransitionTimes(wanted, present, generation, timestamp) } };
}

/** The status of MeshSettings, ExternalServices and Workloads. */
export const acceptedStatus = (
  object: OwnObject,
  { mesh, timestamp }: StatusLookup,
): StatusUpdate | undefined =>
  acceptedUpdate(object, invalidBecause(object) ?? mesh.problemOf(object), timestamp);

/** Why the closed form of an object is in force; undefined if the object itself is. */
export const invalidBecause = (object: object): string | undefined =>
  'invalid' in object ? (object.invalid as string | undefined) : undefined;
