/** Which pods of discovery this machine takes, and where it looks for them: what the node's operator allowed. */
import { lstatSync, realpathSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { errorText } from '../../src/base/errors.js';
import type { NodePod } from '../../src/model/node-pod.js';
import type { WorkloadUid } from '../../src/model/workload.js';

/** What the node's operator allows. */
export interface NetnsRules {
  /** Directories in which a network namespace may be named by discovery; /proc is none. */
  readonly netnsDirs: readonly string[];
  /** Namespaces whose `Workload` objects this machine takes; '*': those of all. */
  readonly workloadNamespaces: readonly string[];
}

/** Whether a pod of discovery is no Kubernetes pod but a `Workload` (control/compile/pod.ts makes these names). Pure. */
export function isWorkload(uid: WorkloadUid): boolean {
  const [, group, kind] = uid.split('/');
  return group === 'weft.dev' && kind === 'Workload';
}

/**
 * Why a pod is not taken though discovery tells of it; undefined where it may be. A pod without a path is found by its own
 * processes, which no word of discovery can lead elsewhere.
 */
export function refusalOf(
  pod: Pick<NodePod, 'uid' | 'namespace' | 'netns'>,
  rules: NetnsRules,
): string | undefined {
  const { workloadNamespaces, netnsDirs } = rules;
  if (isWorkload(pod.uid) && !workloadNamespaces.some((one) => one === '*' || one === pod.namespace))
    return `this machine takes no Workload of namespace ${pod.namespace}: see --workload-namespaces of the agent`;
  if (pod.netns === '') return undefined;
  const name = basename(pod.netns);
  const refused = `network namespace ${pod.netns} is in no directory that this machine allows: see --netns-dirs of the agent`;
  if (!pod.netns.startsWith('/') || name === '.' || name === '..' || pod.netns.endsWith('/')) return refused;
  let parent: string;
  try {
    parent = realpathSync(dirname(pod.netns));
  } catch (error) {
    return `the directory of network namespace ${pod.netns} could not be looked at: ${errorText(error)}`;
  }
  if (!netnsDirs.some((dir) => parent === realOf(dir))) return refused;
  try {
    // A link would lead out of the directory; O_PATH follows it.
    if (lstatSync(pod.netns).isSymbolicLink()) return refused;
  } catch {
    // Whether it is there is for observe() to say, which knows absent from unknown.
  }
  return undefined;
}

function realOf(dir: string): string {
  try {
    return realpathSync(dir);
  } catch {
    return dir; // nothing lies in a directory that is not there
  }
}
