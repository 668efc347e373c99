/** Authorizes one request twice: as the client sent it, and as a route's rule changed it. */
import { denialReason, type HttpAttributes, type Verdict } from '../../policy/authorize.js';
import { attributesOf, hasParameter, readingsOnDemand } from './request-attributes.js';
import { remoteAddress } from './remote-address.js';
import type { Client } from '../listener/client.js';
import { notServed, servicePortOf, unknownService, type Destination } from '../listener/destination.js';
import { authorizeClient } from './authorize.js';
import type { RequestHead } from '../http/http-stream.js';
import type { LocalReply } from '../http/local-reply.js';
import type { Claims } from '../../policy/claims.js';
import { joinedHeader, type Headers } from '../http/headers.js';
import type { ServicePort } from './reachable.js';
import type { WaypointState } from '../state/waypoint-state.js';
import type { Endpoint } from '../cluster/endpoint.js';

export class RequestAuthorization {
  /** The authority that the client sent, before any rule's changes. */
  authority = '';
  path: string;
  /** The claims of the client's valid token. */
  claims: Claims | undefined;
  /** A copy of the request's headers before a rule's changes; undefined if no rule changed them. */
  #headers: Headers | undefined;
  #original: HttpAttributes | undefined;
  #verdict: Verdict | undefined;
  /** The Service's policies were evaluated, so a recheck may evaluate them: earlier stages add what the policies match. */
  #isAuthorized = false;

  constructor(
    private readonly state: WaypointState,
    private readonly client: Client,
    private readonly destination: Destination,
    /** The head as it is sent to the endpoint: rules change it in place. */
    private readonly head: RequestHead,
    /** Proxies ahead of the waypoint whose word about the client's address counts. */
    private readonly trustedProxies = 0,
  ) {
    this.path = head.path;
  }

  /** Copies the request's headers once. Called before each change of them. */
  saveHeaders(): void {
    this.#headers ??= [...this.head.headers];
  }

  /**
   * The head as it is now counts as the one that the client sent. Once the Service's policies were evaluated, a rule may have changed the head,
   * so that only the claims are taken: a rule's author must not be able to say what the client sent.
   */
  adoptHead(): void {
    this.#original = undefined;
    if (this.#isAuthorized) return;
    this.path = this.head.path;
    this.#headers = undefined;
  }

  /** The headers that the client sent, before any rule's changes. */
  get originalHeaders(): Headers {
    return this.#headers ?? this.head.headers;
  }

  /** The attributes of the request as the client sent it, before any rule's changes. */
  originalAttributes(): HttpAttributes {
    const readings = readingsOnDemand(this.path);
    return (this.#original ??= {
      method: this.head.method,
      host: this.authority.replace(/:\d*$/, ''),
      get paths() {
        return readings();
      },
      header: (name) => (name === 'host' ? this.authority : joinedHeader(this.originalHeaders, name)),
      hasParameter: (name) => hasParameter(this.path, name),
      claims: this.claims,
      claimsNamespace: this.claims && this.#namespace,
      remoteIp: remoteAddress(this.originalHeaders, this.client.address.ip, this.trustedProxies),
    });
  }

  /** The namespace whose settings have validated the client's token. */
  get #namespace(): string | undefined {
    return this.destination.kind === 'service' ? this.destination.service.namespace : undefined;
  }

  /** The last verdict; undefined if no policy was evaluated. */
  get verdict(): Verdict | undefined {
    return this.#verdict;
  }

  /**
   * Checks that this waypoint still serves the destination (the connection may be older than a change of that), and evaluates the Service's
   * policies. Undefined: the request may go on.
   */
  ofService(): LocalReply | undefined {
    const lost = notServed(this.state, this.destination);
    if (lost !== undefined) return notServedReply(lost);
    this.#isAuthorized = true;
    const verdict = this.#serviceVerdict();
    if (verdict === undefined) return undefined;
    this.#verdict = verdict;
    return verdict.allowed ? undefined : denied(denialReason(verdict));
  }

  /** Evaluates the endpoint's policies. Undefined: the request may go on. */
  ofEndpoint(endpoint: Endpoint, sent: ServicePort | undefined): LocalReply | undefined {
    const verdict = this.#endpointVerdict(endpoint, sent) ?? this.#verdict ?? noPolicy;
    this.#verdict = verdict;
    return verdict.allowed ? undefined : denied(denialReason(verdict));
  }

  /** Whether `ofEndpoint` would let the request go on. The verdict of the attempt under way stays. */
  allowsEndpoint(endpoint: Endpoint, sent: ServicePort | undefined): boolean {
    return (this.#endpointVerdict(endpoint, sent) ?? this.#verdict ?? noPolicy).allowed;
  }

  /**
   * Authorizes the request again after a mesh update. Undefined: the request may go on.
   * @param endpoint the endpoint of the attempt under way, if there is one
   * @param hasBegun the response has begun, so that the request can only be aborted
   */
  recheck(
    endpoint: Endpoint | undefined,
    sent: ServicePort | undefined,
    hasBegun: boolean,
  ): LocalReply | undefined {
    const lost = notServed(this.state, this.destination);
    if (lost !== undefined) return notServedReply(lost);
    const ofService = this.#isAuthorized ? this.#serviceVerdict() : undefined;
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

  /** The verdict of the policies of the Service that the client dialed; undefined if there are none. */
  #serviceVerdict(): Verdict | undefined {
    const asked = servicePortOf(this.destination);
    const groups = asked && this.state.policies.ofService(asked, this.destination.dialed.ip);
    return groups && groups.length > 0
      ? authorizeClient(groups, this.client, this.originalAttributes())
      : undefined;
  }

  /**
   * The verdict of the endpoint's policies; undefined if there are none. Both the request as the client sent it and the request as it is
   * sent to the endpoint have to be allowed: a rule may belong to the client's namespace, whose author does not decide what the endpoint
   * allows.
   */
  #endpointVerdict(endpoint: Endpoint, sent: ServicePort | undefined): Verdict | undefined {
    const groups = this.state.policies.ofEndpoint(endpoint, sent);
    if (groups.length === 0) return undefined;
    const asked = authorizeClient(groups, this.client, this.originalAttributes());
    const { head } = this;
    const isChanged =
      this.#headers !== undefined || head.path !== this.path || head.authority !== this.authority;
    return asked.allowed && isChanged
      ? authorizeClient(groups, this.client, attributesOf(head, this.originalAttributes()))
      : asked;
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
