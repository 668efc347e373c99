/**
 * Relabels pods of agents and carriers that are being deleted. A deleted pod drains for as long as it has open connections, and its DaemonSet
 * creates no other pod on the node while the old one exists and matches the selector. So the leader changes the label of a terminating pod:
 * the DaemonSet no longer counts the pod and starts a successor beside it, which takes the node over from the old one.
 */
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText } from '../../src/base/errors.js';
import { ApiError, requestJson } from '../../src/kubernetes/request.js';
import type { MeshObject, PodObject } from '../objects/objects.js';

/** Names of the DaemonSets. They are also the label `app` of their pods. */
const daemonSets: ReadonlySet<string> = new Set(['weft-agent', 'weft-carrier']);
const drainingLabel = (daemonSet: string): string => `${daemonSet}-draining`;
/** API server query for all agent pods, draining ones included. */
export const agentsQuery = `labelSelector=${encodeURIComponent(`app in (weft-agent,${drainingLabel('weft-agent')})`)}`;
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

/**
 * The DaemonSet of an agent's or carrier's pod that is being deleted and still has the label that the DaemonSet selects by; undefined for
 * every other pod. Pure.
 */
export function daemonSetOfEnding(pod: Pick<PodObject, 'metadata'>, namespace: string): string | undefined {
  const { metadata } = pod;
  if (metadata.namespace !== namespace || metadata.deletionTimestamp === undefined) return undefined;
  const app = metadata.labels?.['app'];
  return app !== undefined && daemonSets.has(app) ? app : undefined;
}

/** Whether the terminating pod needs a successor: its DaemonSet is not being deleted and owns the pod. Pure. */
export function isToBeReplaced({ metadata }: Owned, { metadata: owner }: Owned): boolean {
  return (
    owner.uid !== undefined &&
    owner.deletionTimestamp === undefined &&
    metadata.deletionTimestamp !== undefined &&
    daemonSets.has(metadata.labels?.['app'] ?? '') &&
    (metadata.ownerReferences ?? []).some(
      ({ kind, uid, controller }) => kind === 'DaemonSet' && controller === true && uid === owner.uid,
    )
  );
}

export interface AgentPodsOptions {
  readonly config: KubeConfig;
  /** Namespace of agents, carriers and the control plane. */
  readonly namespace: string;
  readonly isLeading: () => boolean;
  readonly log: Record<'info' | 'warn', (fields: object, text: string) => void>;
}

export class AgentPods {
  readonly #options: AgentPodsOptions;
  /** UIDs of pods that are being relabeled or need no further attempt. */
  readonly #seen = new Set<string>();
  #stopped = false;

  constructor(options: AgentPodsOptions) {
    this.#options = options;
  }

  /** Call for every object that has changed, and for all when this replica becomes the leader. */
  look(object: MeshObject): void {
    const { namespace, isLeading } = this.#options;
    if (object.kind !== 'Pod' || !isLeading()) return;
    const daemonSet = daemonSetOfEnding(object, namespace);
    const { uid, name } = object.metadata;
    if (daemonSet === undefined || uid === undefined || this.#seen.has(uid)) return;
    this.#seen.add(uid);
    void this.#release(daemonSet, name, uid);
  }

  /** Call when a pod is gone. */
  forget(object: MeshObject): void {
    if (object.metadata.uid !== undefined) this.#seen.delete(object.metadata.uid);
  }

  stop(): void {
    this.#stopped = true;
  }

  async #release(daemonSet: string, name: string, uid: string): Promise<void> {
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
        // The UID keeps another pod of the same name from being relabeled.
        await requestJson(config, 'PATCH', `${pods}/${name}?fieldManager=weft-control&force=true`, {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name, namespace, uid, labels: { app: drainingLabel(daemonSet) } },
        });
        log.info({ pod: name }, 'a pod is terminating: its DaemonSet can now start a successor');
        return;
      } catch (error) {
        // 404: without a DaemonSet there is no successor, and a pod that is gone needs none. 409: the name belongs to another pod by now.
        if (error instanceof ApiError && (error.status === 404 || error.status === 409)) return;
        log.warn({ pod: name, error: errorText(error) }, 'terminating pod not relabeled: will retry');
        await new Promise((resolve) => setTimeout(resolve, retryMs).unref());
      }
    }
    // If this replica becomes the leader again, it looks at the pod again.
    this.#seen.delete(uid);
  }
}
