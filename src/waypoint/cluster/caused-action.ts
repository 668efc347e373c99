/** What a traffic policy did because of a failure, for the access log of the request that failed. */
import type { TrafficAction } from '../telemetry/request-record.js';

const actions = new WeakMap<object, TrafficAction>();

export function setCausedAction(error: unknown, action: TrafficAction | undefined): void {
  if (action && typeof error === 'object' && error !== null) actions.set(error, action);
}

export const causedAction = (error: unknown): TrafficAction | undefined =>
  typeof error === 'object' && error !== null ? actions.get(error) : undefined;
