/** Reports the pods of this node to the control plane: soon after a change, and every `againMs` in any case. */
import { errorText } from '../../src/base/errors.js';
import type { NodeReport } from '../../src/discovery/gen/weft.js';
import type { NodePod } from '../../src/model/node-pod.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { Enroller } from './enroller.js';

const againMs = 60_000;
const retryMs = 5_000;

/** The report on each pod that the control plane wants on this node. Pure. */
export function podsReported(
  wanted: ReadonlyMap<WorkloadUid, NodePod>,
  enrollment: Pick<Enroller, 'enrolled' | 'waiting' | 'sinceMs'>,
): NodeReport['pods'] {
  const { enrolled, waiting } = enrollment;
  return [...wanted.values()].map(({ uid, podUid }) => {
    const local = enrolled.get(uid);
    return {
      uid,
      podUid: local?.pod.podUid ?? podUid,
      captured: local !== undefined,
      sinceMs: local ? enrollment.sinceMs(local.netns.cookie) : 0,
      why: local ? '' : (waiting.get(uid) ?? 'not inspected yet'),
    };
  });
}

export class NodeReporter {
  #sent = '';
  #sentAtMs = 0;
  #triedAtMs = 0;
  #sending = false;
  #problem = '';

  constructor(
    private readonly send: (report: NodeReport) => Promise<void>,
    private readonly onProblem: (why: string) => void,
  ) {}

  /**
   * Call once a second.
   * @param connected whether the control plane is connected; if not, nothing is sent
   */
  tick(current: () => NodeReport, connected: boolean, nowMs: number): void {
    if (this.#sending || !connected) return;
    const report = current();
    const text = JSON.stringify(report);
    const due = text !== this.#sent || nowMs - this.#sentAtMs >= againMs;
    const soon = this.#problem !== '' && nowMs - this.#triedAtMs < retryMs;
    if (!due || soon) return;
    this.#sending = true;
    this.#triedAtMs = nowMs;
    this.send(report)
      .then(
        () => {
          this.#sent = text;
          this.#sentAtMs = nowMs;
          this.#problem = '';
        },
        (error: unknown) => {
          const why = errorText(error);
          if (why !== this.#problem) this.onProblem(why);
          this.#problem = why;
        },
      )
      .finally(() => (this.#sending = false));
  }
}
