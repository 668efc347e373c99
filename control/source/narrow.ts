/** What is kept of objects that the API server sends: the fields that compile reads, and no more. Pure. */
import {
  acceptedType,
  capturedCondition,
  enforcedType,
  enrolledCondition,
  waypointBoundType,
} from '../objects/objects.js';
import type {
  AccessPolicyObject,
  Condition,
  Container,
  EndpointSliceObject,
  ExternalServiceObject,
  GatewayClassObject,
  GatewayObject,
  Handler,
  Meta,
  MeshObject,
  MeshSettingsObject,
  NamespaceObject,
  NodeObject,
  PodObject,
  RouteObject,
  ServiceObject,
  WorkloadObject,
} from '../objects/objects.js';

interface RawMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly generation?: number;
  readonly resourceVersion?: string;
  readonly creationTimestamp?: unknown;
  readonly deletionTimestamp?: unknown;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}
type Raw<T> = Omit<T, 'metadata' | 'kind'> & { readonly metadata: RawMeta };

/** Where a pod's network namespace is, is for the node to find: on Kubernetes the pod's author has no say in it. */
const ignoredAnnotations = new Set(['weft.dev/netns']);

function meta(raw: RawMeta): Meta {
  const annotations = Object.entries(raw.annotations ?? {}).filter(
    ([key]) => key.startsWith('weft.dev/') && !ignoredAnnotations.has(key),
  );
  return {
    name: raw.name,
    ...(raw.namespace === undefined ? {} : { namespace: raw.namespace }),
    ...(raw.uid === undefined ? {} : { uid: raw.uid }),
    // Of two that claim one thing the older has it (src/model/ownership.ts).
    ...(raw.creationTimestamp === undefined ? {} : { creationTimestamp: String(raw.creationTimestamp) }),
    ...(raw.deletionTimestamp === undefined ? {} : { deletionTimestamp: String(raw.deletionTimestamp) }),
    ...(raw.labels === undefined ? {} : { labels: raw.labels }),
    ...(annotations.length === 0 ? {} : { annotations: Object.fromEntries(annotations) }),
  };
}

const judgedTypes: ReadonlySet<string> = new Set([acceptedType, enforcedType]);
/** Of what we write a status to: which generation it is, and what is said of it now. */
function judged(raw: {
  readonly metadata: RawMeta;
  readonly status?: { readonly conditions?: readonly Condition[] };
}): Pick<AccessPolicyObject, 'metadata' | 'status'> {
  const conditions = (raw.status?.conditions ?? []).filter(({ type }) => judgedTypes.has(type));
  return {
    metadata: withGeneration(raw.metadata),
    ...(conditions.length === 0 ? {} : { status: { conditions } }),
  };
}

const withVersion = (raw: RawMeta): Meta => ({
  ...meta(raw),
  ...(raw.resourceVersion === undefined ? {} : { resourceVersion: raw.resourceVersion }),
});

const withGeneration = (raw: RawMeta): Meta => ({
  ...meta(raw),
  ...(raw.generation === undefined ? {} : { generation: raw.generation }),
});

function gateway(raw: Raw<GatewayObject>): GatewayObject {
  const { gatewayClassName, infrastructure, listeners } = raw.spec;
  return {
    kind: 'Gateway',
    metadata: withGeneration(raw.metadata),
    spec: {
      gatewayClassName,
      ...(infrastructure ? { infrastructure } : {}),
      listeners: (listeners ?? []).map(({ name, port, protocol, allowedRoutes }) => ({
        name,
        port,
        protocol,
        // Of `kinds` nothing: routes are attached to Services.
        ...(allowedRoutes?.namespaces ? { allowedRoutes: { namespaces: allowedRoutes.namespaces } } : {}),
      })),
    },
    ...(raw.status ? { status: raw.status } : {}),
  };
}

function route<Kind extends RouteObject['kind']>(
  kind: Kind,
  raw: Raw<RouteObject>,
): Extract<RouteObject, { kind: Kind }> {
  const { resourceVersion } = raw.metadata;
  return {
    ...(raw.apiVersion === undefined ? {} : { apiVersion: raw.apiVersion }),
    kind,
    metadata: {
      ...withGeneration(raw.metadata),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    },
    spec: raw.spec,
    ...(raw.status?.parents ? { status: { parents: raw.status.parents } } : {}),
  } as unknown as Extract<RouteObject, { kind: Kind }>;
}

const at = ({ port, host }: { readonly port: number | string; readonly host?: string }) => ({
  port,
  ...(host ? { host } : {}),
});
const handler = (raw: Handler): Handler => ({
  ...(raw.tcpSocket ? { tcpSocket: at(raw.tcpSocket) } : {}),
  ...(raw.httpGet ? { httpGet: at(raw.httpGet) } : {}),
  ...(raw.grpc ? { grpc: { port: raw.grpc.port } } : {}),
});

function container(raw: Container): Container {
  const { restartPolicy, ports = [], livenessProbe, readinessProbe, startupProbe, lifecycle } = raw;
  const { postStart, preStop } = lifecycle ?? {};
  return {
    ...(restartPolicy ? { restartPolicy } : {}),
    ports: ports.map(({ name, containerPort, protocol }) => ({
      ...(name ? { name } : {}),
      containerPort,
      ...(protocol && protocol !== 'TCP' ? { protocol } : {}),
    })),
    ...(livenessProbe ? { livenessProbe: handler(livenessProbe) } : {}),
    ...(readinessProbe ? { readinessProbe: handler(readinessProbe) } : {}),
    ...(startupProbe ? { startupProbe: handler(startupProbe) } : {}),
    ...(postStart || preStop
      ? {
          lifecycle: {
            ...(postStart ? { postStart: handler(postStart) } : {}),
            ...(preStop ? { preStop: handler(preStop) } : {}),
          },
        }
      : {}),
  };
}

function pod(raw: Raw<PodObject>): PodObject | undefined {
  // Not bound to a node yet.
  if (!raw.spec.nodeName) return undefined;
  const { nodeName, serviceAccountName, hostNetwork, containers, initContainers } = raw.spec;
  const sidecars = (initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always');
  return {
    kind: 'Pod',
    metadata: meta(raw.metadata),
    spec: {
      nodeName,
      ...(serviceAccountName ? { serviceAccountName } : {}),
      ...(hostNetwork ? { hostNetwork } : {}),
      containers: (containers ?? []).map(container),
      // Those that end before the pod's applications begin have no ports, probes or hooks.
      ...(sidecars.length > 0 ? { initContainers: sidecars.map(container) } : {}),
    },
    status: {
      ...(raw.status?.phase ? { phase: raw.status.phase } : {}),
      podIPs: (raw.status?.podIPs ?? []).map(({ ip }) => ({ ip })),
      conditions: (raw.status?.conditions ?? []).flatMap(({ type, status, reason, message }) =>
        type === 'Ready'
          ? [{ type, status }]
          : type === capturedCondition
            ? [{ type, status, ...(reason ? { reason } : {}), ...(message ? { message } : {}) }]
            : [],
      ),
    },
  };
}

function service(raw: Raw<ServiceObject> & { spec: { type?: string } }): ServiceObject | undefined {
  // A name for somewhere else: DNS alone answers for it.
  if (raw.spec.type === 'ExternalName') return undefined;
  const { selector, clusterIPs, clusterIP, ports, internalTrafficPolicy } = raw.spec;
  const { trafficDistribution, sessionAffinity, publishNotReadyAddresses } = raw.spec;
  const conditions = (raw.status?.conditions ?? []).filter(({ type }) => type === waypointBoundType);
  return {
    kind: 'Service',
    metadata: meta(raw.metadata),
    ...(conditions.length > 0 ? { status: { conditions } } : {}),
    spec: {
      ...(selector ? { selector } : {}),
      ...(clusterIPs ? { clusterIPs } : clusterIP ? { clusterIP } : {}),
      ports: (ports ?? []).map((port) => ({
        port: port.port,
        ...(port.name ? { name: port.name } : {}),
        ...(port.targetPort === undefined ? {} : { targetPort: port.targetPort }),
        ...(port.appProtocol ? { appProtocol: port.appProtocol } : {}),
        ...(port.protocol ? { protocol: port.protocol } : {}),
      })),
      ...(internalTrafficPolicy ? { internalTrafficPolicy } : {}),
      ...(trafficDistribution ? { trafficDistribution } : {}),
      ...(sessionAffinity ? { sessionAffinity } : {}),
      ...(publishNotReadyAddresses ? { publishNotReadyAddresses } : {}),
    },
  };
}

/** Those that Kubernetes keeps itself follow from selectors, which are compiled; what is left was written by hand. */
const ownSlices = 'endpointslice-controller.k8s.io';
function slice(raw: {
  readonly metadata: RawMeta;
  readonly addressType?: string;
  readonly endpoints?: readonly {
    readonly addresses?: readonly string[];
    readonly conditions?: { readonly ready?: boolean };
    readonly nodeName?: string;
  }[];
  readonly ports?: readonly { readonly name?: string; readonly port?: number; readonly protocol?: string }[];
}): EndpointSliceObject | undefined {
  const labels = raw.metadata.labels ?? {};
  if (labels['endpointslice.kubernetes.io/managed-by'] === ownSlices || raw.addressType === 'FQDN')
    return undefined;
  return {
    kind: 'EndpointSlice',
    metadata: meta(raw.metadata),
    endpoints: (raw.endpoints ?? []).map(({ addresses, conditions, nodeName }) => ({
      addresses: addresses ?? [],
      // Absent means ready (EndpointSlice API).
      ready: conditions?.ready !== false,
      ...(nodeName ? { nodeName } : {}),
    })),
    ports: (raw.ports ?? []).flatMap(({ name, port, protocol }) =>
      port !== undefined && (protocol ?? 'TCP') === 'TCP' ? [{ ...(name ? { name } : {}), port }] : [],
    ),
  };
}

/** Undefined where the object does not concern the mesh. */
export function narrow(kind: MeshObject['kind'], object: unknown): MeshObject | undefined {
  const raw = object as {
    metadata: RawMeta;
    spec?: unknown;
    status?: NodeObject['status'] & { readonly conditions?: readonly Condition[] };
  };
  const metadata = meta(raw.metadata);
  switch (kind) {
    case 'Namespace': {
      const conditions = (raw.status?.conditions ?? []).filter(({ type }) => type === enrolledCondition);
      return {
        kind,
        metadata: withVersion(raw.metadata),
        ...(conditions.length > 0 ? { status: { conditions } } : {}),
      } satisfies NamespaceObject;
    }
    case 'Node':
      return {
        kind,
        metadata,
        status: {
          addresses: (raw.status?.addresses ?? []).map(({ type, address }) => ({ type, address })),
        },
      } satisfies NodeObject;
    case 'Pod':
      return pod(object as Raw<PodObject>);
    case 'Service':
      return service(object as Raw<ServiceObject>);
    case 'EndpointSlice':
      return slice(object as Parameters<typeof slice>[0]);
    case 'ExternalService':
      return { kind, ...judged(raw), spec: raw.spec as ExternalServiceObject['spec'] };
    case 'Workload':
      return { kind, ...judged(raw), spec: raw.spec as WorkloadObject['spec'] };
    case 'AccessPolicy':
      return { kind, ...judged(raw), spec: raw.spec as AccessPolicyObject['spec'] };
    case 'MeshSettings':
      return { kind, ...judged(raw), spec: raw.spec as MeshSettingsObject['spec'] };
    case 'GatewayClass': {
      const { controllerName } = raw.spec as GatewayClassObject['spec'];
      const conditions = raw.status?.conditions;
      return {
        kind,
        metadata: withGeneration(raw.metadata),
        spec: { controllerName },
        ...(conditions ? { status: { conditions } } : {}),
      };
    }
    case 'Gateway':
      return gateway(object as Raw<GatewayObject>);
    case 'HTTPRoute':
    case 'GRPCRoute':
    case 'TLSRoute':
    case 'TCPRoute':
      return route(kind, object as Raw<RouteObject>);
  }
}
