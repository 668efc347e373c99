/** Connections and requests that happened in a cluster, from the logs of agents and waypoints, as far as the caller may read these. */
import type { KubeConfig } from '@kubernetes/client-node';
import { eachAtOnce } from '../../base/at-once.js';
import { errorText } from '../../base/errors.js';
import { ApiError, requestJson, requestText } from '../../kubernetes/request.js';
import { waypointPodSelector } from '../cluster/waypoint-status.js';
import { lineAbout, linesMax, type PastLine } from './past.js';

/** The newest lines of each log are read. */
const tailLines = 20_000;
const logBytesMax = 16 << 20;
const atOnce = 8;

interface PodItem {
  readonly metadata: { readonly name: string; readonly namespace: string };
}

export interface ClusterPast {
  readonly lines: readonly PastLine[];
  /** What could not be read, with the right that is missing. */
  readonly problems: readonly string[];
}

const agentSelector = 'app in (weft-agent,weft-agent-draining)';

const problemOf = (what: string, right: string, error: unknown): string =>
  error instanceof ApiError && error.status === 403
    ? `${what}: you lack the right to ${right}`
    : `${what}: ${errorText(error)}`;

/** Never rejects. @param rootNamespace that of the agents */
export async function clusterPast(
  config: KubeConfig,
  rootNamespace: string,
  id: string,
): Promise<ClusterPast> {
  const problems: string[] = [];
  const lines: PastLine[] = [];
  const list = async (what: string, path: string, selector: string): Promise<readonly PodItem[]> => {
    try {
      const query = new URLSearchParams({ labelSelector: selector });
      const { items } = (await requestJson(config, 'GET', `${path}?${query}`)) as {
        readonly items: readonly PodItem[];
      };
      return items;
    } catch (error) {
      problems.push(
        problemOf(what, `list pods${path.includes('namespaces') ? ` in ${rootNamespace}` : ''}`, error),
      );
      return [];
    }
  };
  const [agents, waypoints] = await Promise.all([
    list('agents', `/api/v1/namespaces/${rootNamespace}/pods`, agentSelector),
    list('waypoints', '/api/v1/pods', waypointPodSelector),
  ]);
  const pods = [...agents, ...waypoints];
  const forbidden = new Set<string>();
  const read = async ({ metadata: { name, namespace } }: PodItem): Promise<void> => {
    try {
      const path = `/api/v1/namespaces/${namespace}/pods/${name}/log?tailLines=${tailLines}`;
      for (const text of (await requestText(config, path, logBytesMax)).split('\n')) {
        const line = lineAbout(text, id, `${namespace}/${name}`);
        if (line) lines.push(line);
      }
    } catch (error) {
      const isForbidden = error instanceof ApiError && error.status === 403;
      if (isForbidden && forbidden.has(namespace)) return;
      if (isForbidden) forbidden.add(namespace);
      const what = isForbidden ? `logs in ${namespace}` : `log of ${namespace}/${name}`;
      problems.push(problemOf(what, `get pods/log in ${namespace}`, error));
    }
  };
  await eachAtOnce(pods, atOnce, read);
  const timeOf = ({ line }: PastLine): string => (typeof line['time'] === 'string' ? line['time'] : '');
  lines.sort((a, b) => (timeOf(a) < timeOf(b) ? -1 : 1));
  return { lines: lines.slice(-linesMax), problems };
}
