/** The policies' verdict on one request: for what the client asked, and for what a rule made of it. */
import { denialReason, type HttpAttributes, type Verdict } from '../../policy/authorize.js';
import { attributesOf, readingsOnDemand } from './request-attributes.js';
import type { Client } from '../listener/client.js';
import { notServed, servicePortOf, unknownService, type Destination } from '../listener/destination.js';
import { authorizeClient } from './authorize.js';
import type { RequestHead } from '../http/http-stream.js';
import type { LocalReply } from '../http/local-reply.js';
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
  #original: HttpAttributes | undefined;
  #verdict: Verdict | undefined;

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
    return (this.#original ??= {
      method: this.head.method,
      host: this.authority.replace(/:\d*$/, ''),
      get paths() {
        return readings();
      },
      header: (name) =>
        name === 'host' ? this.authority : joinedHeader(this.#headers ?? this.head.headers, name),
    });
  }

  /** The last verdict; undefined where no policy has been asked. */
  get verdict(): Verdict | undefined {
    return this.#verdict;
  }

  /**
   * Whether this waypoint still serves what the client dialed, also on a connection that is older than a change of that, and what the
   * policies of the Service say of the request. Undefined where nothing is against the request.
   */
  ofService(): LocalReply | undefined {
    const lost = notServed(this.state, this.destination);
    if (lost !== undefined) return notServedReply(lost);
    const verdict = this.#serviceVerdict();
    if (verdict === undefined) return undefined;
    this.#verdict = verdict;
    return verdict.allowed ? undefined : denied(denialReason(verdict));
  }

  /** What the policies of the endpoint say of the request. Undefined where nothing is against it. */
  ofEndpoint(endpoint: Endpoint, sent: ServicePort | undefined): LocalReply | undefined {
    const verdict = this.#endpointVerdict(endpoint, sent) ?? this.#verdict ?? noPolicy;
    this.#verdict = verdict;
    return verdict.allowed ? undefined : denied(denialReason(verdict));
  }

  /**
   * After an update of the mesh. Undefined where the request may go on.
   * @param endpoint where the request is under way, if anywhere
   * @param hasBegun the response has: it can only be broken off
   */
  recheck(
    endpoint: Endpoint | undefined,
    sent: ServicePort | undefined,
    hasBegun: boolean,
  ): LocalReply | undefined {
    const lost = notServed(this.state, this.destination);
    if (lost !== undefined) return notServedReply(lost);
    const ofService = this.#serviceVerdict();
    if (ofService?.allowed === false) return this.#forbidden(ofService, hasBegun);
    if (!endpoint) return undefined;
    const unknown = unknownService(this.state, sent);
    if (unknown !== undefined) return { status: 503, flag: 'NC', code: 'WEFT_BACKEND_INVALID', why: unknown };
    const verdict = this.#endpointVerdict(endpoint, sent) ?? this.#verdict ?? noPolicy;
    return verdict.allowed ? undefined : this.#forbidden(verdict, hasBegun);
  }

  #forbidden(verdict: Verdict, hasBegun: boolean): LocalReply {
    this.#verdict = verdict;
    return denied(hasBegun ? `policy ${verdict.policy} forbids it now` : denialReason(verdict));
  }

  /** By the policies of the Service that was asked; undefined where there are none. */
  #serviceVerdict(): Verdict | undefined {
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
  #endpointVerdict(endpoint: Endpoint, sent: ServicePort | undefined): Verdict | undefined {
    const groups = this.state.policies.ofEndpoint(endpoint, sent);
    if (groups.length === 0) return undefined;
    const asked = authorizeClient(groups, this.client, this.originalAttributes());
    const { head } = this;
    const isChanged =
      this.#headers !== undefined || head.path !== this.path || head.authority !== this.authority;
    return asked.allowed && isChanged ? authorizeClient(groups, this.client, attributesOf(head)) : asked;
  }
}

const noPolicy: Verdict = { allowed: true, reason: 'no-policy', audited: [] };

const denied = (why: string): LocalReply => ({ status: 403, flag: 'RBAC', code: 'WEFT_DENIED', why });
const notServedReply = (why: string): LocalReply => ({
  status: 503,
  flag: 'NC',
  code: 'WEFT_NOT_SERVED',
  why,
});
