/** Which of a waypoint's decisions a mesh update affects. All other requests and connections are not authorized again. */
import type { ServiceKey } from '../../model/workload.js';
import { touchedWorkloads, type MeshChange } from '../../state/change.js';
import type { Destination } from '../listener/destination.js';
import type { ServicePort } from '../authorization/policy-groups.js';
import type { WaypointState } from './waypoint-state.js';
import type { Endpoint } from '../cluster/endpoint.js';

export class ChangeImpact {
  readonly #workload: ReturnType<typeof touchedWorkloads>;

  constructor(
    private readonly state: WaypointState,
    private readonly change: MeshChange,
  ) {
    this.#workload = touchedWorkloads(state.view, change);
  }

  /** True: the update may change whether the waypoint serves this destination, or the Service's own policies. */
  destination(destination: Destination): boolean {
    return destination.kind === 'service'
      ? this.#service(destination.service.key)
      : this.#workload(destination.workload.uid);
  }

  /** True: the update affects the Service that the request was sent to, or a workload that the endpoint may lead to. */
  endpoint(endpoint: Endpoint, sent: ServicePort | undefined): boolean {
    if (sent && this.#service(sent.service)) return true;
    if (this.#workload(endpoint.workload.uid)) return true;
    if (!endpoint.via || !sent) return false;
    if (this.change.endpointsOf.has(sent.service)) return true;
    return this.state.policies
      .candidates(endpoint, sent)
      .some(({ workload }) => this.#workload(workload.uid));
  }

  #service(key: ServiceKey): boolean {
    return this.change.services.has(key) || this.change.policyServices.has(key);
  }
}
