import { labelsOf, selects, type Labels } from '../../src/model/labels.js';
import type { PodObject, WorkloadObject } from '../objects/objects.js';
import type { Registry } from '../registry/registry.js';

type Selected = PodObject | WorkloadObject;

/**
 * The pods and Workloads that one of these selectors of their namespace selects. One pass over the namespace, however many selectors there
 * are: thousands of Services and rules come at once.
 */
export function* selectedBy(
  selectors: ReadonlyMap<string, ReadonlySet<Labels>>,
  { indexes }: Registry,
): Iterable<Selected> {
  for (const [namespace, wanted] of selectors) {
    const all = [...indexes.Pod.in(namespace), ...indexes.Workload.in(namespace)];
    if (wanted.size < 8) {
      yield* all.filter((one) => [...wanted].some((selector) => selects(selector, labelsOf(one))));
      continue;
    }
    // By one label of each selector: a pod is compared with the selectors that name one of its labels.
    const byLabel = new Map<string, Labels[]>();
    for (const selector of wanted) {
      const [first] = Object.entries(selector);
      if (!first) continue;
      const label = `${first[0]}=${first[1]}`;
      const same = byLabel.get(label);
      if (same) same.push(selector);
      else byLabel.set(label, [selector]);
    }
    for (const one of all) {
      const labels = labelsOf(one);
      const isSelected = Object.entries(labels).some(([key, value]) =>
        byLabel.get(`${key}=${value}`)?.some((selector) => selects(selector, labels)),
      );
      if (isSelected) yield one;
    }
  }
}
