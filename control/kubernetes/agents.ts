/** Requests a health endpoint of every agent, at the agent's node address. */
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText } from '../../src/base/errors.js';
import { requestJson } from '../../src/kubernetes/request.js';
import { agentsQuery } from './agent-pods.js';

const healthPort = 15021;
const responseMsMax = 3_000;

export interface AgentResponse {
  readonly node: string;
  /** HTTP status; 0 where there was no response. */
  readonly status: number;
  /** Body of the response, or why there is none. */
  readonly text: string;
}
interface AgentPod {
  readonly spec: { readonly nodeName?: string };
  readonly status?: { readonly hostIP?: string };
}

/**
 * Requests `path` from every agent. Returns one response per agent pod. Two agents of one node share an address: the one that owns the node
 * responds to both requests. Errors: ApiError, if the agent pods cannot be listed.
 */
export async function requestAgents(
  config: KubeConfig,
  namespace: string,
  path: '/healthz/ready' | '/healthz/empty',
): Promise<AgentResponse[]> {
  const query = `/api/v1/namespaces/${namespace}/pods?${agentsQuery}`;
  const { items } = (await requestJson(config, 'GET', query)) as { items: readonly AgentPod[] };
  return Promise.all(
    items.map(async ({ spec, status }) => {
      const node = spec.nodeName ?? '(no node)';
      const ip = status?.hostIP;
      if (ip === undefined) return { node, status: 0, text: 'its pod has not started' };
      const host = ip.includes(':') ? `[${ip}]` : ip;
      try {
        const response = await fetch(`http://${host}:${healthPort}${path}`, {
          signal: AbortSignal.timeout(responseMsMax),
        });
        return { node, status: response.status, text: await response.text() };
      } catch (error) {
        return { node, status: 0, text: errorText(error) };
      }
    }),
  );
}
