/** What the verdicts toward a pod rest on. Pure. */
import type { NodePod } from '../../src/model/node-pod.js';
import { identitiesOf } from '../../src/state/resolve.js';
import type { MeshView } from '../../src/state/store.js';

const end = Symbol('end of a list');

/**
 * Everything that `kernelMayCarry` reads of the view for connections to a pod, from whichever pod. The view replaces what changes, so
 * two results are compared element by element, by identity: where no element differs, no verdict does.
 *
 * What planOutbound reads, for an address of the pod that is dialled: who owns the address (a Service, or a workload), the Services that
 * stand before the owner with their waypoints and ports, which identities each waypoint has, and the owner's policies.
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
    // Ports of endpoints that were written by hand are made anew at each look: by value.
    for (const { servicePort, targetPort } of ports) marks.push(servicePort, targetPort);
    marks.push(end);
    if (service?.waypoint) marks.push(...identitiesOf(view, service.waypoint), end);
  }
  if (workload.waypoint) marks.push(...identitiesOf(view, workload.waypoint), end);
  marks.push(...view.policiesFor(workload));
  return marks;
}
