/** How to reach the API server: as the pod's own account, or as KUBECONFIG says. */
import type { KubeConfig } from '@kubernetes/client-node';

/** Loaded when it is needed: without Kubernetes the control plane starts in a fraction of the time. */
export async function loadKubeConfig(): Promise<KubeConfig> {
  const client = await import('@kubernetes/client-node');
  const config = new client.KubeConfig();
  config.loadFromDefault();
  return config;
}
