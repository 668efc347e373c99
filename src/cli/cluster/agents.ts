/** The agents of a cluster, each asked for its status by a port that the API server forwards: nothing of it is open on the network. */
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText } from '../../base/errors.js';
import { getThrough } from '../../kubernetes/forward.js';
import { requestJson } from '../../kubernetes/request.js';
import { adminPort } from '../admin.js';

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
  /** Why it has none. */
  readonly why?: string;
}

interface PodItem {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly nodeName?: string };
  readonly status?: {
    readonly phase?: string;
    readonly containerStatuses?: readonly {
      readonly state?: { readonly waiting?: { readonly reason?: string } };
      readonly lastState?: { readonly terminated?: { readonly message?: string } };
    }[];
  };
}

/** Why an agent does not run, by its pod: the last that it said where it ends again and again. */
function troubleOf({ status }: PodItem): string | undefined {
  if (status?.phase !== 'Running') return `its pod is ${status?.phase ?? 'unknown'}`;
  const [container] = status.containerStatuses ?? [];
  const reason = container?.state?.waiting?.reason;
  if (reason === undefined) return undefined;
  const last = container?.lastState?.terminated?.message?.trim().split('\n').at(-1);
  return `${reason}${last === undefined ? '' : `: ${last}`}`;
}

/** One per agent pod, by node. Errors: ApiError, where the API server does not say which there are. */
export async function agentsOf(config: KubeConfig, namespace: string): Promise<Agent[]> {
  const query = `/api/v1/namespaces/${namespace}/pods?labelSelector=app%3Dweft-agent`;
  const { items } = (await requestJson(config, 'GET', query)) as { items: readonly PodItem[] };
  const agents = await Promise.all(
    items.map(async (item): Promise<Agent> => {
      const { metadata, spec } = item;
      const trouble = troubleOf(item);
      const agent = { node: spec.nodeName ?? '(no node)', pod: metadata.name };
      if (trouble !== undefined) return { ...agent, why: trouble };
      try {
        const text = await getThrough(config, { namespace, pod: metadata.name, port: adminPort }, '/status');
        return { ...agent, status: JSON.parse(text) as AgentStatus };
      } catch (error) {
        return { ...agent, why: errorText(error) };
      }
    }),
  );
  return agents.sort((a, b) => (a.node < b.node ? -1 : 1));
}
