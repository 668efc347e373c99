/** Authorizes connections and requests again after a mesh update. */
import type { Rechecked } from '../authorization/endpoint-policies.js';
import type { AppliedChange } from '../state/waypoint-state.js';
import type { ConnectionContext } from './context.js';

/**
 * Ends connections and requests that a mesh update no longer allows. Only those are visited whose destination or endpoint the update affects.
 * Returns how many were rechecked.
 */
export function recheck(
  { connections, exchanges }: ConnectionContext,
  { impact, inUse }: AppliedChange,
): number {
  const affected = new Set<Rechecked>(connections.affected(impact));
  for (const request of exchanges.affected(impact)) affected.add(request);
  for (const { uses } of inUse) for (const { owner } of uses) affected.add(owner);
  for (const one of affected) one.recheck();
  return affected.size;
}
