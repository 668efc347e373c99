/**
 * A deleted agent pod drains for as long as it has open connections, and its DaemonSet makes no other on the node while it is there and
 * matches the selector. So the leader takes the label away from an agent that ends: the DaemonSet lets go of it and starts
 * its successor beside it, to which it hands its node over.
 */
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText } from '../../src/base/errors.js';
import { ApiError, requestJson } from '../../src/kubernetes/request.js';
import type { MeshObject, PodObject } from '../objects/objects.js';

const agentLabel = 'weft-agent';
const drainingLabel = 'weft-agent-draining';
/** Both kinds of pods of the agents, as a query of the API server. */
export const agentsQuery = `labelSelector=${encodeURIComponent(`app in (${agentLabel},${drainingLabel})`)}`;
const daemonSet = 'weft-agent';
const retryMs = 1_000;

interface Owned {
  readonly metadata: {
    readonly uid?: string;
    readonly deletionTimestamp?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly {
      readonly kind: string;
      readonly uid: string;
      readonly controller?: boolean;
    }[];
  };
}

/** An agent's pod that is being deleted and still has the label by which its DaemonSet counts it. Pure. */
export function isEndingAgent(pod: Pick<PodObject, 'metadata'>, namespace: string): boolean {
  const { metadata } = pod;
  return (
    metadata.namespace === namespace &&
    metadata.deletionTimestamp !== undefined &&
    metadata.labels?.['app'] === agentLabel
  );
}

/** The DaemonSet lives, so it shall have a pod on that node, and the pod is its own. Pure. */
export function isToBeReplaced({ metadata }: Owned, { metadata: owner }: Owned): boolean {
  return (
    owner.uid !== undefined &&
    owner.deletionTimestamp === undefined &&
    metadata.deletionTimestamp !== undefined &&
    metadata.labels?.['app'] === agentLabel &&
    (metadata.ownerReferences ?? []).some(
      ({ kind, uid, controller }) => kind === 'DaemonSet' && controller === true && uid === owner.uid,
    )
  );
}

export interface AgentPodsOptions {
  readonly config: KubeConfig;
  /** Of the agents, and of the control plane. */
  readonly namespace: string;
  readonly isLeading: () => boolean;
  readonly log: Record<'info' | 'warn', (fields: object, text: string) => void>;
}

export class AgentPods {
  readonly #options: AgentPodsOptions;
  /** UIDs of pods that are being looked at, or are done with. */
  readonly #seen = new Set<string>();
  #stopped = false;

  constructor(options: AgentPodsOptions) {
    this.#options = options;
  }

  /** Call for every object that has changed, and for all when this replica becomes the leader. */
  look(object: MeshObject): void {
    const { namespace, isLeading } = this.#options;
    if (object.kind !== 'Pod' || !isEndingAgent(object, namespace) || !isLeading()) return;
    const { uid, name } = object.metadata;
    if (uid === undefined || this.#seen.has(uid)) return;
    this.#seen.add(uid);
    void this.#release(name, uid);
  }

  /** A pod is gone. */
  forget(object: MeshObject): void {
    if (object.metadata.uid !== undefined) this.#seen.delete(object.metadata.uid);
  }

  stop(): void {
    this.#stopped = true;
  }

  async #release(name: string, uid: string): Promise<void> {
    const { config, namespace, isLeading, log } = this.#options;
    const pods = `/api/v1/namespaces/${namespace}/pods`;
    while (this.#seen.has(uid) && isLeading() && !this.#stopped) {
      try {
        const owner = (await requestJson(
          config,
          'GET',
          `/apis/apps/v1/namespaces/${namespace}/daemonsets/${daemonSet}`,
        )) as Owned;
        const found = (await requestJson(config, 'GET', `${pods}?fieldSelector=metadata.name%3D${name}`)) as {
          readonly items: readonly Owned[];
        };
        const pod = found.items.find(({ metadata }) => metadata.uid === uid);
        if (!pod || !isToBeReplaced(pod, owner)) return;
        // With the UID: a pod of the same name that is another is left alone.
        await requestJson(config, 'PATCH', `${pods}/${name}?fieldManager=weft-control&force=true`, {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name, namespace, uid, labels: { app: drainingLabel } },
        });
        log.info({ pod: name }, 'an agent ends: its DaemonSet may start its successor beside it');
        return;
      } catch (error) {
        // Without a DaemonSet there is no successor, and what is gone needs none.
        if (error instanceof ApiError && (error.status === 404 || error.status === 409)) return;
        log.warn({ pod: name, error: errorText(error) }, 'an ending agent keeps its label, tried again');
        await new Promise((resolve) => setTimeout(resolve, retryMs).unref());
      }
    }
    // Another replica leads, or this one again later.
    this.#seen.delete(uid);
  }
}
