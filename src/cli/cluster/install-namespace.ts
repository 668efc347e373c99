/** The namespace of the installation. Where the cluster enforces Pod Security, it must allow the privileged agent. */
import type { KubeConfig } from '@kubernetes/client-node';
import { ApiError, requestJson } from '../../kubernetes/request.js';

const enforceLabel = 'pod-security.kubernetes.io/enforce';

/** A pod with the fields of the agent that stricter Pod Security levels refuse. Its image is never pulled. */
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

/** Creates the namespace if it is missing, with the label that makes Pod Security allow the agent. True if it was created. Errors: ApiError. */
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
 * The message with which Pod Security would refuse the agent in a namespace, by the label of the namespace or by the default of
 * the cluster. Requests a pod with `dryRun`, which creates none. Undefined if Pod Security allows the agent or cannot be asked.
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
