/** The policies' verdict on one request: for what the client asked, and for what a rule made of it. */
import type { HttpAttributes, Verdict } from '../../policy/authorize.js';
import { attributesOf, readingsOnDemand } from './request-attributes.js';
import type { Client } from '../listener/client.js';
import { servicePortOf, type Destination } from '../listener/destination.js';
import { authorizeClient } from './authorize.js';
import type { RequestHead } from '../http/http-stream.js';
import { joinedHeader, type Headers } from '../http/headers.js';
import type { ServicePort } from './policy-groups.js';
import type { WaypointState } from '../state/waypoint-state.js';
import type { Endpoint } from '../upstream/endpoint.js';

export class RequestAuthorization {
  /** As the client named it, whatever a rule makes of it. */
  authority = '';
  readonly path: string;
  /** The request's headers ahead of a rule's changes; undefined where there are none. */
  #headers: Headers | undefined;
  #asked: HttpAttributes | undefined;

  constructor(
    private readonly state: WaypointState,
    private readonly client: Client,
    private readonly destination: Destination,
    /** As it is sent to the endpoint: rules change it in place. */
    private readonly head: RequestHead,
  ) {
    this.path = head.path;
  }

  /** Called ahead of each change of the request's headers. */
  saveHeaders(): void {
    this.#headers ??= [...this.head.headers];
  }

  /** As the client asked, whatever a rule makes of it later. */
  originalAttributes(): HttpAttributes {
    const readings = readingsOnDemand(this.path);
    return (this.#asked ??= {
      method: this.head.method,
      host: this.authority.replace(/:\d*$/, ''),
      get paths() {
        return readings();
      },
      header: (name) =>
        name === 'host' ? this.authority : joinedHeader(this.#headers ?? this.head.headers, name),
    });
  }

  /** By the policies of the Service that was asked; undefined where there are none. */
  ofService(): Verdict | undefined {
    const asked = servicePortOf(this.destination);
    const groups = asked && this.state.policies.ofService(asked, this.destination.dialled.ip);
    return groups && groups.length > 0
      ? authorizeClient(groups, this.client, this.originalAttributes())
      : undefined;
  }

  /**
   * By the policies of the endpoint; undefined where there are none. What the client asked counts, and what is sent in its place: a rule may
   * be of the client's namespace, whose author has no say in what the endpoint allows.
   */
  ofEndpoint(endpoint: Endpoint, sent: ServicePort | undefined): Verdict | undefined {
    const groups = this.state.policies.ofEndpoint(endpoint, sent);
    if (groups.length === 0) return undefined;
    const asked = authorizeClient(groups, this.client, this.originalAttributes());
    const { head } = this;
    const isChanged =
      this.#headers !== undefined || head.path !== this.path || head.authority !== this.authority;
    return asked.allowed && isChanged ? authorizeClient(groups, this.client, attributesOf(head)) : asked;
  }
}
