/** Conditions in the form of metav1.Condition. Pure. */
import { isDeepStrictEqual } from 'node:util';
import type { Condition } from '../objects/objects.js';

/** Longest message of a condition that the API server accepts (metav1.Condition). */
const messageCharsMax = 32_768;

/** RFC 3339, in whole seconds. @param ms epoch */
export const rfc3339 = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z/, 'Z');

/** A wanted condition, without its transition time. */
export type ConditionUpdate = Required<Pick<Condition, 'type' | 'status' | 'reason' | 'message'>>;
/** Why a condition does not hold. */
export type ConditionReason = Pick<ConditionUpdate, 'reason' | 'message'>;

export const condition = (
  type: string,
  status: 'True' | 'False',
  reason: string,
  message: string,
): ConditionUpdate => ({ type, status, reason, message: message.slice(0, messageCharsMax) });

/** A condition that is `True` unless there is a problem. @param message message of the true condition */
export const trueUnless = (
  type: string,
  problem: ConditionReason | undefined,
  message: string,
): ConditionUpdate =>
  problem
    ? condition(type, 'False', problem.reason, problem.message)
    : condition(type, 'True', type, message);

/**
 * Adds the observed generation and the transition time. The transition time of a condition changes only with its status.
 * @param present the object's current conditions
 */
export function withTransitionTimes(
  wanted: readonly ConditionUpdate[],
  present: readonly Condition[] | undefined,
  generation: number | undefined,
  timestamp: string,
): readonly Condition[] {
  return wanted.map((one) => {
    const before = present?.find(({ type }) => type === one.type);
    const since = before?.status === one.status ? before.lastTransitionTime : undefined;
    return { ...one, observedGeneration: generation ?? 0, lastTransitionTime: since ?? timestamp };
  });
}

/** Whether an object has all of these conditions already. Conditions of other types belong to other controllers and are ignored. */
export const hasConditions = (
  present: readonly Condition[] | undefined,
  wanted: readonly Condition[],
): boolean =>
  isDeepStrictEqual(
    wanted.map((one) => present?.find(({ type }) => type === one.type)),
    wanted,
  );
