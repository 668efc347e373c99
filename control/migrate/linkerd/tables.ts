/** What does the same in Weft as each field of Linkerd's kinds, as `weft migrate convert` writes it. */

export type LinkerdSupport =
  /** What convert writes for it. */
  | { readonly becomes: string }
  /** Nothing is needed for it. */
  | { readonly needless: string }
  /** Convert writes it as a comment. */
  | { readonly lacks: string; readonly instead?: string };

/** By path, as a FieldTable. */
export type LinkerdTable = Readonly<Record<string, LinkerdSupport>>;

const becomes = (weft: string): LinkerdSupport => ({ becomes: weft });
const needless = (why: string): LinkerdSupport => ({ needless: why });
const lacks = (why: string, instead?: string): LinkerdSupport => ({
  lacks: why,
  ...(instead === undefined ? {} : { instead }),
});

const from = 'AccessPolicy spec.rules[].from';
const identities = `${from}: identities`;
const networks = `${from}: cidrs`;

/** Tables by `GROUP/KIND`. */
export const linkerdTables: Readonly<Record<string, LinkerdTable>> = {
  'linkerd.io/ServiceProfile': {
    dstOverrides: lacks('a ServiceProfile replaces no route', 'backendRefs with weights of an HTTPRoute'),
    opaquePorts: needless(
      'a port without a waypoint is opaque; with one, appProtocol: tcp of the Service port says it',
    ),
    'retryBudget.retryRatio': becomes('TrafficPolicy spec.retry.budget.percent'),
    'retryBudget.minRetriesPerSecond': becomes('TrafficPolicy spec.retry.budget.minRetries'),
    'retryBudget.ttl': needless('the budget counts the last 10 s'),
    'routes[].name': becomes('HTTPRoute spec.rules[].name'),
    'routes[].condition': becomes('HTTPRoute spec.rules[].matches'),
    'routes[].condition.status': lacks('a request has no status'),
    'routes[].condition.not': lacks('an HTTPRoute has no negation'),
    'routes[].isRetryable': becomes('HTTPRoute spec.rules[].retry'),
    'routes[].timeout': becomes('HTTPRoute spec.rules[].timeouts.request'),
    'routes[].responseClasses': lacks(
      'a response counts as failed by its status alone: 500 to 599',
      'retry.codes of the rule and outlierDetection of a TrafficPolicy',
    ),
  },
  'policy.linkerd.io/Server': {
    podSelector: becomes('AccessPolicy spec.selector'),
    'podSelector.matchExpressions': lacks('a selector has only matchLabels'),
    externalWorkloadSelector: lacks('Workloads are selected by the labels of a podSelector'),
    port: becomes('AccessPolicy spec.rules[].to: ports'),
    proxyProtocol: needless('the appProtocol of the Service port says it'),
    accessPolicy: becomes('AccessPolicy spec.rules'),
  },
  'policy.linkerd.io/ServerAuthorization': {
    server: becomes('AccessPolicy spec.selector and ports, of the Server'),
    'client.networks': becomes(networks),
    'client.unauthenticated': becomes('AccessPolicy without from'),
    'client.meshTLS.unauthenticatedTLS': lacks('each identity in the mesh is proven'),
    'client.meshTLS.identities': becomes(identities),
    'client.meshTLS.serviceAccounts': becomes(`${from}: serviceAccounts`),
  },
  'policy.linkerd.io/AuthorizationPolicy': {
    targetRef: becomes('AccessPolicy spec.selector and ports, of the target'),
    requiredAuthenticationRefs: becomes(`${from}, of the authentications`),
  },
  'policy.linkerd.io/MeshTLSAuthentication': {
    identities: becomes(identities),
    identityRefs: becomes(`${from}: serviceAccounts and namespaces`),
  },
  'policy.linkerd.io/NetworkAuthentication': {
    'networks[].cidr': becomes(networks),
    'networks[].except': becomes(`${from}: notCidrs`),
  },
  'policy.linkerd.io/HTTPLocalRateLimitPolicy': {
    targetRef: becomes("TrafficPolicy spec.targetRefs: the Services of the Server's pods"),
    total: becomes('TrafficPolicy spec.rateLimits[].requests'),
    identity: becomes('TrafficPolicy spec.rateLimits[] with keys: [clientIdentity]'),
    overrides: becomes('TrafficPolicy spec.rateLimits[], one for the clients of from'),
  },
  'policy.linkerd.io/HTTPRoute': {
    parentRefs: becomes('HTTPRoute spec.parentRefs, for a Service; AccessPolicy, for a Server'),
    hostnames: lacks('a Service has one name in Weft', 'a match of the header host'),
    rules: becomes('HTTPRoute spec.rules'),
  },
  'policy.linkerd.io/EgressNetwork': {
    networks: lacks(
      'destinations outside of the mesh are not selected by networks',
      'an ExternalService per destination',
    ),
    trafficPolicy: lacks('the mesh has one setting', 'outboundUnknown of MeshSettings'),
  },
  'workload.linkerd.io/ExternalWorkload': {
    meshTLS: lacks('a machine runs an agent of Weft, which has its identity', 'a Workload'),
    workloadIPs: lacks('a machine runs an agent of Weft', 'a Workload with addresses'),
    ports: lacks('a machine runs an agent of Weft', 'a Workload with ports'),
  },
};
