import { labelsOf, selects, type Labels } from '../../src/model/labels.js';
import { entryLabels } from '../dialects/istio/entry-endpoints.js';
import type { IstioObject, PodObject, WorkloadObject } from '../objects/objects.js';
import type { Registry } from '../registry/registry.js';

type Selected = PodObject | WorkloadObject | IstioObject<'WorkloadEntry'>;

const selectableLabels = (one: Selected): Labels =>
  one.kind === 'WorkloadEntry' ? entryLabels(one) : labelsOf(one);

/**
 * The pods, Workloads and WorkloadEntries that one of these selectors of their namespace selects. One pass over the namespace, however many selectors there
 * are: thousands of Services and rules come at once.
 */
export function* selectedBy(
  selectors: ReadonlyMap<string, ReadonlySet<Labels>>,
  { indexes }: Registry,
): Iterable<Selected> {
  for (const [namespace, wanted] of selectors) {
    const all: readonly Selected[] = [
      ...indexes.Pod.in(namespace),
      ...indexes.Workload.in(namespace),
      ...indexes.WorkloadEntry.in(namespace),
    ];
    if (wanted.size < 8) {
      yield* all.filter((one) => [...wanted].some((selector) => selects(selector, selectableLabels(one))));
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
      const labels = selectableLabels(one);
      const isSelected = Object.entries(labels).some(([key, value]) =>
        byLabel.get(`${key}=${value}`)?.some((selector) => selects(selector, labels)),
      );
      if (isSelected) yield one;
    }
  }
}
