/**
 * From Kubernetes objects to what nodes are told. Pure and idempotent: the same objects, in any order, give the same
 * result; the file registry and the Kubernetes watch both come through here.
 */
import { parseCidr, parseIp, type IpAddress } from '../../src/model/address.js';
import { spiffeIdOf, type TrustDomain } from '../../src/model/identity.js';
import type { NodePod } from '../../src/model/node-pod.js';
import type { AuthorizationPolicy } from '../../src/model/policy.js';
import type { Service } from '../../src/model/service.js';
import type {
  AppProtocol,
  PortMapping,
  ServiceKey,
  Workload,
  WorkloadUid,
} from '../../src/model/workload.js';
import type { MeshObject, MeshSettingsObject, NamespaceObject, PodObject, ServiceObject } from './objects.js';
import { compilePolicy, rootNamespace, strictPolicy } from './policies.js';

export interface CompileSettings {
  readonly trustDomain: TrustDomain;
  readonly rootsVersion: string;
  /** Nobody is in the mesh, whatever labels say: before it is uninstalled. */
  readonly enrolNone?: boolean;
}

export interface Compiled {
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
  readonly policies: readonly AuthorizationPolicy[];
  /** By node name: only that node is told. */
  readonly nodePods: ReadonlyMap<string, readonly NodePod[]>;
  /** Identities that each node may ask certificates for. */
  readonly identities: ReadonlyMap<string, ReadonlySet<string>>;
}

const meshLabel = 'weft.dev/mesh';
const modeLabel = 'weft.dev/mode';
const cluster = 'Kubernetes';

type Labels = Readonly<Record<string, string>>;
const labelsOf = (object: { metadata: { labels?: Labels } } | undefined): Labels =>
  object?.metadata.labels ?? {};
const namespaceOf = (object: { metadata: { namespace?: string } }): string =>
  object.metadata.namespace ?? 'default';

/** A pod's own label wins over its namespace's; never host network. */
function enrolled(pod: PodObject, namespace: NamespaceObject | undefined): boolean {
  if (pod.spec.hostNetwork) return false;
  const own = meshMode(labelsOf(pod));
  return (own ?? meshMode(labelsOf(namespace))) === 'enabled';
}

/** What an object's labels say; the Istio label means the same where Weft's own says nothing. */
function meshMode(labels: Labels): string | undefined {
  const istio = labels['istio.io/dataplane-mode'];
  return labels[meshLabel] ?? (istio === 'ambient' ? 'enabled' : istio === 'none' ? 'disabled' : undefined);
}

const gone = (pod: PodObject): boolean => pod.status?.phase === 'Failed' || pod.status?.phase === 'Succeeded';

function selects(selector: Labels | undefined, labels: Labels): boolean {
  const wanted = Object.entries(selector ?? {});
  return wanted.length > 0 && wanted.every(([key, value]) => labels[key] === value);
}

function appProtocol(port: { name?: string; appProtocol?: string }): AppProtocol {
  const said = (port.appProtocol ?? port.name?.split('-')[0] ?? '').toLowerCase();
  const known: Record<string, AppProtocol> = {
    http: 'http1',
    http2: 'http2',
    'kubernetes.io/h2c': 'http2',
    grpc: 'grpc',
    tcp: 'tcp',
    tls: 'tls',
    https: 'tls',
  };
  return known[said] ?? 'unknown';
}

/** 0 where the pod declares no port of that name. */
function targetPortOf(pod: PodObject, port: { port: number; targetPort?: number | string }): number {
  if (typeof port.targetPort === 'number') return port.targetPort;
  if (port.targetPort === undefined) return port.port;
  return namedPort(pod, port.targetPort);
}

function namedPort(pod: PodObject, name: string): number {
  for (const container of pod.spec.containers ?? []) {
    for (const port of container.ports ?? []) if (port.name === name) return port.containerPort;
  }
  return 0;
}

function probePorts(pod: PodObject): number[] {
  const found = new Set<number>();
  for (const container of pod.spec.containers ?? []) {
    for (const probe of [container.livenessProbe, container.readinessProbe, container.startupProbe]) {
      const port = probe?.httpGet?.port ?? probe?.tcpSocket?.port ?? probe?.grpc?.port;
      const number = typeof port === 'string' ? namedPort(pod, port) : port;
      if (number) found.add(number);
    }
  }
  return [...found].sort((a, b) => a - b);
}

const tcpPorts = (service: ServiceObject) =>
  (service.spec.ports ?? []).filter(({ protocol }) => (protocol ?? 'TCP') === 'TCP');
const keyOf = (service: ServiceObject): ServiceKey =>
  `${namespaceOf(service)}/${service.metadata.name}.${namespaceOf(service)}.svc.cluster.local` as ServiceKey;

function serviceOf(service: ServiceObject, mesh: MeshSettingsObject['spec']): Service {
  const ips = service.spec.clusterIPs ?? (service.spec.clusterIP ? [service.spec.clusterIP] : []);
  return {
    key: keyOf(service),
    name: service.metadata.name,
    namespace: namespaceOf(service),
    hostname: `${service.metadata.name}.${namespaceOf(service)}.svc.cluster.local`,
    addresses: ips.filter((ip) => ip !== '' && ip !== 'None').map((ip) => ({ network: '', ip: parseIp(ip) })),
    ports: tcpPorts(service).map((port): PortMapping => ({
      servicePort: port.port,
      // A named port is resolved per workload.
      targetPort: typeof port.targetPort === 'string' ? 0 : (port.targetPort ?? port.port),
      appProtocol: appProtocol(port),
    })),
    subjectAltNames: [],
    ...loadBalancingOf(service.spec, mesh),
    ...(service.spec.sessionAffinity === 'ClientIP' ? { sessionAffinity: 'client-ip' as const } : {}),
  };
}

/** Local means only endpoints of the client's node, PreferSameNode those before others. */
function loadBalancingOf(
  spec: ServiceObject['spec'],
  mesh: MeshSettingsObject['spec'],
): Pick<Service, 'loadBalancing'> {
  const local = spec.internalTrafficPolicy === 'Local';
  const preferred = (spec.trafficDistribution ?? mesh.trafficDistribution) === 'PreferSameNode';
  const allowUnhealthy = spec.publishNotReadyAddresses === true;
  if (!local && !preferred && !allowUnhealthy) return {};
  return {
    loadBalancing: {
      preference: local || preferred ? ['node'] : [],
      mode: local ? 'strict' : preferred ? 'failover' : 'unspecified',
      allowUnhealthy,
    },
  };
}

const list = (text: string | undefined): string[] =>
  (text ?? '')
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
const portList = (text: string | undefined): number[] =>
  list(text)
    .map(Number)
    .filter((port) => Number.isInteger(port) && port > 0 && port < 65536);

/** What cannot be read asks for the stronger of the two. */
const sameNodeOf = (text: string | undefined): 'kernel' | 'encrypted' | undefined =>
  text === undefined ? undefined : text === 'kernel' ? 'kernel' : 'encrypted';

export function compile(objects: readonly MeshObject[], settings: CompileSettings): Compiled {
  const pick = <K extends MeshObject['kind']>(kind: K): Extract<MeshObject, { kind: K }>[] =>
    objects
      .filter((object): object is Extract<MeshObject, { kind: K }> => object.kind === kind)
      .sort((a, b) =>
        `${namespaceOf(a)}/${a.metadata.name}`.localeCompare(`${namespaceOf(b)}/${b.metadata.name}`),
      );
  const namespaces = new Map(pick('Namespace').map((ns) => [ns.metadata.name, ns]));
  const services = pick('Service');
  const policies = pick('AccessPolicy');
  const mesh: MeshSettingsObject['spec'] = pick('MeshSettings')[0]?.spec ?? {};
  const workloads: Workload[] = [];
  const nodePods = new Map<string, NodePod[]>();
  const identities = new Map<string, Set<string>>();
  const compiledPolicies: AuthorizationPolicy[] = policies.map(compilePolicy);

  if (mesh.mode === 'strict') compiledPolicies.push(strictPolicy(rootNamespace, 'mesh', 'global'));
  for (const namespace of namespaces.values()) {
    if (labelsOf(namespace)[modeLabel] === 'strict')
      compiledPolicies.push(strictPolicy(namespace.metadata.name, 'namespace', 'namespace'));
  }

  for (const pod of pick('Pod')) {
    const namespace = namespaceOf(pod);
    const addresses: IpAddress[] = (pod.status?.podIPs ?? []).map(({ ip }) => parseIp(ip));
    if (gone(pod) || addresses.length === 0) continue;
    const inMesh = settings.enrolNone !== true && enrolled(pod, namespaces.get(namespace));
    const serviceAccount = pod.spec.serviceAccountName ?? 'default';
    const identity = spiffeIdOf({ trustDomain: settings.trustDomain, namespace, serviceAccount });
    const labels = labelsOf(pod);
    const uid = `${cluster}//Pod/${namespace}/${pod.metadata.name}` as WorkloadUid;
    const ready = pod.status?.conditions?.find(({ type }) => type === 'Ready')?.status ?? 'True';
    const applying = policies
      .filter(
        (policy) =>
          namespaceOf(policy) === namespace &&
          policy.spec.selector &&
          selects(policy.spec.selector.matchLabels, labels),
      )
      .map((policy) => `${namespace}/${policy.metadata.name}`);
    const strict = labels[modeLabel] === 'strict';
    if (strict) {
      const policy = strictPolicy(namespace, `pod-${pod.metadata.name}`, 'workload');
      compiledPolicies.push(policy);
      applying.push(policy.key);
    }
    workloads.push({
      uid,
      name: pod.metadata.name,
      namespace,
      identity,
      serviceAccount,
      addresses,
      network: '',
      node: pod.spec.nodeName,
      cluster,
      tunnel: inMesh ? 'hbone' : 'none',
      policies: applying,
      // One that is being deleted takes no new connections; what is open goes on.
      healthy: ready === 'True' && pod.metadata.deletionTimestamp === undefined,
      hostNetwork: pod.spec.hostNetwork ?? false,
      services: new Map(
        services
          .filter((service) => namespaceOf(service) === namespace && selects(service.spec.selector, labels))
          .map((service) => [
            keyOf(service),
            tcpPorts(service).map((port) => ({
              servicePort: port.port,
              targetPort: targetPortOf(pod, port),
              appProtocol: appProtocol(port),
            })),
          ]),
      ),
      workloadName: labels['app.kubernetes.io/name'] ?? labels['app'] ?? pod.metadata.name,
      workloadType: 'pod',
      canonicalName: labels['app.kubernetes.io/name'] ?? labels['app'] ?? pod.metadata.name,
      canonicalRevision: labels['app.kubernetes.io/version'] ?? labels['version'] ?? 'latest',
    });
    const allowed = identities.get(pod.spec.nodeName) ?? new Set();
    identities.set(pod.spec.nodeName, allowed.add(identity));
    if (!inMesh) continue;
    const notes = { ...namespaces.get(namespace)?.metadata.annotations, ...pod.metadata.annotations };
    const netns = pod.metadata.annotations?.['weft.dev/netns'] ?? '';
    const held: NodePod = {
      uid,
      name: pod.metadata.name,
      namespace,
      identity,
      addresses,
      netns: netns === '' || netns.startsWith('/') ? netns : `/run/netns/${netns}`,
      podUid: pod.metadata.uid ?? '',
      probePorts: probePorts(pod),
      excludeOutboundPorts: [
        ...(mesh.excludeOutboundPorts ?? []),
        ...portList(notes['weft.dev/exclude-outbound-ports']),
      ],
      excludeOutboundCidrs: [
        ...(mesh.excludeOutboundCidrs ?? []),
        ...list(notes['weft.dev/exclude-outbound-cidrs']),
      ].map(parseCidr),
      excludeInboundPorts: [
        ...(mesh.excludeInboundPorts ?? []),
        ...portList(notes['weft.dev/exclude-inbound-ports']),
      ],
      outboundUnknown: mesh.outboundUnknown ?? 'allow',
      agentDown: mesh.agentDown ?? 'refuse',
      cutPreexisting: mesh.cutPreexisting ?? false,
      rootsVersion: settings.rootsVersion,
      sameNode: sameNodeOf(notes['weft.dev/same-node']) ?? mesh.sameNode ?? 'kernel',
      splice:
        notes['weft.dev/splice'] === undefined ? (mesh.splice ?? false) : notes['weft.dev/splice'] === 'on',
      unsplicedPorts: [...(mesh.unsplicedPorts ?? []), ...portList(notes['weft.dev/splice-off-ports'])],
    };
    const sameNode = nodePods.get(pod.spec.nodeName);
    if (sameNode) sameNode.push(held);
    else nodePods.set(pod.spec.nodeName, [held]);
  }
  return {
    workloads,
    services: services.map((service) => serviceOf(service, mesh)),
    policies: compiledPolicies,
    nodePods,
    identities,
  };
}
