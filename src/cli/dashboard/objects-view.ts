/** Workloads and policies of the page, from the compiled mesh. Pure. */
import type { AuthorizationPolicy } from '../../model/policy.js';
import { refusedWaypointOf } from '../../model/refused-waypoint.js';
import type { PolicyState, WorkloadState } from '../../model/mesh-snapshot.js';
import type { ServiceKey, Workload } from '../../model/workload.js';
import type { MeshSnapshot as CompiledMesh } from '../../state/snapshot.js';
import { waypointNameOf } from '../../state/mesh-part.js';
import { PolicyMesh } from '../policy/policy-mesh.js';
import { policyTexts } from './policy-text.js';

/** A policy without what it did in the window. */
export interface PolicyRules extends Omit<PolicyState, 'refused' | 'audited'> {
  /** As edges name it. */
  readonly key: string;
}

/** What is known from objects. It stays until objects change. */
export interface ObjectsView {
  /** Absent: there is nothing that says which there are. */
  readonly workloads?: readonly WorkloadState[];
  /** Absent: as `workloads`. */
  readonly policies?: readonly PolicyRules[];
}

/** The id by which edges name the workload. */
const idOf = ({ namespace, workloadName, name }: Workload): string =>
  `${namespace}/${workloadName === '' ? name : workloadName}`;

const services = (workload: Workload): readonly ServiceKey[] => [...workload.services.keys()];
/** `<namespace>/<hostname>` without the usual domain of Services. */
const serviceText = (key: string): string => {
  const [namespace = '', host = ''] = key.split('/');
  const suffix = `.${namespace}.svc.cluster.local`;
  return host.endsWith(suffix) ? `${namespace}/${host.slice(0, -suffix.length)}` : key;
};

/** The waypoint of a pod, else the first of its Services'. */
function waypointOf(mesh: PolicyMesh, workload: Workload): string | undefined {
  const own = [workload.waypoint, ...services(workload).map((key) => mesh.view.service(key)?.waypoint)];
  for (const one of own) {
    if (one === undefined) continue;
    const refused = refusedWaypointOf(one);
    if (refused !== undefined) return refused;
    if (one.kind === 'hostname') return waypointNameOf(one.service);
  }
  return undefined;
}

function workloadState(
  mesh: PolicyMesh,
  isEnrolled: (pod: Workload) => boolean | undefined,
  pods: readonly Workload[],
): WorkloadState {
  const [first] = pods as readonly [Workload, ...Workload[]];
  const waypoint = waypointOf(mesh, first);
  return {
    id: idOf(first),
    namespace: first.namespace,
    name: first.workloadName === '' ? first.name : first.workloadName,
    identity: first.identity,
    pods: pods.map((pod) => {
      const { name, node } = pod;
      const enrolled = isEnrolled(pod);
      return { name, node, ...(enrolled === undefined ? {} : { isEnrolled: enrolled }) };
    }),
    services: [...new Set(pods.flatMap(services))].map(serviceText).sort(),
    ...(waypoint === undefined ? {} : { waypoint }),
  };
}

const strictPrefix = 'weft-strict-';
/** Names of compiled policies tell the kind, where it is not AccessPolicy. */
function kindAndName(name: string): readonly [string, string] {
  if (name.startsWith(strictPrefix)) return ['strict mode', name.slice(strictPrefix.length)];
  const [, kind, rest] = /^([A-Z][A-Za-z]+)[/:](.+)$/.exec(name) ?? [];
  return kind === undefined || rest === undefined ? ['AccessPolicy', name] : [kind, rest];
}

/** Workloads by the key of each policy that is enforced for them by a node or a waypoint. */
function workloadsByPolicy(
  mesh: PolicyMesh,
  pods: readonly Workload[],
): ReadonlyMap<string, ReadonlySet<string>> {
  const found = new Map<string, Set<string>>();
  const add = (policies: readonly AuthorizationPolicy[], id: string): void => {
    for (const { key } of policies) {
      const ids = found.get(key);
      if (ids) ids.add(id);
      else found.set(key, new Set([id]));
    }
  };
  for (const pod of pods) {
    add(mesh.policiesFor(pod), idOf(pod));
    for (const key of services(pod)) add(mesh.policiesForService(key), idOf(pod));
  }
  return found;
}

/** Labels of a namespace put its pods in the mesh, and its mode says whether they are. */
const enrollingKinds = ['Namespace', 'MeshSettings'];

/**
 * The view of the whole mesh, or of one namespace: its workloads, and the policies that apply to them or are in it. Pure.
 * @param unread kinds of which no object could be read
 */
export function objectsView(
  compiled: CompiledMesh,
  namespace?: string,
  unread: ReadonlySet<string> = new Set(),
): ObjectsView {
  const mesh = new PolicyMesh(compiled);
  const enrolled = new Set<string>(compiled.nodePods.map(({ pod }) => pod.uid));
  const areEnrollingRead = !enrollingKinds.some((kind) => unread.has(kind));
  const isEnrolled = ({ uid, nativeTunnel }: Workload): boolean | undefined =>
    // A waypoint's pod is in the mesh by itself.
    enrolled.has(uid) || nativeTunnel === true || (areEnrollingRead ? false : undefined);
  const groups = new Map<string, Workload[]>();
  for (const pod of compiled.mesh.workloads ?? []) {
    if (namespace !== undefined && pod.namespace !== namespace) continue;
    const same = groups.get(idOf(pod));
    if (same) same.push(pod);
    else groups.set(idOf(pod), [pod]);
  }
  const applied = workloadsByPolicy(mesh, [...groups.values()].flat());
  const policies = (compiled.mesh.policies ?? []).flatMap((policy): PolicyRules[] => {
    const workloads = [...(applied.get(policy.key) ?? [])].sort();
    if (namespace !== undefined && policy.namespace !== namespace && workloads.length === 0) return [];
    const [kind, name] = kindAndName(policy.name);
    return [
      {
        key: policy.key,
        kind,
        namespace: policy.namespace,
        name,
        action: policy.action,
        isAudited: policy.dryRun,
        workloads,
        rules: policyTexts(policy),
      },
    ];
  });
  const byId = <T extends { readonly id: string }>(a: T, b: T): number => (a.id < b.id ? -1 : 1);
  return {
    ...(unread.has('Pod')
      ? {}
      : { workloads: [...groups.values()].map((pods) => workloadState(mesh, isEnrolled, pods)).sort(byId) }),
    ...(unread.has('AccessPolicy') && policies.length === 0
      ? {}
      : { policies: policies.sort((a, b) => (a.key < b.key ? -1 : 1)) }),
  };
}
