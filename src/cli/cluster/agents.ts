/** Reads the status of each agent of a cluster by an API server port-forward. The status port is not reachable on the network. */
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText } from '../../base/errors.js';
import { getThroughPortForward } from '../../kubernetes/port-forward.js';
import { requestJson } from '../../kubernetes/request.js';
import type { RelayStatus } from '../../model/relay.js';
import { adminPort } from '../admin.js';
import { podFailure, type PodItem } from './pod-failure.js';

export interface AgentStatus {
  readonly ready: boolean;
  readonly version: string;
  readonly pods: readonly { readonly uid: string; readonly certificate: boolean }[];
  readonly waiting: Readonly<Record<string, string>>;
  readonly uncaptured: readonly { readonly uid: string; readonly reason: string }[];
  readonly control: { readonly state: string; readonly why: string };
  /** Missing kernel features, with the reason of each. */
  readonly missing: Readonly<Record<string, string>>;
  /** Resources that the agent cannot decode. Older agents do not report them. */
  readonly undecodable?: readonly { readonly type: string; readonly why: string }[];
  readonly cni: string;
  /** Older agents do not report it. */
  readonly relay?: RelayStatus;
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
  /** The kubelet reports the pod as not ready, even if the agent reports itself as ready. */
  readonly isPodUnready?: true;
  /** Why there is no status. */
  readonly why?: string;
  /** What to do when the pod does not run. */
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

/** One entry per agent pod, sorted by node. Error: ApiError if the agent pods cannot be listed. */
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
