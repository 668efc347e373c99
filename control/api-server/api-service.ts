/** Writes the mesh's roots to the APIServices, by which the API server verifies the control plane. The chart makes the APIServices. */
import type { ApplyQueue } from '../kubernetes/apply-queue.js';
import type { ApiGroupName } from './api-group.js';

/** Each group has this version. */
const version = 'v1alpha1';
/** An APIService is not watched: a new one, for example after an upgrade of the chart, has the roots after this time and the leader's next turn. */
const rewriteMs = 20_000;

export class ApiServiceRoots {
  #rewrittenAtMs = -Infinity;

  /** @param roots returns the current roots as PEM */
  constructor(
    private readonly groups: readonly ApiGroupName[],
    private readonly queue: Pick<ApplyQueue, 'set' | 'markStale'>,
    private readonly roots: () => string,
  ) {}

  write(nowMs = performance.now()): void {
    const isStale = nowMs - this.#rewrittenAtMs >= rewriteMs;
    if (isStale) this.#rewrittenAtMs = nowMs;
    for (const group of this.groups) {
      const name = `${version}.${group}`;
      const path = `/apis/apiregistration.k8s.io/v1/apiservices/${name}`;
      if (isStale) this.queue.markStale(path);
      this.queue.set({
        path,
        body: {
          apiVersion: 'apiregistration.k8s.io/v1',
          kind: 'APIService',
          metadata: { name },
          spec: { caBundle: Buffer.from(this.roots()).toString('base64') },
        },
      });
    }
  }
}
