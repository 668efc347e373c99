/** Whose records count the requests that a relay sees. Pure. */
import { toWaypoint } from '../../src/path/choose-path.js';
import type { ConnectionRecord, Opening } from '../../src/telemetry/connection-record.js';
import type { LocalPod } from '../worker-ipc.js';

/** A connection as far as this is decided by it. */
export type Observable = Pick<Opening, 'direction' | 'path' | 'why'>;

const isCounted = (local: LocalPod | undefined): boolean => local?.pod.goldenSignals === true;

/**
 * The sides whose namespace has opted in, each with the direction of its record. None where a waypoint is: it reports the requests that it
 * serves.
 * @param local the pod that the relay serves
 * @param destination the destination's pod, if this node delivers to it at once
 */
export function observedSides(
  { direction, path, why }: Observable,
  local: LocalPod | undefined,
  destination: LocalPod | undefined,
): readonly Opening['direction'][] {
  if (why === toWaypoint || why === 'waypoint') return [];
  return [
    ...(isCounted(local) ? [direction] : []),
    // The destination has no record of its own.
    ...(path === 'local' && isCounted(destination) ? (['inbound'] as const) : []),
  ];
}

/** The records under which a request counts. */
export const recordsOfSides = <R extends Opening | ConnectionRecord>(
  opening: R,
  sides: readonly Opening['direction'][],
): readonly R[] =>
  sides.map((direction) => (direction === opening.direction ? opening : { ...opening, direction }));
