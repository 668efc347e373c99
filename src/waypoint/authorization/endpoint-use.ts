/** Attaches a request, mirror or relayed connection to the endpoint's policies by which it was authorized, so that a change of them finds it. */
import type { Endpoint } from '../cluster/endpoint.js';
import type { EndpointPolicies, PolicyUse, Rechecked } from './endpoint-policies.js';
import type { PolicyGroups } from './policy-groups.js';
import type { ServicePort } from './reachable.js';

export class EndpointUse implements PolicyUse {
  slot = -1;
  #policies: EndpointPolicies | undefined;

  constructor(readonly owner: Rechecked) {}

  /** Call it in the same turn of the event loop as the authorization. The owner leaves the endpoint that it used before. */
  begin(policies: PolicyGroups, endpoint: Endpoint, sent: ServicePort | undefined): void {
    this.end();
    this.#policies = policies.at(endpoint, sent);
    this.#policies.uses.add(this);
  }

  end(): void {
    this.#policies?.uses.delete(this);
    this.#policies = undefined;
  }
}
