/** The certificates that the agents of a cluster hold for both sides of a connection, by port-forwards to their admin ports. */
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText } from '../../base/errors.js';
import { getThroughPortForward } from '../../kubernetes/port-forward.js';
import { requestJson } from '../../kubernetes/request.js';
import { adminPort } from '../admin.js';
import { certificatesFrom } from './certificates.js';
import type { CertificateView, Explanation } from './result.js';

interface AgentPod {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly nodeName?: string };
}

/** A certificate that cannot be read has the reason, such as the right that is missing. @param namespace that of the agents */
export async function clusterCertificatesOf(
  config: KubeConfig,
  namespace: string,
  explanation: Explanation,
): Promise<readonly CertificateView[]> {
  const pods = new Map<string, string>();
  let why = `there is no agent in ${namespace}`;
  try {
    const path = `/api/v1/namespaces/${namespace}/pods?labelSelector=app%3Dweft-agent`;
    const { items } = (await requestJson(config, 'GET', path)) as { readonly items: readonly AgentPod[] };
    for (const { metadata, spec } of items)
      if (spec.nodeName !== undefined) pods.set(spec.nodeName, metadata.name);
  } catch (error) {
    why = `the agents cannot be listed: ${errorText(error)}`;
  }
  return certificatesFrom((node) => {
    const pod = pods.get(node);
    return async () => {
      if (pod === undefined) throw new Error(why);
      try {
        return await getThroughPortForward(config, { namespace, pod, port: adminPort }, '/certificates');
      } catch (error) {
        throw new Error(
          `agent ${pod} does not say: ${errorText(error)}; your account needs the right to forward ports in ${namespace}`,
          { cause: error },
        );
      }
    };
  }, explanation);
}
