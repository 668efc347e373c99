/** How to reach the API server: as the pod's own account, or as KUBECONFIG says. */
import type { KubeConfig } from '@kubernetes/client-node';
import { WeftError } from '../base/errors.js';

/** What the client makes up where nothing names a cluster. */
const fallback = { context: 'loaded-context', server: 'http://localhost:8080' };

/** Throws WEFT_KUBERNETES_API where nothing names a cluster. Loaded when it is needed: without Kubernetes the control plane starts in a fraction of the time. */
export async function loadKubeConfig(): Promise<KubeConfig> {
  const client = await import('@kubernetes/client-node');
  const config = new client.KubeConfig();
  config.loadFromDefault();
  if (config.currentContext === fallback.context && config.getCurrentCluster()?.server === fallback.server)
    throw new WeftError(
      'WEFT_KUBERNETES_API',
      'no cluster is named: set KUBECONFIG to the file that names it (there is no ~/.kube/config either, and this is no pod)',
    );
  return config;
}
