/** Writes the mesh's roots to the APIService, by which the API server verifies the control plane. The chart makes the APIService. */
import type { ApplyQueue } from '../kubernetes/apply-queue.js';
import { metricsGroup, metricsVersion } from '../dialects/smi/traffic-metrics.js';

const apiServiceName = `${metricsVersion}.${metricsGroup}`;
const path = `/apis/apiregistration.k8s.io/v1/apiservices/${apiServiceName}`;
/** The APIService is not watched: a new one, for example after an upgrade of the chart, has the roots after this time and the leader's next turn. */
const rewriteMs = 20_000;

export class ApiServiceRoots {
  #rewrittenAtMs = -Infinity;

  /** @param roots returns the current roots as PEM */
  constructor(
    private readonly queue: Pick<ApplyQueue, 'set' | 'markStale'>,
    private readonly roots: () => string,
  ) {}

  write(nowMs = performance.now()): void {
    if (nowMs - this.#rewrittenAtMs >= rewriteMs) {
      this.#rewrittenAtMs = nowMs;
      this.queue.markStale(path);
    }
    this.queue.set({
      path,
      body: {
        apiVersion: 'apiregistration.k8s.io/v1',
        kind: 'APIService',
        metadata: { name: apiServiceName },
        spec: { caBundle: Buffer.from(this.roots()).toString('base64') },
      },
    });
  }
}
