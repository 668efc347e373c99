/** What the agents say of themselves, each asked at its node's address. */
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText } from '../../src/base/errors.js';
import { requestJson } from '../../src/kubernetes/request.js';
import { agentsQuery } from './agent-pods.js';

const healthPort = 15021;
const answerMsMax = 3_000;

export interface AgentAnswer {
  readonly node: string;
  /** HTTP status; 0 where there was no answer. */
  readonly status: number;
  /** What it said, or why it did not. */
  readonly text: string;
}
interface AgentPod {
  readonly spec: { readonly nodeName?: string };
  readonly status?: { readonly hostIP?: string };
}

/** One answer per agent; two of one node are asked at the same address, and the one that has the node answers. Errors: ApiError, where the API server does not say which there are. */
export async function askAgents(
  config: KubeConfig,
  namespace: string,
  path: '/healthz/ready' | '/healthz/empty',
): Promise<AgentAnswer[]> {
  const query = `/api/v1/namespaces/${namespace}/pods?${agentsQuery}`;
  const { items } = (await requestJson(config, 'GET', query)) as { items: readonly AgentPod[] };
  return Promise.all(
    items.map(async ({ spec, status }) => {
      const node = spec.nodeName ?? '(no node)';
      const ip = status?.hostIP;
      if (ip === undefined) return { node, status: 0, text: 'its pod has not started' };
      const host = ip.includes(':') ? `[${ip}]` : ip;
      try {
        const answer = await fetch(`http://${host}:${healthPort}${path}`, {
          signal: AbortSignal.timeout(answerMsMax),
        });
        return { node, status: answer.status, text: await answer.text() };
      } catch (error) {
        return { node, status: 0, text: errorText(error) };
      }
    }),
  );
}
