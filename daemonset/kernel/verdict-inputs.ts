/** The inputs of the verdicts toward a pod. Pure. */
import type { NodePod } from '../../src/model/node-pod.js';
import { identitiesOf } from '../../src/state/resolve.js';
import type { MeshView } from '../../src/state/store.js';

const end = Symbol('end of a list');

/**
 * Everything that {@link isKernelPathAllowed} reads of the view for connections to a pod, from any source pod. The view replaces
 * objects that change, so two results are compared element by element, by identity: if no element differs, no verdict differs.
 *
 * For a dialed address of the pod, planOutbound reads: the owner of the address (a Service or a workload), the Services in front of the
 * owner with their waypoints and ports, the identities of each waypoint, and the owner's policies.
 */
export function verdictInputsOf(view: MeshView, { uid, namespace, addresses }: NodePod): readonly unknown[] {
  const workload = view.workload(uid);
  const marks: unknown[] = [workload];
  for (const ip of addresses) {
    marks.push(...view.claimantsOf(ip), end, view.serviceByAddress(ip, namespace));
  }
  if (!workload) return marks;
  for (const [key, ports] of view.servicesOf(workload)) {
    const service = view.service(key);
    marks.push(key, service);
    // By value: the view creates the ports of manually written endpoints at each lookup.
    for (const { servicePort, targetPort } of ports) marks.push(servicePort, targetPort);
    marks.push(end);
    if (service?.waypoint) marks.push(...identitiesOf(view, service.waypoint), end);
  }
  if (workload.waypoint) marks.push(...identitiesOf(view, workload.waypoint), end);
  marks.push(...view.policiesFor(workload));
  return marks;
}
