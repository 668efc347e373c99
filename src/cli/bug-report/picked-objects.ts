/** The kinds of objects that a report contains, and their fields: an allow list. A field that is not here is not collected. Pure. */
import { isRecord } from '../../base/record.js';

type Raw = Readonly<Record<string, unknown>>;

/** An API of Kubernetes, and what is kept of its objects. */
export interface PickedKind {
  readonly kind: string;
  /** Empty: the core group. */
  readonly group: string;
  /** The newest first. */
  readonly versions: readonly string[];
  readonly plural: string;
  /** Fields beside metadata and status, as paths; below `[]` each item. */
  readonly fields: readonly string[];
}

const own = (kind: string, plural: string): PickedKind => ({
  kind,
  group: 'weft.dev',
  versions: ['v1alpha1'],
  plural,
  fields: ['spec'],
});
const gateway = (kind: string, plural: string, ...versions: string[]): PickedKind => ({
  kind,
  group: 'gateway.networking.k8s.io',
  versions,
  plural,
  fields: ['spec'],
});
const istio = (area: string, kind: string, plural: string, fields = ['spec']): PickedKind => ({
  kind,
  group: `${area}.istio.io`,
  versions: ['v1', 'v1beta1', 'v1alpha3', 'v1alpha1'],
  plural,
  fields,
});
const smi = (group: string, kind: string, plural: string, ...fields: string[]): PickedKind => ({
  kind,
  group: `${group}.smi-spec.io`,
  // A version that a group does not have is not served.
  versions: ['v1alpha4', 'v1alpha3', 'v1alpha2', 'v1alpha1'],
  plural,
  fields: ['spec', ...fields],
});
const core = (kind: string, plural: string, ...fields: string[]): PickedKind => ({
  kind,
  group: '',
  versions: ['v1'],
  plural,
  fields,
});

/** Never Secrets; no ConfigMap; no environment, arguments, volumes or commands of users' pods; no configuration of plugins. */
export const pickedKinds: readonly PickedKind[] = [
  core('Namespace', 'namespaces'),
  core('Node', 'nodes', 'spec.podCIDRs', 'spec.taints', 'spec.unschedulable'),
  core(
    'Pod',
    'pods',
    'spec.nodeName',
    'spec.serviceAccountName',
    'spec.hostNetwork',
    'spec.containers[].name',
    'spec.containers[].image',
    'spec.containers[].ports',
  ),
  core('Service', 'services', 'spec'),
  {
    kind: 'EndpointSlice',
    group: 'discovery.k8s.io',
    versions: ['v1'],
    plural: 'endpointslices',
    fields: ['addressType', 'endpoints', 'ports'],
  },
  own('AccessPolicy', 'accesspolicies'),
  own('TrafficPolicy', 'trafficpolicies'),
  own('AuthenticationPolicy', 'authenticationpolicies'),
  own('MeshSettings', 'meshsettings'),
  own('ExternalService', 'externalservices'),
  own('Workload', 'workloads'),
  gateway('GatewayClass', 'gatewayclasses', 'v1'),
  gateway('Gateway', 'gateways', 'v1'),
  gateway('HTTPRoute', 'httproutes', 'v1'),
  gateway('GRPCRoute', 'grpcroutes', 'v1'),
  gateway('TLSRoute', 'tlsroutes', 'v1', 'v1alpha3', 'v1alpha2'),
  gateway('TCPRoute', 'tcproutes', 'v1', 'v1alpha2'),
  gateway('BackendTLSPolicy', 'backendtlspolicies', 'v1', 'v1alpha3'),
  {
    kind: 'XBackendTrafficPolicy',
    group: 'gateway.networking.x-k8s.io',
    versions: ['v1alpha1'],
    plural: 'xbackendtrafficpolicies',
    fields: ['spec'],
  },
  istio('networking', 'VirtualService', 'virtualservices'),
  istio('networking', 'DestinationRule', 'destinationrules'),
  istio('networking', 'ServiceEntry', 'serviceentries'),
  istio('networking', 'WorkloadEntry', 'workloadentries'),
  istio('networking', 'WorkloadGroup', 'workloadgroups', ['spec.metadata.labels', 'spec.template']),
  istio('networking', 'Sidecar', 'sidecars'),
  istio('networking', 'Gateway', 'gateways', []),
  istio('networking', 'EnvoyFilter', 'envoyfilters', []),
  istio('networking', 'ProxyConfig', 'proxyconfigs', []),
  istio('security', 'AuthorizationPolicy', 'authorizationpolicies'),
  istio('security', 'PeerAuthentication', 'peerauthentications'),
  istio('security', 'RequestAuthentication', 'requestauthentications'),
  istio('telemetry', 'Telemetry', 'telemetries'),
  istio('extensions', 'WasmPlugin', 'wasmplugins', []),
  istio('extensions', 'TrafficExtension', 'trafficextensions', []),
  smi('specs', 'HTTPRouteGroup', 'httproutegroups', 'matches'),
  smi('specs', 'TCPRoute', 'tcproutes', 'matches'),
  smi('specs', 'UDPRoute', 'udproutes', 'matches'),
  smi('split', 'TrafficSplit', 'trafficsplits'),
  smi('access', 'TrafficTarget', 'traffictargets', 'sources', 'destination', 'specs'),
];

/** The entry of an object by its apiVersion and kind; undefined: it is not collected. */
export function pickedKindOf(apiVersion: unknown, kind: unknown): PickedKind | undefined {
  const version = typeof apiVersion === 'string' ? apiVersion : 'v1';
  const group = version.includes('/') ? version.slice(0, version.indexOf('/')) : '';
  // Files may omit the apiVersion of core kinds.
  return pickedKinds.find((one) => one.kind === kind && one.group === group);
}

/** Annotations that Weft or another mesh's API reads. `kubectl.kubernetes.io/last-applied-configuration` has whole objects, so it is not among them. */
const readAnnotation = /^(?:[a-z0-9.-]{1,80}\.)?(?:weft\.dev|istio\.io|gateway\.networking\.k8s\.io)\//;
const metadataFields = [
  'name',
  'namespace',
  'uid',
  'generation',
  'resourceVersion',
  'creationTimestamp',
  'deletionTimestamp',
  'labels',
] as const;
const pairsOf = (value: unknown): [string, unknown][] => (isRecord(value) ? Object.entries(value) : []);
const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? (value as unknown[]) : []);

function pickedMetadata(raw: unknown): Raw {
  if (!isRecord(raw)) return {};
  const annotations = pairsOf(raw['annotations']).filter(([key]) => readAnnotation.test(key));
  const managers = listOf(raw['managedFields']).filter(isRecord);
  return {
    ...Object.fromEntries(metadataFields.flatMap((key) => (key in raw ? [[key, raw[key]]] : []))),
    ...(annotations.length === 0 ? {} : { annotations: Object.fromEntries(annotations) }),
    ...(managers.length === 0
      ? {}
      : { managers: managers.map((one) => picked(one, ['manager', 'operation', 'time', 'subresource'])) }),
    ...('ownerReferences' in raw
      ? { owners: listOf(raw['ownerReferences']).map((one) => picked(one, ['kind', 'name'])) }
      : {}),
  };
}

/** The value with the fields at these paths only. */
export function picked(raw: unknown, paths: readonly string[]): Raw {
  if (!isRecord(raw)) return {};
  const result: Record<string, unknown> = {};
  const heads = new Map<string, string[]>();
  for (const path of paths) {
    const [head = '', ...rest] = path.split('.');
    heads.set(head, [...(heads.get(head) ?? []), ...(rest.length === 0 ? [] : [rest.join('.')])]);
  }
  for (const [head, below] of heads) {
    const key = head.replace('[]', '');
    if (!(key in raw)) continue;
    const value = raw[key];
    if (below.length === 0) result[key] = value;
    else if (head.endsWith('[]')) result[key] = listOf(value).map((item) => picked(item, below));
    else result[key] = picked(value, below);
  }
  return result;
}

const podStatus = [
  'phase',
  'reason',
  'message',
  'podIPs',
  'startTime',
  'conditions',
  'containerStatuses[].name',
  'containerStatuses[].image',
  'containerStatuses[].imageID',
  'containerStatuses[].ready',
  'containerStatuses[].restartCount',
  'containerStatuses[].state',
  'containerStatuses[].lastState',
];
const nodeStatus = ['addresses', 'conditions', 'nodeInfo', 'capacity', 'allocatable'];

/** What a report has of an object. */
export function pickedObject(kind: PickedKind, raw: unknown): Raw {
  if (!isRecord(raw)) return {};
  const ofPod = { Pod: podStatus, Node: nodeStatus }[kind.kind];
  return {
    ...picked(raw, ['apiVersion', 'kind']),
    metadata: pickedMetadata(raw['metadata']),
    ...picked(raw, kind.fields),
    ...('status' in raw ? { status: ofPod ? picked(raw['status'], ofPod) : raw['status'] } : {}),
  };
}
