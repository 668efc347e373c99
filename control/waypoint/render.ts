/** What a waypoint is made of, from its Gateway: ServiceAccount, Service, Deployment, and an autoscaler where one is asked for. Pure. */
import { waypointFlags } from '../../src/model/waypoint-settings.js';
import { namespaceOf } from '../../src/model/labels.js';
import { gatewayGroup, type GatewayObject } from '../objects/objects.js';
import { gatewayNameLabel, hbonePort } from '../compile/waypoints.js';
import { tokenAudience } from '../authentication/join-tokens.js';
import type { WaypointDefaults } from './defaults.js';
import { overlay, type JsonObject } from './overlay.js';
import { infrastructureFault, overlaysOf, parameterKinds, type ParameterKind } from './parameters.js';

export interface RenderSettings extends WaypointDefaults {
  /** HOST:PORT */
  readonly control: string;
  /** Whose policies are the mesh's. */
  readonly rootNamespace: string;
  readonly trustDomain: string;
  /** Where the roots are, in the Gateway's namespace. */
  readonly rootsConfigMap: string;
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
/** Above the drain and what goes before it: one that is cut would have been finished. */
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
/** Of one object, or of all of a kind where neither is given. */
export const pathOf = (kind: RenderedKind, namespace?: string, name?: string): string => {
  const { prefix, plural } = types[kind];
  return namespace === undefined
    ? `${prefix}/${plural}`
    : `${prefix}/namespaces/${namespace}/${plural}/${name ?? ''}`;
};

/** ConfigMap that a Gateway names as its parameters: undefined where it names none, a text why it cannot be read. */
export function parametersOf(gateway: GatewayObject): { readonly configMap: string } | string | undefined {
  const ref = gateway.spec.infrastructure?.parametersRef;
  if (!ref) return undefined;
  // The Gateway API leaves the name open: `../../OTHER/configmaps/x` would be read in another namespace.
  if (!dnsSubdomain.test(ref.name))
    return 'spec.infrastructure.parametersRef.name is no name that a ConfigMap could have';
  if (ref.group === '' && ref.kind === 'ConfigMap') return { configMap: ref.name };
  return `spec.infrastructure.parametersRef: ${ref.kind} of group ${JSON.stringify(ref.group)} is not known: it has to be a ConfigMap, of group ""`;
}

/** RFC 1123. */
const dnsSubdomain = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const dnsLabel = /^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/;

/**
 * @param parameters the data of the ConfigMap that the Gateway names
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
      message: `a Service is named as the Gateway: ${JSON.stringify(name)} has to be at most 63 letters, digits and -, and begin with a letter`,
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

/** What no overlay changes: by these the mesh, and the API server's garbage collection, know whose it is. */
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
      // As of an object that was read and pasted.
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
          // Of an autoscaler's: what we said would be put back each time.
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
    // It asks the API server for nothing; its token for the control plane is projected.
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
      // It may read its token by this.
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
          ...(metricsToken ? [`--metrics-token=${metricsToken.mountPath}/token`] : []),
          ...settings.extraArgs,
          // Of a flag that stands twice the last counts.
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
              // Optional: without the Secret the waypoint runs, and tells no names.
              secret: { secretName: settings.metricsTokenSecret, defaultMode: 0o440, optional: true },
            },
          ]
        : []),
    ],
  };
}
