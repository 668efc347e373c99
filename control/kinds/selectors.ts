import { labelsOf, selects, type Labels } from '../../src/model/labels.js';
import { entryLabels } from '../dialects/istio/entry-endpoints.js';
import type { Registry } from '../registry/registry.js';
import type { Recompile } from './kind.js';

/** Recompiles the pods, Workloads and WorkloadEntries of a namespace that one of the selectors (before and after the change) selects. */
export function recompileSelected(
  namespace: string,
  selectors: readonly (Labels | undefined)[],
  { indexes }: Registry,
  recompile: Recompile,
): void {
  for (const one of [...indexes.Pod.in(namespace), ...indexes.Workload.in(namespace)])
    if (selectors.some((selector) => selects(selector, labelsOf(one)))) recompile.objects([one]);
  for (const one of indexes.WorkloadEntry.in(namespace))
    if (selectors.some((selector) => selects(selector, entryLabels(one)))) recompile.objects([one]);
}
