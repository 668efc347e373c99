/** Authorizes connections and requests again after a mesh update. */
import type { MeshChange } from '../../state/change.js';
import { ChangeImpact } from '../state/change-impact.js';
import type { ConnectionContext } from './context.js';

/**
 * Ends connections and requests that a mesh update no longer allows. Those that the update does not affect are not rechecked. Returns how
 * many were rechecked.
 */
export function recheckAll({ state, connections, exchanges }: ConnectionContext, change: MeshChange): number {
  const impact = new ChangeImpact(state, change);
  let rechecked = 0;
  for (const list of [connections, exchanges]) {
    for (const one of [...list]) {
      if (!one.isAffected(impact)) continue;
      rechecked++;
      one.recheck();
    }
  }
  return rechecked;
}
