/** Compiles manifests for commands that evaluate policies: the current state, and the state with further manifests applied. Pure. */
import { labelsOf, namespaceOf } from '../../src/model/labels.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { AuthorizationPolicy } from '../../src/model/policy.js';
import type { Route } from '../../src/model/route.js';
import type { Service } from '../../src/model/service.js';
import { isTemplatePodName } from '../../src/model/template-pod.js';
import type { Workload } from '../../src/model/workload.js';
import type { MeshSnapshot, PolicyMeshes, SnapshotPod } from '../../src/state/snapshot.js';
import { compile } from '../compile/compile.js';
import { serviceKeyOf } from '../compile/service.js';
import { waypointOfCaller } from '../compile/waypoints.js';
import { loadTexts, type Loaded } from '../migrate/load.js';
import { objectKey } from '../objects/object-key.js';
import type { MeshObject } from '../objects/objects.js';
import type { ManifestText } from '../problems/manifest-findings.js';

const trustDomain = parseTrustDomain('cluster.local');

/** @param objects of two with one key the later one counts, as if it had been applied later */
export function snapshotOf(objects: readonly MeshObject[], root: string): MeshSnapshot {
  const byKey = new Map(objects.map((object) => [objectKey(object), object]));
  const compiler = compile([...byKey.values()], { trustDomain, rootsVersion: '', rootNamespace: root });
  const workloads: Workload[] = [];
  const services: Service[] = [];
  const policies: AuthorizationPolicy[] = [];
  const nodePods: MeshSnapshot['nodePods'][number][] = [];
  const routes: Route[] = [];
  const servicePolicies: MeshSnapshot['servicePolicies'][number][] = [];
  const waypoints: string[] = [];
  for (const resource of compiler.all())
    if (resource.kind === 'workload') workloads.push(resource.value);
    else if (resource.kind === 'service') services.push(resource.value);
    else if (resource.kind === 'policy') policies.push(resource.value);
    else if (resource.kind === 'nodePod') nodePods.push({ node: resource.node, pod: resource.value });
    else if (resource.kind === 'route') routes.push(resource.value);
    else if (resource.kind === 'waypoint')
      waypoints.push(`${resource.value.namespace}/${resource.value.name}`);
    else if (resource.kind === 'servicePolicy') {
      const caller = waypointOfCaller(resource.node);
      if (caller)
        servicePolicies.push({ waypoint: `${caller.namespace}/${caller.name}`, policy: resource.value });
    }
  const selectable = new Map<string, MeshObject>();
  for (const one of [...compiler.ofKind('Pod'), ...compiler.ofKind('Workload')])
    selectable.set(`${one.kind} ${namespaceOf(one)}/${one.metadata.name}`, one);
  const pods = workloads.flatMap(({ uid, namespace, name }): SnapshotPod[] => {
    const kind = uid.includes('/weft.dev/Workload/') ? 'Workload' : 'Pod';
    const object = selectable.get(`${kind} ${namespace}/${name}`);
    return object ? [{ uid, namespace, name, labels: labelsOf(object) }] : [];
  });
  const mesh = { workloads, services, policies };
  const withoutAddress = [...compiler.ofKind('Service')]
    .filter(({ spec: { clusterIP, clusterIPs } }) => clusterIP === undefined && clusterIPs === undefined)
    .map(serviceKeyOf);
  return { trustDomain, mesh, pods, nodePods, routes, servicePolicies, withoutAddress, waypoints };
}

const problemsOf = ({ sources, problems }: Loaded): string[] => [
  ...problems.map(({ file, line, message }) => `${file}${line > 0 ? `:${line}` : ''}: ${message}`),
  ...sources.flatMap(({ file, line, kind, namespace, name, errors }) =>
    errors.map(
      (error) => `${file === undefined ? '' : `${file}:${line}: `}${kind} ${namespace}/${name}: ${error}`,
    ),
  ),
];

/** A pod made of a template stands for pods that a live cluster has. */
const isOfTemplate = ({ kind, metadata }: MeshObject): boolean =>
  kind === 'Pod' && isTemplatePodName(metadata.name);

/** Objects of the applied manifests that refuse requests for reasons that calls do not tell: rates, and decisions of services. */
const unevaluated = (objects: readonly MeshObject[]): string[] =>
  objects
    .filter(({ kind }) => kind === 'TrafficPolicy')
    .map(
      (object) =>
        `not compared: TrafficPolicy ${namespaceOf(object)}/${object.metadata.name}: what its sections refuse (external authorization, limits) is not known from calls; try it with dryRun: true`,
    );

/**
 * @param current texts of the current state, or the objects of a cluster
 * @param applied manifests that are applied to it
 */
export function policyMeshes(
  current: readonly ManifestText[] | Loaded,
  applied: readonly ManifestText[],
  root: string,
): PolicyMeshes {
  const isLive = 'objects' in current;
  const loaded = isLive ? current : loadTexts(current);
  const added = loadTexts(applied, loaded.sources.length);
  // Later objects take the place of earlier ones.
  const objects = [...loaded.objects, ...added.objects.filter((one) => !isLive || !isOfTemplate(one))];
  const before = snapshotOf(loaded.objects, root);
  return {
    errors: problemsOf(added),
    warnings: problemsOf(loaded),
    unread: loaded.unread ?? loaded.problems.map(({ file, message }) => `${file}: ${message}`),
    unevaluated: unevaluated(added.objects),
    before,
    after: applied.length === 0 ? before : snapshotOf(objects, root),
  };
}
