/** The namespace of Weft's parts, which has to let the agent in where the cluster enforces Pod Security. */
import type { KubeConfig } from '@kubernetes/client-node';
import { ApiError, requestJson } from '../../kubernetes/request.js';

const enforceLabel = 'pod-security.kubernetes.io/enforce';

/** What of the agent the stricter levels of Pod Security refuse; the image is never pulled. */
const probe = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'weft-install-probe' },
  spec: {
    hostNetwork: true,
    hostPID: true,
    automountServiceAccountToken: false,
    containers: [
      {
        name: 'probe',
        image: 'weft',
        securityContext: { capabilities: { drop: ['ALL'], add: ['BPF', 'SYS_ADMIN'] } },
        resources: { requests: { cpu: '1m', memory: '1Mi' }, limits: { cpu: '1m', memory: '1Mi' } },
      },
    ],
    volumes: [{ name: 'run', hostPath: { path: '/run' } }],
  },
} as const;

/** Makes the namespace where it is not there, labeled so that Pod Security lets the agent in. True where it was made. Errors: ApiError. */
export async function makeNamespace(config: KubeConfig, name: string): Promise<boolean> {
  try {
    await requestJson(config, 'POST', '/api/v1/namespaces', {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name, labels: { [enforceLabel]: 'privileged' } },
    });
    return true;
  } catch (error) {
    if (error instanceof ApiError && error.status === 409) return false;
    throw error;
  }
}

/**
 * Whether Pod Security would refuse the agent in a namespace, by its label or by the cluster's default: a pod is asked for with
 * `dryRun`, so none is made. Its words where it would; undefined where it would not, and where that cannot be asked.
 */
export async function podSecurityRefusal(config: KubeConfig, namespace: string): Promise<string | undefined> {
  try {
    await requestJson(config, 'POST', `/api/v1/namespaces/${namespace}/pods?dryRun=All`, probe);
    return undefined;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return /violates PodSecurity/i.test(error.message) ? error.message : undefined;
  }
}
