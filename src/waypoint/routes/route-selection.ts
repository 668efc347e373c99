/** The routing of one request: the rule, its backend, the backend's Service port, and the session that names an endpoint. */
import type { RouteBackend, RouteRule } from '../../model/route.js';
import type { ServicePolicy } from '../../model/service-policy.js';
import type { ServicePort } from '../authorization/reachable.js';
import type { RequestHead, ResponseHead } from '../http/http-stream.js';
import type { Client } from '../listener/client.js';
import { servicePortOf, type Destination } from '../listener/destination.js';
import type { RequestSettings } from '../state/request-settings.js';
import type { WaypointState } from '../state/waypoint-state.js';
import type { Cluster } from '../cluster/cluster.js';
import type { ClusterManager } from '../cluster/cluster-manager.js';
import type { Endpoint } from '../cluster/endpoint.js';
import { addSessionToken, findSession, type Session } from '../upstream/session-persistence.js';
import type { Matched } from './compile.js';
import { chooseBackend } from './weighted-backend.js';

export class RouteSelection {
  /** The matched rule; undefined if no routes apply to the request. */
  matched: Matched | undefined;
  backend: RouteBackend | undefined;
  /** The Service port whose endpoints are used; undefined for a workload's own address. */
  sent: ServicePort | undefined;
  #session: Session | undefined;

  constructor(
    private readonly state: WaypointState,
    private readonly clusters: ClusterManager,
    private readonly client: Client,
    private readonly destination: Destination,
    private readonly head: RequestHead,
    private readonly settings: RequestSettings,
  ) {}

  get rule(): RouteRule | undefined {
    return this.matched?.rule;
  }

  /** Finds the request's rule. False: routes apply to the request, but none of their rules matches. */
  match(): boolean {
    const { destination } = this;
    const routing =
      destination.kind === 'service'
        ? this.state.routing(destination.service, destination.port, this.client.namespace, this.settings)
        : undefined;
    if (routing === undefined || (routing.kind !== 'http' && routing.kind !== 'grpc')) return true;
    this.matched = routing.match(this.head, this.client);
    return this.matched !== undefined;
  }

  /**
   * Whether the rule that the request would match says that its requests need no decision of a service. Only a route of the Service's own
   * namespace can say so.
   */
  disablesExternalAuthorization(): boolean {
    const found = this.match() ? this.matched : undefined;
    const disables = found?.rule.withoutExternalAuthorization === true && !this.isConsumerRoute;
    // The request is matched when all filters before the route have let it go on.
    this.matched = undefined;
    return disables;
  }

  /**
   * Chooses the backend, once per request: the one that the session names, else one by weight. Undefined: it was chosen before, or the rule has
   * no backend.
   */
  chooseBackend(): RouteBackend | undefined {
    const { rule } = this;
    if (!rule || this.backend) return undefined;
    return (this.backend = this.#persisted(rule)?.backend ?? chooseBackend(rule.backends, Math.random()));
  }

  /** The cluster that the request is sent to, as it is now; a string is the reason why there is no such backend. */
  cluster(): Cluster | string {
    const { clusters, destination, rule } = this;
    let sent = servicePortOf(destination);
    if (rule) {
      const target = this.backend?.target;
      if (target?.kind !== 'service')
        return target?.reason ?? 'the rule has no backend with a weight above 0';
      sent = target;
    }
    this.sent = sent;
    if (destination.kind === 'workload' && !rule)
      return clusters.ofWorkload(destination.workload, destination.dialed);
    if (!sent) return 'the destination has no Service';
    return (
      clusters.ofService(sent.service, sent.port) ?? this.state.noEndpointsBecause(sent.service, sent.port)
    );
  }

  /** The settings of the Service port that the client dialed. */
  policy(): ServicePolicy | undefined {
    const asked = servicePortOf(this.destination);
    return asked && this.state.policyOf(asked.service, asked.port);
  }

  /** The endpoint that the client's session names, if the rule still leads to it. */
  sessionEndpoint(): Endpoint | undefined {
    return this.rule && this.#persisted(this.rule)?.endpoint;
  }

  /** Adds the session token to a response of `endpoint`. The waypoint's own responses have none. */
  addSession(response: ResponseHead, endpoint: Endpoint): void {
    if (this.rule) addSessionToken(response, this.rule, endpoint, this.#session, Date.now());
  }

  /** The route is in the client's namespace, not in the Service's. */
  get isConsumerRoute(): boolean {
    const { destination } = this;
    const route = this.matched?.route;
    return (
      route !== undefined &&
      destination.kind === 'service' &&
      route.namespace !== destination.service.namespace
    );
  }

  /** The namespace of the route whose rule may have changed the request; undefined: no rule has. */
  get changedBy(): string | undefined {
    const { matched, backend } = this;
    if (!matched) return undefined;
    const filters = matched.rule.filters.length + (backend?.filters.length ?? 0);
    return filters > 0 ? matched.route.namespace : undefined;
  }

  /** The request's session. Cached once found: if its endpoint is removed, the backend still does not change within one request. */
  #persisted(rule: RouteRule): Session | undefined {
    return (this.#session ??= findSession(this.clusters, rule, this.head.headers, Date.now()));
  }
}
