/** Which series are about workloads that are gone: none of their pods is left in the mesh. Pure. */
import type { Workload } from '../model/workload.js';
import type { Labels } from './series.js';

type Named = Pick<Workload, 'namespace' | 'workloadName'>;

/**
 * A test for series with Istio's labels. A side that is not known, or that was never a workload of the mesh as far as this program knows, is
 * not gone.
 */
export class GoneWorkloads {
  #seen: ReadonlySet<string> = new Set();

  /** `workloads`: those that are there now. */
  isGone(workloads: Iterable<Named>): (labels: Labels) => boolean {
    const present = new Set<string>();
    for (const { namespace, workloadName } of workloads) present.add(`${namespace}/${workloadName}`);
    // Sides that are not known have this name, whatever a namespace is called.
    present.delete('unknown/unknown');
    // A name stays until its series are dropped: a few scrapes later it is not needed.
    const gone = new Set<string>();
    for (const name of this.#seen) if (!present.has(name)) gone.add(name);
    this.#seen = new Set([...present, ...[...gone].slice(-goneMax)]);
    return (labels) =>
      gone.size > 0 &&
      (gone.has(`${labels['source_workload_namespace']}/${labels['source_workload']}`) ||
        gone.has(`${labels['destination_workload_namespace']}/${labels['destination_workload']}`));
  }
}

/** Names of workloads that are gone. Series of more of them are dropped when they are idle. */
const goneMax = 10_000;
