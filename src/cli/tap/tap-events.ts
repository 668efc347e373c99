/** Reads a tap of a mesh, line by line, until the reader ends it. */
import type { TapLine, TapQuery } from '../../model/tap.js';
import { isOfCluster, stateOf, type MeshFlags } from '../place.js';
import { clusterTap } from './cluster-tap.js';
import { stateTap } from './state-tap.js';

/**
 * What happens in the mesh from now on. It ends when `signal` is aborted. Errors: WEFT_ADMIN, ApiError, with what to do.
 * @param query its filter's namespace is the one that a reader with the right to one namespace must give
 */
export function tapEvents(flags: MeshFlags, query: TapQuery, signal: AbortSignal): AsyncGenerator<TapLine> {
  return isOfCluster(flags) ? clusterTap(query, signal) : stateTap(stateOf(flags), query, signal);
}
