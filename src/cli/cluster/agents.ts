/** The agents of a cluster, each asked for its status by a port that the API server forwards: nothing of it is open on the network. */
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText } from '../../base/errors.js';
import { getThroughPortForward } from '../../kubernetes/port-forward.js';
import { requestJson } from '../../kubernetes/request.js';
import { adminPort } from '../admin.js';
import { podFailure, type PodItem } from './pod-failure.js';

export interface AgentStatus {
  readonly ready: boolean;
  readonly version: string;
  readonly pods: readonly { readonly uid: string; readonly certificate: boolean }[];
  readonly waiting: Readonly<Record<string, string>>;
  readonly uncaptured: readonly { readonly uid: string; readonly reason: string }[];
  readonly control: { readonly state: string; readonly why: string };
  /** What its kernel lacks, feature to reason. */
  readonly missing: Readonly<Record<string, string>>;
  /** Resources that it does not understand; absent from agents of before. */
  readonly undecodable?: readonly { readonly type: string; readonly why: string }[];
  readonly cni: string;
  readonly certificates: readonly {
    readonly id: string;
    readonly notAfter?: string;
    readonly error?: string;
  }[];
  readonly timeMs: number;
}
export interface Agent {
  readonly node: string;
  readonly pod: string;
  readonly status?: AgentStatus;
  /** The kubelet does not find its pod ready, whatever the agent says of itself. */
  readonly isPodUnready?: true;
  /** Why it has none. */
  readonly why?: string;
  /** What to do, where its pod does not run. */
  readonly help?: string;
}

const isUnready = ({ status }: PodItem): boolean =>
  status?.conditions?.some((one) => one.type === 'Ready' && one.status !== 'True') === true;

/** Why an agent's pod does not run. */
function problemOf(pod: PodItem): string | undefined {
  const failure = podFailure(pod);
  if (failure) return failure.why;
  const phase = pod.status?.phase ?? 'Unknown';
  return phase === 'Running' ? undefined : `its pod is ${phase}`;
}

/** One per agent pod, by node. Errors: ApiError, where the API server does not say which there are. */
export async function agentsOf(config: KubeConfig, namespace: string): Promise<Agent[]> {
  const query = `/api/v1/namespaces/${namespace}/pods?labelSelector=app%3Dweft-agent`;
  const { items } = (await requestJson(config, 'GET', query)) as { items: readonly PodItem[] };
  const agents = await Promise.all(
    items.map(async (item): Promise<Agent> => {
      const { metadata, spec } = item;
      const problem = problemOf(item);
      const agent = {
        node: spec.nodeName ?? '(no node)',
        pod: metadata.name,
        ...(isUnready(item) ? { isPodUnready: true as const } : {}),
      };
      if (problem !== undefined) {
        const help = podFailure(item)?.help;
        return { ...agent, why: problem, ...(help === undefined ? {} : { help }) };
      }
      try {
        const text = await getThroughPortForward(
          config,
          { namespace, pod: metadata.name, port: adminPort },
          '/status',
        );
        return { ...agent, status: JSON.parse(text) as AgentStatus };
      } catch (error) {
        return { ...agent, why: errorText(error) };
      }
    }),
  );
  return agents.sort((a, b) => (a.node < b.node ? -1 : 1));
}
