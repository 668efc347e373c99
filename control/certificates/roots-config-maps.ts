/** Writes the mesh's roots to a ConfigMap in every namespace that needs them. Waypoints and agents verify the control plane with it. */
import type { ApplyQueue, Write } from '../kubernetes/apply-queue.js';

export const rootsConfigMap = 'weft-ca-root-cert';
/**
 * Interval at which the ConfigMaps are written again. They are not watched: a client that may write them in a namespace can keep its waypoints
 * from the control plane for this long.
 */
const rewriteMs = 300_000;

/** Sole owner of the roots' ConfigMaps in the apply queue. */
export class RootsConfigMaps {
  #rewrittenAtMs = 0;

  /** @param roots returns the current roots as PEM */
  constructor(
    private readonly queue: Pick<ApplyQueue, 'set' | 'markStale' | 'paths'>,
    private readonly roots: () => string,
  ) {}

  /** The wanted ConfigMap of a namespace. */
  of(namespace: string): Write & { readonly body: object } {
    return {
      path: `/api/v1/namespaces/${namespace}/configmaps/${rootsConfigMap}`,
      body: {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: rootsConfigMap, namespace, labels: { 'app.kubernetes.io/part-of': 'weft' } },
        data: { 'root-cert.pem': this.roots() },
      },
    };
  }

  /** Writes the ConfigMaps of these namespaces and deletes those of namespaces that have left the mesh. */
  write(namespaces: Iterable<string>): void {
    const wanted = new Set<string>();
    const isDue = Date.now() - this.#rewrittenAtMs >= rewriteMs;
    if (isDue) this.#rewrittenAtMs = Date.now();
    for (const namespace of namespaces) {
      const write = this.of(namespace);
      wanted.add(write.path);
      if (isDue) this.queue.markStale(write.path);
      this.queue.set(write);
    }
    for (const path of this.queue.paths())
      if (path.endsWith(`/configmaps/${rootsConfigMap}`) && !wanted.has(path)) this.queue.set({ path });
  }
}
