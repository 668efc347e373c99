/** Renders a waypoint's objects from its Gateway: ServiceAccount, Service, Deployment, and an autoscaler if the parameters have one. Pure. */
import { certificateFile, keyFile, type SecretName } from '../../src/model/client-certificate.js';
import { waypointFlags } from '../../src/model/waypoint-settings.js';
import { namespaceOf } from '../../src/model/labels.js';
import { gatewayGroup, type GatewayObject } from '../objects/objects.js';
import { gatewayNameLabel, hbonePort } from '../compile/waypoints.js';
import { tokenAudience } from '../authentication/join-tokens.js';
import type { WaypointDefaults } from './defaults.js';
import { overlay, type JsonObject } from './overlay.js';
import { infrastructureFault, overlaysOf, parameterKinds, type ParameterKind } from './parameters.js';

export interface RenderSettings extends WaypointDefaults {
  /** Address of the control plane, HOST:PORT. */
  readonly control: string;
  /** Namespace whose policies apply to the whole mesh. */
  readonly rootNamespace: string;
  readonly trustDomain: string;
  /** Name of the ConfigMap with the roots, in the Gateway's namespace. */
  readonly rootsConfigMap: string;
  /** Secrets of the Gateway's namespace with client certificates. */
  readonly clientCertificates?: readonly SecretName[];
}

export const renderedKinds = parameterKinds;
export type RenderedKind = ParameterKind;
export interface RenderedObject {
  readonly kind: RenderedKind;
  readonly path: string;
  readonly body: JsonObject;
}
export type Rendering =
  | { readonly ok: true; readonly objects: readonly RenderedObject[] }
  | { readonly ok: false; readonly reason: 'Invalid' | 'InvalidParameters'; readonly message: string };

export const managedByLabel = 'app.kubernetes.io/managed-by';
export const manager = 'weft-control';
const metricsPort = 15020;
const drainS = 30;
/** Longer than the drain and the steps before it, so that no request that would still finish is cut. */
const graceS = 45;
const nonRoot = 65532;
const autoscaledReplicasMax = 10;

const types: Readonly<
  Record<
    RenderedKind,
    { readonly apiVersion: string; readonly kind: string; readonly prefix: string; readonly plural: string }
  >
> = {
  serviceAccount: { apiVersion: 'v1', kind: 'ServiceAccount', prefix: '/api/v1', plural: 'serviceaccounts' },
  service: { apiVersion: 'v1', kind: 'Service', prefix: '/api/v1', plural: 'services' },
  deployment: { apiVersion: 'apps/v1', kind: 'Deployment', prefix: '/apis/apps/v1', plural: 'deployments' },
  horizontalPodAutoscaler: {
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    prefix: '/apis/autoscaling/v2',
    plural: 'horizontalpodautoscalers',
  },
};
/** API path of one object; of all objects of the kind if neither namespace nor name is given. */
export const pathOf = (kind: RenderedKind, namespace?: string, name?: string): string => {
  const { prefix, plural } = types[kind];
  return namespace === undefined
    ? `${prefix}/${plural}`
    : `${prefix}/namespaces/${namespace}/${plural}/${name ?? ''}`;
};

/** The ConfigMap that a Gateway references as its parameters. Undefined: it references none. A string: why the reference is refused. */
export function parametersOf(gateway: GatewayObject): { readonly configMap: string } | string | undefined {
  const ref = gateway.spec.infrastructure?.parametersRef;
  if (!ref) return undefined;
  // The Gateway API does not restrict the name: `../../OTHER/configmaps/x` would be read from another namespace.
  if (!dnsSubdomain.test(ref.name))
    return 'spec.infrastructure.parametersRef.name is not a valid ConfigMap name';
  if (ref.group === '' && ref.kind === 'ConfigMap') return { configMap: ref.name };
  return `spec.infrastructure.parametersRef: ${ref.kind} of group ${JSON.stringify(ref.group)} is not supported: it must be a ConfigMap, of group ""`;
}

/** RFC 1123. */
const dnsSubdomain = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const dnsLabel = /^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/;

/**
 * Renders the objects of a Gateway's waypoint, or returns the reason and message of the refusal.
 * @param parameters the data of the ConfigMap that the Gateway references
 */
export function renderWaypoint(
  gateway: GatewayObject,
  settings: RenderSettings,
  parameters: Readonly<Record<string, string>> = {},
): Rendering {
  const { name } = gateway.metadata;
  if (!dnsLabel.test(name)) {
    return {
      ok: false,
      reason: 'Invalid',
      message: `the waypoint's Service has the name of the Gateway: ${JSON.stringify(name)} must be at most 63 lower-case letters, digits and -, begin with a letter and not end with -`,
    };
  }
  const wrong = infrastructureFault(gateway, settings.metadataPrefixes);
  if (wrong !== undefined) return { ok: false, reason: 'InvalidParameters', message: wrong };
  const { problems } = waypointFlags(gateway.metadata.annotations);
  if (problems.length > 0) return { ok: false, reason: 'InvalidParameters', message: problems.join('; ') };
  const overlays = overlaysOf(parameters, settings.metadataPrefixes);
  if (typeof overlays === 'string') {
    const configMap = gateway.spec.infrastructure?.parametersRef?.name ?? '';
    return {
      ok: false,
      reason: 'InvalidParameters',
      message: `ConfigMap ${namespaceOf(gateway)}/${configMap}: ${overlays}`,
    };
  }
  const autoscaled = overlays.horizontalPodAutoscaler !== undefined;
  const wanted = renderedKinds.filter((kind) => kind !== 'horizontalPodAutoscaler' || autoscaled);
  return {
    ok: true,
    objects: wanted.map((kind) => {
      const rendered = renderers[kind](gateway, settings, autoscaled);
      const overlaid = overlay(rendered, overlays[kind] ?? {});
      return {
        kind,
        path: pathOf(kind, namespaceOf(gateway), name),
        body: overlay(overlaid, kept(kind, gateway, autoscaled)),
      };
    }),
  };
}

function labelsOfWaypoint(gateway: GatewayObject): JsonObject {
  const { name } = gateway.metadata;
  return {
    ...gateway.spec.infrastructure?.labels,
    [gatewayNameLabel]: name,
    'gateway.networking.k8s.io/gateway-class-name': gateway.spec.gatewayClassName,
    'app.kubernetes.io/name': 'weft-waypoint',
    'app.kubernetes.io/instance': name,
    'app.kubernetes.io/component': 'waypoint',
    'app.kubernetes.io/part-of': 'weft',
    [managedByLabel]: manager,
  };
}
const selectorOf = (gateway: GatewayObject): JsonObject => ({ [gatewayNameLabel]: gateway.metadata.name });

function annotationsOf(gateway: GatewayObject): { annotations?: JsonObject } {
  const annotations = gateway.spec.infrastructure?.annotations;
  return annotations && Object.keys(annotations).length > 0 ? { annotations } : {};
}

/** Fields that no overlay may change: the mesh and the API server's garbage collection find the owner by them. */
function kept(kind: RenderedKind, gateway: GatewayObject, autoscaled: boolean): JsonObject {
  const { name, uid = '' } = gateway.metadata;
  const { apiVersion, kind: kindName } = types[kind];
  const labels = labelsOfWaypoint(gateway);
  const ours = {
    apiVersion,
    kind: kindName,
    metadata: {
      name,
      namespace: namespaceOf(gateway),
      // These are present in an overlay that was pasted from an object read from the API server.
      uid: null,
      resourceVersion: null,
      managedFields: null,
      labels,
      ownerReferences: [
        {
          apiVersion: `${gatewayGroup}/v1`,
          kind: 'Gateway',
          name,
          uid,
          controller: true,
          blockOwnerDeletion: false,
        },
      ],
    },
    status: null,
  };
  switch (kind) {
    case 'serviceAccount':
      return ours;
    case 'service':
      return {
        ...ours,
        spec: { selector: { $patch: 'replace', ...selectorOf(gateway) }, ports: [tunnelPort] },
      };
    case 'deployment':
      return {
        ...ours,
        spec: {
          // An autoscaler sets replicas: a value applied here would be restored on each apply.
          ...(autoscaled ? { replicas: null } : {}),
          selector: { $patch: 'replace', matchLabels: selectorOf(gateway) },
          template: { metadata: { labels }, spec: { serviceAccountName: name, serviceAccount: null } },
        },
      };
    case 'horizontalPodAutoscaler':
      return { ...ours, spec: { scaleTargetRef: { $patch: 'replace', ...scaleTarget(gateway) } } };
  }
}

const tunnelPort = { name: 'hbone', port: hbonePort, targetPort: hbonePort, protocol: 'TCP' };
const scaleTarget = (gateway: GatewayObject): JsonObject => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  name: gateway.metadata.name,
});

const renderers: Readonly<
  Record<RenderedKind, (gateway: GatewayObject, settings: RenderSettings, autoscaled: boolean) => JsonObject>
> = {
  serviceAccount: (gateway) => ({
    metadata: annotationsOf(gateway),
    // A waypoint does not use the Kubernetes API. Its token for the control plane is projected.
    automountServiceAccountToken: false,
  }),
  service: (gateway) => ({
    metadata: annotationsOf(gateway),
    spec: { type: 'ClusterIP', ipFamilyPolicy: 'PreferDualStack', ports: [tunnelPort] },
  }),
  deployment: (gateway, settings, autoscaled) => ({
    metadata: annotationsOf(gateway),
    spec: {
      ...(autoscaled ? {} : { replicas: settings.replicas }),
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
      template: { metadata: annotationsOf(gateway), spec: podSpec(gateway, settings) },
    },
  }),
  horizontalPodAutoscaler: (gateway, { replicas }) => ({
    metadata: annotationsOf(gateway),
    spec: {
      minReplicas: Math.max(1, replicas),
      maxReplicas: Math.max(autoscaledReplicasMax, replicas),
      metrics: [
        {
          type: 'Resource',
          resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } },
        },
      ],
    },
  }),
};

function podSpec(gateway: GatewayObject, settings: RenderSettings): JsonObject {
  const { name } = gateway.metadata;
  const spread = (topologyKey: string): JsonObject => ({
    maxSkew: 1,
    topologyKey,
    whenUnsatisfiable: 'ScheduleAnyway',
    labelSelector: { matchLabels: selectorOf(gateway) },
  });
  const metricsToken =
    settings.metricsTokenSecret === ''
      ? undefined
      : { name: 'metrics-token', mountPath: '/var/run/weft/metrics', readOnly: true };
  const { clientCertificates = [] } = settings;
  const certificates =
    clientCertificates.length === 0
      ? undefined
      : { name: 'client-certificates', mountPath: '/var/run/weft/client-certificates', readOnly: true };
  return {
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    ...(settings.imagePullSecrets.length > 0 ? { imagePullSecrets: settings.imagePullSecrets } : {}),
    terminationGracePeriodSeconds: graceS,
    topologySpreadConstraints: [spread('kubernetes.io/hostname'), spread('topology.kubernetes.io/zone')],
    securityContext: {
      runAsNonRoot: true,
      runAsUser: nonRoot,
      runAsGroup: nonRoot,
      // Makes the projected token readable for the process.
      fsGroup: nonRoot,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    containers: [
      {
        name: 'waypoint',
        image: settings.image,
        imagePullPolicy: settings.imagePullPolicy,
        command: ['node', '/weft/dist/src/waypoint/main.js'],
        args: [
          `--gateway=${namespaceOf(gateway)}/${name}`,
          '--node=$(NODE_NAME)',
          `--control=${settings.control}`,
          `--root-namespace=${settings.rootNamespace}`,
          '--root=/var/run/weft/root/root-cert.pem',
          '--token=/var/run/weft/token/token',
          `--trust-domain=${settings.trustDomain}`,
          `--workers=${settings.workers}`,
          `--drain-ms=${drainS * 1000}`,
          ...(settings.rateLimiter === '' ? [] : [`--rate-limiter=${settings.rateLimiter}`]),
          ...(metricsToken ? [`--metrics-token=${metricsToken.mountPath}/token`] : []),
          ...(certificates ? [`--client-certificates=${certificates.mountPath}`] : []),
          ...settings.extraArgs,
          // If a flag is given twice, the last value applies: annotations override the chart.
          ...waypointFlags(gateway.metadata.annotations).flags,
        ],
        env: [{ name: 'NODE_NAME', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } }],
        ports: [
          { name: 'hbone', containerPort: hbonePort, protocol: 'TCP' },
          { name: 'metrics', containerPort: metricsPort, protocol: 'TCP' },
        ],
        readinessProbe: { httpGet: { path: '/healthz/ready', port: metricsPort }, periodSeconds: 2 },
        terminationMessagePolicy: 'FallbackToLogsOnError',
        resources: settings.resources,
        securityContext: {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        },
        volumeMounts: [
          { name: 'root', mountPath: '/var/run/weft/root', readOnly: true },
          { name: 'token', mountPath: '/var/run/weft/token', readOnly: true },
          ...(metricsToken ? [metricsToken] : []),
          ...(certificates ? [certificates] : []),
        ],
      },
    ],
    volumes: [
      { name: 'root', configMap: { name: settings.rootsConfigMap } },
      {
        name: 'token',
        projected: {
          sources: [
            { serviceAccountToken: { audience: tokenAudience, expirationSeconds: 3600, path: 'token' } },
          ],
        },
      },
      ...(metricsToken
        ? [
            {
              name: metricsToken.name,
              // Optional: without the Secret the waypoint runs and serves metrics without names.
              secret: { secretName: settings.metricsTokenSecret, defaultMode: 0o440, optional: true },
            },
          ]
        : []),
      ...(certificates
        ? [
            {
              name: certificates.name,
              projected: { defaultMode: 0o440, sources: clientCertificates.map(secretSource) },
            },
          ]
        : []),
    ],
  };
}

/** Only the pair of the Secret, in a directory of its name. Optional: without it the waypoint runs, and closes what needs it. */
const secretSource = (name: SecretName): JsonObject => ({
  secret: {
    name,
    optional: true,
    items: [certificateFile, keyFile].map((key) => ({ key, path: `${name}/${key}` })),
  },
});
