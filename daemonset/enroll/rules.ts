/** Rules of the node's operator: which pods of discovery this machine accepts, and where it looks for their network namespaces. */
import { lstatSync, realpathSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { errorText } from '../../src/base/errors.js';
import type { NodePod } from '../../src/model/node-pod.js';
import type { WorkloadUid } from '../../src/model/workload.js';

/** The rules that the node's operator sets. */
export interface NetnsRules {
  /** Directories whose network namespaces discovery may refer to; /proc is not one. */
  readonly netnsDirs: readonly string[];
  /** Namespaces whose `Workload` objects this machine accepts; '*' accepts all. */
  readonly workloadNamespaces: readonly string[];
}

/** Whether a pod of discovery comes from a `Workload` and not from a Kubernetes pod (control/compile/pod.ts builds these UIDs). Pure. */
export function isWorkload(uid: WorkloadUid): boolean {
  const [, group, kind] = uid.split('/');
  return group === 'weft.dev' && kind === 'Workload';
}

/**
 * Why a pod of discovery is refused; undefined if it is allowed. A pod without a path is found by its own processes, so discovery cannot
 * direct the agent to another network namespace.
 */
export function refusalOf(
  pod: Pick<NodePod, 'uid' | 'namespace' | 'netns'>,
  rules: NetnsRules,
): string | undefined {
  const { workloadNamespaces, netnsDirs } = rules;
  if (isWorkload(pod.uid) && !workloadNamespaces.some((one) => one === '*' || one === pod.namespace))
    return `this machine accepts no Workload of namespace ${pod.namespace}: see --workload-namespaces of the agent`;
  if (pod.netns === '') return undefined;
  const name = basename(pod.netns);
  const refused = `network namespace ${pod.netns} is not in a directory that this machine allows: see --netns-dirs of the agent`;
  if (!pod.netns.startsWith('/') || name === '.' || name === '..' || pod.netns.endsWith('/')) return refused;
  let parent: string;
  try {
    parent = realpathSync(dirname(pod.netns));
  } catch (error) {
    return `the directory of network namespace ${pod.netns} could not be read: ${errorText(error)}`;
  }
  if (!netnsDirs.some((dir) => parent === realOf(dir))) return refused;
  try {
    // A symbolic link could lead out of the directory, and O_PATH follows it.
    if (lstatSync(pod.netns).isSymbolicLink()) return refused;
  } catch {
    // observe() tells a missing network namespace from an unknown one.
  }
  return undefined;
}

function realOf(dir: string): string {
  try {
    return realpathSync(dir);
  } catch {
    return dir; // a directory that does not exist contains nothing
  }
}
