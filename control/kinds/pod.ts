import { labelsOf, namespaceOf } from '../../src/model/labels.js';
import { claimRanks } from '../../src/model/ownership.js';
import { authenticatedServices } from './authenticated-services.js';
import { compilePod, podResources } from '../compile/pod.js';
import { policyKeyOf } from '../dialects/smi/access.js';
import { accountKey } from '../dialects/smi/index-keys.js';
import { selectedHosts } from '../dialects/istio/service-entry-compile.js';
import { capturedCondition, type Container, type Handler, type PodObject } from '../objects/objects.js';
import { labelsSlot } from '../dialects/istio/virtual-service-slots.js';
import { accountTextOf } from '../registry/account-index.js';
import { addressClaims } from '../registry/claims.js';
import type { Compiled, CompileContext, Kind } from './kind.js';
import { pickMeta, type Raw } from './metadata.js';

export const podKind: Kind<PodObject> = {
  address: { group: '', versions: ['v1'], plural: 'pods' },
  schema: 'core',
  pickFields: (raw) => pickPod(raw as Raw<PodObject>),
  claims({ status }) {
    // A pod that has ended no longer owns its addresses.
    const { phase, podIPs = [] } = status ?? {};
    if (phase === 'Failed' || phase === 'Succeeded') return undefined;
    return { rank: claimRanks.pod, claimed: addressClaims(podIPs.map(({ ip }) => ip)) };
  },
  dependents({ before, now, namespace }, registry, recompile) {
    if (accountTextOf(before) !== accountTextOf(now))
      recompile.later(registry.virtualServicesNaming(labelsSlot));
    recompile.objects(authenticatedServices(namespace, [before, now], registry));
  },
  compile: (pod, context) =>
    compileAsPod(pod, context, {
      kind: 'Pod',
      isWaypoint: context.registry.isWaypointPod(pod),
      isScoped: false,
    }),
};

/**
 * Compiles a Pod, or a Workload in the form of a pod.
 * @param as.isWaypoint whether it is a waypoint's own pod
 * @param as.isScoped whether its address counts for clients of its own namespace alone
 */
export function compileAsPod(
  pod: PodObject,
  { settings, registry, mesh, sorted, rulesOf, security, guards, selectingEntries, outbound }: CompileContext,
  as: { readonly kind: 'Pod' | 'Workload'; readonly isWaypoint: boolean; readonly isScoped: boolean },
): Compiled {
  const { removal } = settings;
  const namespace = namespaceOf(pod);
  const compiled = compilePod(pod, {
    kind: as.kind,
    trustDomain: settings.trustDomain,
    rootsVersion: settings.rootsVersion,
    open: removal !== undefined,
    untunneled: removal === 'untunneled' || removal === 'release',
    enrollNone: removal === 'release',
    mesh,
    namespace: registry.namespace(namespace),
    node: registry.node(pod.spec.nodeName),
    isWaypoint: as.isWaypoint,
    ...sorted(namespace),
    trafficTargets: registry
      .trafficTargetsOf(accountKey(namespace, pod.spec.serviceAccountName ?? 'default'))
      .map(policyKeyOf),
    rulesOf,
    security: security(namespace),
    guards: guards(namespace),
  });
  if (!compiled) return { resources: [] };
  const { node, identity } = compiled;
  const entries = selectedHosts(selectingEntries(namespace), labelsOf(pod));
  const { workload, nodePod } = compiled;
  const bounds = nodePod && outbound(namespace)(labelsOf(pod));
  const selected = {
    ...compiled,
    ...(workload && entries.length > 0
      ? { workload: { ...workload, services: new Map([...workload.services, ...entries]) } }
      : {}),
    ...(bounds ? { nodePod: { ...nodePod, ...bounds } } : {}),
  };
  return { resources: podResources(selected, as.isScoped), placement: { node, identity } };
}

function pickPod(raw: Raw<PodObject>): PodObject | undefined {
  // The pod is not bound to a node yet.
  if (!raw.spec.nodeName) return undefined;
  const { nodeName, serviceAccountName, hostNetwork, containers, initContainers } = raw.spec;
  const sidecars = (initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always');
  const owner = raw.metadata.ownerReferences?.find(({ controller }) => controller === true);
  return {
    kind: 'Pod',
    metadata: pickMeta(raw.metadata),
    ...(owner ? { controller: { kind: owner.kind, name: owner.name } } : {}),
    spec: {
      nodeName,
      ...(serviceAccountName ? { serviceAccountName } : {}),
      ...(hostNetwork ? { hostNetwork } : {}),
      containers: (containers ?? []).map(pickContainer),
      // Other init containers end before the application starts: their ports, probes and hooks do not matter.
      ...(sidecars.length > 0 ? { initContainers: sidecars.map(pickContainer) } : {}),
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

function pickContainer(raw: Container): Container {
  const { restartPolicy, ports = [], livenessProbe, readinessProbe, startupProbe, lifecycle } = raw;
  const { postStart, preStop } = lifecycle ?? {};
  return {
    ...(restartPolicy ? { restartPolicy } : {}),
    ports: ports.map(({ name, containerPort, protocol }) => ({
      ...(name ? { name } : {}),
      containerPort,
      ...(protocol && protocol !== 'TCP' ? { protocol } : {}),
    })),
    ...(livenessProbe ? { livenessProbe: pickHandler(livenessProbe) } : {}),
    ...(readinessProbe ? { readinessProbe: pickHandler(readinessProbe) } : {}),
    ...(startupProbe ? { startupProbe: pickHandler(startupProbe) } : {}),
    ...(postStart || preStop
      ? {
          lifecycle: {
            ...(postStart ? { postStart: pickHandler(postStart) } : {}),
            ...(preStop ? { preStop: pickHandler(preStop) } : {}),
          },
        }
      : {}),
  };
}

const pickTarget = ({ port, host }: { readonly port: number | string; readonly host?: string }) => ({
  port,
  ...(host ? { host } : {}),
});
const pickHandler = (raw: Handler): Handler => ({
  ...(raw.tcpSocket ? { tcpSocket: pickTarget(raw.tcpSocket) } : {}),
  ...(raw.httpGet ? { httpGet: pickTarget(raw.httpGet) } : {}),
  ...(raw.grpc ? { grpc: { port: raw.grpc.port } } : {}),
});
