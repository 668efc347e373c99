/** Compiles manifests for commands that evaluate policies: the current state, and the state with further manifests applied. Pure. */
import { labelsOf, namespaceOf } from '../../src/model/labels.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { AuthorizationPolicy } from '../../src/model/policy.js';
import type { Route } from '../../src/model/route.js';
import type { Service } from '../../src/model/service.js';
import { isTemplatePodName } from '../../src/model/template-pod.js';
import type { Workload } from '../../src/model/workload.js';
import type { MeshSnapshot, PolicyMeshes, SnapshotPod } from '../../src/state/snapshot.js';
import { compile, type Compiler } from '../compile/compile.js';
import { serviceKeyOf } from '../compile/service.js';
import { waypointOfCaller } from '../compile/waypoints.js';
import { loadTexts, type Loaded } from '../migrate/load.js';
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import type { MeshObject } from '../objects/objects.js';
import type { ManifestText } from '../problems/manifest-findings.js';
import { actingPolicies, uncompared } from './uncompared.js';

const trustDomain = parseTrustDomain('cluster.local');

/** Of two objects with one key the later one counts, as if it had been applied later. */
const byKey = (objects: readonly MeshObject[]): Map<ObjectKey, MeshObject> =>
  new Map(objects.map((object) => [objectKey(object), object]));
const compilerOf = (objects: readonly MeshObject[], root: string): Compiler =>
  compile([...byKey(objects).values()], { trustDomain, rootsVersion: '', rootNamespace: root });

/** The compiled mesh of these objects. */
export const snapshotOf = (objects: readonly MeshObject[], root: string): MeshSnapshot =>
  snapshot(compilerOf(objects, root));

function snapshot(compiler: Compiler): MeshSnapshot {
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
  const compiler = compilerOf(loaded.objects, root);
  const before = snapshot(compiler);
  const read = {
    errors: problemsOf(added),
    warnings: problemsOf(loaded),
    unread: loaded.unread ?? loaded.problems.map(({ file, message }) => `${file}: ${message}`),
    before,
  };
  if (applied.length === 0) return { ...read, unevaluated: [], after: before };
  const acting = actingPolicies(compiler);
  compiler.apply(byKey(added.objects.filter((one) => !isLive || !isOfTemplate(one))));
  return { ...read, unevaluated: uncompared(acting, compiler), after: snapshot(compiler) };
}
