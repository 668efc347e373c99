/** Chooses one of a rule's backends. */
import type { RouteBackend } from '../../model/route.js';

/** Chooses a backend by weight; undefined if all weights are 0. `random` in [0, 1). */
export function chooseBackend(backends: readonly RouteBackend[], random: number): RouteBackend | undefined {
  if (backends.length === 1) return backends[0]?.weight === 0 ? undefined : backends[0];
  let total = 0;
  for (const { weight } of backends) total += weight;
  let left = random * total;
  for (const backend of backends) {
    left -= backend.weight;
    if (left < 0) return backend;
  }
  return undefined;
}
