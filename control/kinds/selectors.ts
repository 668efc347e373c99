import { labelsOf, selects, type Labels } from '../../src/model/labels.js';
import type { Registry } from '../registry/registry.js';
import type { Recompile } from './kind.js';

/** Recompiles the pods and Workloads of a namespace that one of the selectors (before and after the change) selects. */
export function recompileSelected(
  namespace: string,
  selectors: readonly (Labels | undefined)[],
  { indexes }: Registry,
  recompile: Recompile,
): void {
  for (const one of [...indexes.Pod.in(namespace), ...indexes.Workload.in(namespace)])
    if (selectors.some((selector) => selects(selector, labelsOf(one)))) recompile.objects([one]);
}
