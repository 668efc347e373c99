/** Compiles pods to resources. Pure. */
import { parseCidr, parseIp, type IpAddress } from '../../src/model/address.js';
import { spiffeIdOf, type SpiffeId, type TrustDomain } from '../../src/model/identity.js';
import type { NodePod, UncapturedPod } from '../../src/model/node-pod.js';
import {
  cidrList,
  endpointWeight,
  goldenSignalsLabel,
  isStrict,
  portList,
  weightKey,
} from '../../src/model/object-settings.js';
import type { AuthorizationPolicy } from '../../src/model/policy.js';
import type { Locality, Workload, WorkloadUid } from '../../src/model/workload.js';
import type { RulesInForce } from '../dialects/istio/destination-rule/in-force.js';
import { kubeletPorts, targetPortOf } from './container-ports.js';
import { isCaptured, isEnrolling } from './first-enrollment.js';
import { labelsOf, namespaceOf, selects } from '../../src/model/labels.js';
import { uncapturedBecause } from './enrollment.js';
import type {
  AccessPolicyObject,
  MeshSettingsObject,
  NamespaceObject,
  NodeObject,
  PodObject,
  ServiceObject,
} from '../objects/objects.js';
import { nameOfPolicy, strictPolicy } from './policies.js';
import type { NamespaceSecurity } from '../dialects/istio/pod-policies.js';
import { appProtocol } from './protocols.js';
import type { CompiledResource } from './resource.js';
import { cluster, serviceKeyOf, tcpPorts } from './service.js';
import type { NamespaceGuards } from './token-guard.js';
import { servicesOfPod } from './subsets.js';

/** What the resources of a pod depend on besides the pod. */
export interface PodLookup {
  readonly trustDomain: TrustDomain;
  readonly rootsVersion: string;
  /** Whether policies are suspended (an uninstall). */
  readonly open: boolean;
  /** Whether pods are dialed without a tunnel (an uninstall, before pods are released). */
  readonly untunneled: boolean;
  /** Whether no pod is in the mesh, regardless of labels (an uninstall). */
  readonly enrollNone: boolean;
  readonly mesh: MeshSettingsObject['spec'];
  readonly namespace: NamespaceObject | undefined;
  readonly node: NodeObject | undefined;
  /** The kind of the object: a Pod and a Workload may have the same name. */
  readonly kind: 'Pod' | 'Workload';
  /** Whether the pod is a waypoint's own: it accepts tunnels itself, and is not enrolled. */
  readonly isWaypoint: boolean;
  /** Services and policies of its namespace, sorted by name. */
  readonly services: readonly ServiceObject[];
  readonly policies: readonly AccessPolicyObject[];
  /** Keys of the TrafficTargets (SMI) of its service account. */
  readonly trafficTargets?: readonly string[];
  /** The DestinationRules in force for one of the Services. */
  readonly rulesOf: (service: ServiceObject) => RulesInForce | undefined;
  /** Policies of the Services whose requests need tokens. */
  readonly guards?: NamespaceGuards;
  /** Policies of other meshes' kinds. */
  readonly security?: NamespaceSecurity;
}

export interface CompiledPod {
  readonly node: string;
  readonly identity: SpiffeId;
  /** Absent until the pod has an address. */
  readonly workload?: Workload;
  /** The policy of strict mode that the pod's own label asks for. */
  readonly policy?: AuthorizationPolicy;
  readonly nodePod?: NodePod;
  readonly uncaptured?: UncapturedPod;
}

const gone = (pod: PodObject): boolean => pod.status?.phase === 'Failed' || pod.status?.phase === 'Succeeded';

/** An unknown value means the stronger one. */
const sameNodeOf = (text: string | undefined): 'kernel' | 'encrypted' | undefined =>
  text === undefined ? undefined : text === 'kernel' ? 'kernel' : 'encrypted';

function localityOf(node: NodeObject | undefined): { locality?: Locality } {
  const labels = labelsOf(node);
  const region = labels['topology.kubernetes.io/region'] ?? '';
  const zone = labels['topology.kubernetes.io/zone'] ?? '';
  return region === '' && zone === '' ? {} : { locality: { region, zone, subzone: '' } };
}

function weightOf({ metadata }: PodObject): { weight?: number } {
  const weight = endpointWeight(metadata.annotations?.[weightKey] ?? '');
  return weight === undefined ? {} : { weight };
}

/** Compiles a pod. Undefined if it has ended: it is neither enrolled nor reachable. */
export function compilePod(pod: PodObject, lookup: PodLookup): CompiledPod | undefined {
  if (gone(pod)) return undefined;
  const { mesh } = lookup;
  const { name } = pod.metadata;
  const namespace = namespaceOf(pod);
  const node = pod.spec.nodeName;
  const addresses: IpAddress[] = (pod.status?.podIPs ?? []).map(({ ip }) => parseIp(ip));
  const serviceAccount = pod.spec.serviceAccountName ?? 'default';
  const identity = spiffeIdOf({ trustDomain: lookup.trustDomain, namespace, serviceAccount });
  const uid = (
    lookup.kind === 'Pod'
      ? `${cluster}//Pod/${namespace}/${name}`
      : `${cluster}/weft.dev/Workload/${namespace}/${name}`
  ) as WorkloadUid;
  const podUid = pod.metadata.uid ?? '';
  const labels = labelsOf(pod);
  const reason = lookup.enrollNone
    ? 'mesh-is-being-removed'
    : lookup.isWaypoint
      ? 'waypoint'
      : uncapturedBecause(pod, lookup.namespace);
  const ready = pod.status?.conditions?.find(({ type }) => type === 'Ready')?.status ?? 'True';

  const policies = (lookup.open ? [] : lookup.policies)
    .filter(({ spec }) => spec.selector && selects(spec.selector.matchLabels, labels))
    .map((policy): string => nameOfPolicy(policy).key);
  if (!lookup.open) policies.push(...(lookup.trafficTargets ?? []));
  if (!lookup.open) policies.push(...(lookup.guards?.of(labels) ?? []));
  const enrolling = isEnrolling(lookup.namespace);
  if (!lookup.open) policies.push(...(lookup.security?.podPolicies(labels, enrolling) ?? []));
  const own =
    !lookup.open && !enrolling && isStrict(labels)
      ? strictPolicy(namespace, `${lookup.kind.toLowerCase()}-${name}`, 'workload')
      : undefined;
  if (own) policies.push(own.key);

  const workload: Workload = {
    uid,
    name,
    namespace,
    identity,
    serviceAccount,
    addresses,
    network: '',
    node,
    cluster,
    tunnel:
      reason === 'waypoint' || (reason === undefined && !lookup.untunneled && (!enrolling || isCaptured(pod)))
        ? 'hbone'
        : 'none',
    ...(reason === 'waypoint' ? { nativeTunnel: true } : {}),
    policies,
    // A pod that is being deleted receives no new connections. Its open connections continue.
    healthy: ready === 'True' && pod.metadata.deletionTimestamp === undefined,
    hostNetwork: pod.spec.hostNetwork ?? false,
    services: new Map(
      lookup.services
        .filter((service) => selects(service.spec.selector, labels))
        .flatMap((service) => {
          const ports = tcpPorts(service).map((port) => ({
            servicePort: port.port,
            targetPort: targetPortOf(pod, port),
            appProtocol: appProtocol(port),
          }));
          return servicesOfPod(serviceKeyOf(service), ports, lookup.rulesOf(service), labels);
        }),
    ),
    workloadName: labels['app.kubernetes.io/name'] ?? labels['app'] ?? name,
    workloadType: 'pod',
    canonicalName: labels['app.kubernetes.io/name'] ?? labels['app'] ?? name,
    canonicalRevision: labels['app.kubernetes.io/version'] ?? labels['version'] ?? 'latest',
    ...localityOf(lookup.node),
    ...weightOf(pod),
  };
  const compiled = {
    node,
    identity,
    ...(addresses.length > 0 ? { workload } : {}),
    ...(own && addresses.length > 0 ? { policy: own } : {}),
  };
  if (reason !== undefined) return { ...compiled, uncaptured: { uid, name, namespace, podUid, reason } };

  const annotations = { ...lookup.namespace?.metadata.annotations, ...pod.metadata.annotations };
  const netns = pod.metadata.annotations?.['weft.dev/netns'] ?? '';
  const nodePod: NodePod = {
    uid,
    name,
    namespace,
    identity,
    addresses,
    netns: netns === '' || netns.startsWith('/') ? netns : `/run/netns/${netns}`,
    podUid,
    probePorts: kubeletPorts(pod),
    excludeOutboundPorts: [
      ...(mesh.excludeOutboundPorts ?? []),
      ...portList(annotations['weft.dev/exclude-outbound-ports']),
    ],
    excludeOutboundCidrs: [
      ...(mesh.excludeOutboundCidrs ?? []).map(parseCidr),
      ...cidrList(annotations['weft.dev/exclude-outbound-cidrs']),
    ],
    excludeInboundPorts: [
      ...(mesh.excludeInboundPorts ?? []),
      ...portList(annotations['weft.dev/exclude-inbound-ports']),
    ],
    outboundUnknown: mesh.outboundUnknown ?? 'allow',
    agentDown: mesh.agentDown ?? 'refuse',
    cutPreexisting: mesh.cutPreexisting ?? false,
    rootsVersion: lookup.rootsVersion,
    sameNode: sameNodeOf(annotations['weft.dev/same-node']) ?? mesh.sameNode ?? 'kernel',
    splice:
      annotations['weft.dev/splice'] === undefined
        ? (mesh.splice ?? false)
        : annotations['weft.dev/splice'] === 'on',
    // Only the label of the namespace counts: a pod's own would let whoever makes pods turn it on.
    goldenSignals: labelsOf(lookup.namespace)[goldenSignalsLabel] === 'enabled',
    unsplicedPorts: [...(mesh.unsplicedPorts ?? []), ...portList(annotations['weft.dev/splice-off-ports'])],
  };
  return { ...compiled, nodePod };
}

/**
 * The resources of a pod.
 * @param isScoped whether its address counts for clients of its own namespace alone
 */
export function podResources(
  { node, workload, policy, nodePod, uncaptured }: CompiledPod,
  isScoped: boolean,
): CompiledResource[] {
  const scope = isScoped ? ({ scope: 'namespace' } as const) : {};
  return [
    ...(workload ? [{ kind: 'workload', value: { ...workload, ...scope } } as const] : []),
    ...(policy ? [{ kind: 'policy', value: policy } as const] : []),
    ...(nodePod ? [{ kind: 'nodePod', node, value: nodePod } as const] : []),
    ...(uncaptured ? [{ kind: 'uncaptured', node, value: uncaptured } as const] : []),
  ];
}
