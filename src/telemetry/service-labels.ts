/** Labels of Istio's metrics that name the cluster and the Service. Kiali leaves out series without them. */
import { serviceInHost } from '../model/service-host.js';

/** The only cluster of a mesh, by the name that discovery uses. */
const clusterName = 'Kubernetes';

/** The cluster of a party. A party whose namespace is unknown may be anywhere. */
export const clusterOf = (namespace: string): string => (namespace === 'unknown' ? 'unknown' : clusterName);

export interface ServiceLabels {
  readonly destination_service: string;
  readonly destination_service_name: string;
  readonly destination_service_namespace: string;
}

/**
 * Labels of the Service that a client dialed, by its host name; undefined: the client dialed a workload. `namespace`: of the destination. It
 * is that of the Service too unless the host name says otherwise: endpoints belong to the Service's namespace, or to none.
 */
export function serviceLabels(host: string | undefined, namespace: string): ServiceLabels {
  const of = host === undefined ? undefined : serviceInHost(host);
  return {
    destination_service: host ?? 'unknown',
    // The name of a host outside of the cluster is the host itself, as in Istio.
    destination_service_name: of?.name ?? host ?? 'unknown',
    destination_service_namespace: of?.namespace ?? namespace,
  };
}
