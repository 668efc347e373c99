/** The compiled mesh as one value. */
import { labelsOf, namespaceOf } from '../../src/model/labels.js';
import type { TrustDomain } from '../../src/model/identity.js';
import type { AuthorizationPolicy } from '../../src/model/policy.js';
import type { Route } from '../../src/model/route.js';
import type { Service } from '../../src/model/service.js';
import type { Workload } from '../../src/model/workload.js';
import type { MeshSnapshot, SnapshotPod } from '../../src/state/snapshot.js';
import type { Compiler } from '../compile/compile.js';
import { serviceKeyOf } from '../compile/service.js';
import { waypointOfCaller } from '../compile/waypoints.js';
import type { MeshObject } from '../objects/objects.js';

/** All that nodes and waypoints are sent, without the labels of pods. */
export function resourcesOf(compiler: Compiler, trustDomain: TrustDomain): MeshSnapshot {
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
  const mesh = { workloads, services, policies };
  const withoutAddress = [...compiler.ofKind('Service')]
    .filter(({ spec: { clusterIP, clusterIPs } }) => clusterIP === undefined && clusterIPs === undefined)
    .map(serviceKeyOf);
  return { trustDomain, mesh, pods: [], nodePods, routes, servicePolicies, withoutAddress, waypoints };
}

/** All that nodes and waypoints are sent. */
export function snapshotOfMesh(compiler: Compiler, trustDomain: TrustDomain): MeshSnapshot {
  const resources = resourcesOf(compiler, trustDomain);
  const selectable = new Map<string, MeshObject>();
  for (const one of [...compiler.ofKind('Pod'), ...compiler.ofKind('Workload')])
    selectable.set(`${one.kind} ${namespaceOf(one)}/${one.metadata.name}`, one);
  const pods = (resources.mesh.workloads ?? []).flatMap(({ uid, namespace, name }): SnapshotPod[] => {
    const kind = uid.includes('/weft.dev/Workload/') ? 'Workload' : 'Pod';
    const object = selectable.get(`${kind} ${namespace}/${name}`);
    return object ? [{ uid, namespace, name, labels: labelsOf(object) }] : [];
  });
  return { ...resources, pods };
}
