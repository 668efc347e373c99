/** What is decided again after an update of the mesh. */
import type { MeshChange } from '../../state/change.js';
import { ChangeImpact } from '../state/change-impact.js';
import type { ConnectionContext } from './context.js';

/**
 * After an update of the mesh: what is under way and now forbidden ends, requests and bytes alike. What the update does not touch is
 * not looked at. Returns how many were decided again.
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
