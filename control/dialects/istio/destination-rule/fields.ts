/** What Weft does with each field of a DestinationRule. */
import { closes, differs, nothing, works, type FieldSupport, type FieldTable } from '../../fields.js';

const tunneled = 'connections of the mesh are tunnels of their own, which several Services share';
const certificates = 'Weft reads no files of proxies and no Secrets';
const ownCertificates = 'a BackendTLSPolicy, whose certificates are in a ConfigMap';

const connectionPool: FieldTable = {
  'tcp.maxConnections': works,
  'tcp.connectTimeout': works,
  'tcp.idleTimeout': works,
  'tcp.tcpKeepalive': nothing(tunneled),
  'tcp.maxConnectionDuration': nothing(tunneled, 'http.maxRequestsPerConnection'),
  'http.http1MaxPendingRequests': works,
  'http.http2MaxRequests': works,
  'http.maxRequestsPerConnection': works,
  'http.maxRetries': works,
  'http.idleTimeout': works,
  'http.h2UpgradePolicy': works,
  'http.useClientProtocol': works,
  'http.maxConcurrentStreams': nothing(
    'the waypoint opens as many streams as the endpoint accepts',
    'http.http2MaxRequests',
  ),
  'http.http2KeepAlive': nothing(tunneled),
};

const loadBalancer: FieldTable = {
  simple: differs('PASSTHROUGH is as UNSPECIFIED: the waypoint chooses the endpoint'),
  'consistentHash.httpHeaderName': works,
  'consistentHash.httpCookie.name': works,
  'consistentHash.httpCookie.path': works,
  'consistentHash.httpCookie.ttl': differs('with 0s no cookie is set: the client has to bring it'),
  'consistentHash.httpCookie.attributes': nothing(
    'the cookie has the attributes Path, Max-Age and HttpOnly alone',
  ),
  'consistentHash.useSourceIp': works,
  'consistentHash.httpQueryParameterName': works,
  'consistentHash.ringHash.minimumRingSize': works,
  'consistentHash.maglev.tableSize': works,
  'consistentHash.minimumRingSize': works,
  'warmup.duration': works,
  'warmup.minimumPercent': works,
  'warmup.aggression': works,
  warmupDurationSecs: works,
  'localityLbSetting.enabled': works,
  'localityLbSetting.failoverPriority': differs(
    'the labels of region, zone and node count; other labels have no effect',
  ),
  'localityLbSetting.failover': nothing(
    "an endpoint of the waypoint's region is preferred, then any other: regions have no order",
  ),
  'localityLbSetting.distribute': nothing(
    'requests are not shared out among places by weights',
    'an HTTPRoute with weights',
  ),
  zoneAwareLbSetting: nothing('nothing of it is read', 'localityLbSetting'),
  backendUtilization: nothing('endpoints report no load', 'loadBalancing.type PeakEwma of a TrafficPolicy'),
};

const outlierDetection: FieldTable = {
  // The former name of consecutive5xxErrors, which Istio itself no longer reads.
  consecutiveErrors: works,
  consecutive5xxErrors: works,
  consecutiveGatewayErrors: works,
  consecutiveLocalOriginFailures: works,
  splitExternalLocalOriginErrors: works,
  failurePercentageThreshold: works,
  interval: works,
  baseEjectionTime: works,
  maxEjectionPercent: differs('one endpoint may always be ejected; the last one of a Service is still used'),
  minHealthPercent: works,
  outlierDetectionHttpErrorCodes: nothing('responses from 500 on count as errors'),
};

const tls: FieldTable = {
  mode: differs(
    'connections of the mesh are always mutual TLS: DISABLE and ISTIO_MUTUAL change nothing; with SIMPLE the waypoint speaks TLS with the endpoint itself, inside of the tunnel if it is one of the mesh',
  ),
  'mode=MUTUAL': differs(
    'as SIMPLE, and the waypoint shows the certificate of credentialName; without one what has it is closed',
  ),
  sni: differs('without it the server name is the host of the rule: a host with * needs it'),
  subjectAltNames: works,
  caCertificates: closes(`${certificates}; "system" and no value are the public roots`, ownCertificates),
  caCertCredentialName: closes(certificates, ownCertificates),
  caCrl: closes(certificates),
  credentialName: differs(
    "only with MUTUAL (SIMPLE closes): a Secret of type kubernetes.io/tls of the rule's namespace, which has to be the waypoint's. Its ca.crt is not read: certificates of the server are verified by the public roots, or by a BackendTLSPolicy in place of the rule's tls (external.md)",
  ),
  clientCertificate: closes(certificates, 'credentialName'),
  privateKey: closes(certificates, 'credentialName'),
  insecureSkipVerify: closes('certificates are always verified', ownCertificates),
};

const under = (prefix: string, table: FieldTable): FieldTable =>
  Object.fromEntries(Object.entries(table).map(([path, support]) => [`${prefix}.${path}`, support]));

const portPolicy = (at: string): FieldTable => ({
  ...under(`${at}.connectionPool`, connectionPool),
  ...under(`${at}.loadBalancer`, loadBalancer),
  ...under(`${at}.outlierDetection`, outlierDetection),
  ...under(`${at}.tls`, tls),
});

const proxied: FieldSupport = closes('the waypoint connects to endpoints of the mesh by its own tunnels');
const trafficPolicy = (at: string): FieldTable => ({
  ...portPolicy(at),
  [`${at}.portLevelSettings[].port.number`]: works,
  ...portPolicy(`${at}.portLevelSettings[]`),
  [`${at}.retryBudget.percent`]: differs('fractions of a percent are left out'),
  [`${at}.retryBudget.minRetryConcurrency`]: works,
  [`${at}.retryBudget.budgetInterval`]: nothing('the budget counts requests that are under way'),
  [`${at}.proxyProtocol`]: closes('endpoints get no PROXY header', 'the header x-forwarded-for'),
  [`${at}.tunnel`]: proxied,
});

export const destinationRuleFields: FieldTable = {
  host: differs(
    'a rule acts on Services of its own namespace, for all of their clients; one of the root namespace on Services that have no rule of their own; one of any other namespace has no effect. A rule for the host of a ServiceEntry acts on those of its own namespace that have a waypoint (external.md); without one, ports for which it asks for TLS are closed. Their endpoints are in no subset',
  ),
  exportTo: differs(
    "a rule of the Service's namespace is for all clients of the Service, whatever its exportTo",
  ),
  workloadSelector: nothing(
    'settings are those of a Service, for all of its clients: a rule with a workloadSelector is not in force',
    'a TrafficPolicy with from',
  ),
  ...trafficPolicy('trafficPolicy'),
  'subsets[].name': works,
  'subsets[].labels{}': works,
  ...trafficPolicy('subsets[].trafficPolicy'),
};
