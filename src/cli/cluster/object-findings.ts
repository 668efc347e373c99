/** Findings about references between objects of a cluster: labels that name waypoints, policies that select pods. */
import type { KubeConfig } from '@kubernetes/client-node';
import { auditFindings } from '../../findings/audit.js';
import type { Finding } from '../../findings/finding.js';
import type {
  CheckedClass,
  CheckedGateway,
  CheckedPod,
  CheckedPolicy,
  CheckedService,
  CheckedWorkload,
  Labeled,
} from '../../findings/objects.js';
import { checkedPolicy, type CheckedAuthorizationPolicy } from '../../findings/istio-policies.js';
import { policyFindings } from '../../findings/policies.js';
import { waypointFindings } from '../../findings/waypoints.js';
import { listAt, type OnUnread } from './list.js';

const metaOf = ({ metadata: { name, namespace, labels } }: Labeled): Labeled['metadata'] => ({
  name,
  ...(namespace === undefined ? {} : { namespace }),
  ...(labels ? { labels } : {}),
});
type Containers = NonNullable<CheckedPod['spec']['containers']>;
/** Keeps only the ports of a container and whether it is a sidecar, because commands and environments are large. */
const portsOf = (containers: Containers | undefined): Containers =>
  (containers ?? []).map(({ restartPolicy, ports }) => ({
    ...(restartPolicy === undefined ? {} : { restartPolicy }),
    ...(ports ? { ports } : {}),
  }));

/**
 * Findings that need a kind that may not be read are left out: an object that another one names is then not known to be absent. Errors: ApiError.
 * @param root namespace of the installation, whose policies apply to the whole mesh
 */
export async function objectFindings(
  config: KubeConfig,
  root: string,
  onUnread?: OnUnread,
): Promise<Finding[]> {
  const unread = new Set<string>();
  const add: OnUnread = (plural, why) => {
    unread.add(plural);
    onUnread?.(plural, why);
  };
  const areRead = (...plurals: readonly string[]): boolean => !plurals.some((one) => unread.has(one));
  const gatewayApi = '/apis/gateway.networking.k8s.io/v1';
  const weft = '/apis/weft.dev/v1alpha1';
  const withSpec = <T extends Labeled & { readonly spec: unknown }>(path: string): Promise<T[]> =>
    listAt<T>(config, path, (item) => ({ metadata: metaOf(item), spec: item.spec }) as T, add);
  const [namespaces, settings, services, gateways, classes, policies, istio, workloads, pods] =
    await Promise.all([
      listAt<Labeled>(config, '/api/v1/namespaces', (item) => ({ metadata: metaOf(item) }), add),
      withSpec<Labeled & { readonly spec: { readonly policyMode?: string } }>(`${weft}/meshsettings`),
      withSpec<CheckedService>('/api/v1/services'),
      withSpec<CheckedGateway>(`${gatewayApi}/gateways`),
      withSpec<CheckedClass>(`${gatewayApi}/gatewayclasses`),
      withSpec<CheckedPolicy>(`${weft}/accesspolicies`),
      listAt<CheckedAuthorizationPolicy>(
        config,
        '/apis/security.istio.io/v1/authorizationpolicies',
        ({ spec, ...item }) => ({ metadata: metaOf(item), ...(spec ? { spec } : {}) }),
        add,
      ),
      withSpec<CheckedWorkload>(`${weft}/workloads`),
      listAt<CheckedPod>(
        config,
        '/api/v1/pods',
        ({ spec, status, ...item }) => ({
          metadata: metaOf(item),
          spec: {
            ...(spec.hostNetwork === true ? { hostNetwork: true } : {}),
            containers: portsOf(spec.containers),
            initContainers: portsOf(spec.initContainers),
          },
          status: status?.phase === undefined ? {} : { phase: status.phase },
        }),
        add,
      ),
    ]);
  return [
    ...(areRead('namespaces', 'meshsettings') ? auditFindings(namespaces, settings, root) : []),
    ...(areRead('gateways', 'gatewayclasses', 'namespaces', 'services')
      ? waypointFindings({ gateways, classes, namespaces, services })
      : []),
    ...(areRead('namespaces', 'services', 'pods', 'workloads')
      ? policyFindings(
          {
            policies: [...policies, ...istio.flatMap((one) => checkedPolicy(one) ?? [])],
            namespaces,
            pods,
            workloads,
            services,
          },
          root,
        )
      : []),
  ];
}
