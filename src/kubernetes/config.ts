/** Configuration of the Kubernetes client: the pod's own service account, or KUBECONFIG. */
import type { KubeConfig } from '@kubernetes/client-node';
import { WeftError } from '../base/errors.js';

/** The client library's fallback if no cluster is configured. */
const fallback = { context: 'loaded-context', server: 'http://localhost:8080' };

/**
 * Loads the configuration. Throws WEFT_KUBERNETES_API if no cluster is configured. The library is imported lazily: without Kubernetes the
 * control plane starts in a fraction of the time.
 */
export async function loadKubeConfig(): Promise<KubeConfig> {
  const library = await import('./kube-config.js');
  const config = new library.KubeConfig();
  config.loadFromDefault();
  if (config.currentContext === fallback.context && config.getCurrentCluster()?.server === fallback.server)
    throw new WeftError(
      'WEFT_KUBERNETES_API',
      'no cluster is configured: set KUBECONFIG to a kubeconfig file (there is no ~/.kube/config, and this process does not run in a pod)',
    );
  return config;
}
