/** Decides the response to the CNI plugin: a pod starts once it is enrolled, or once it is known not to belong in the mesh. */
import type { NodePod, UncapturedPod } from '../../src/model/node-pod.js';
import type { AddRequest, Reply } from './protocol.js';

/** Longer than the control plane needs to send the resource of a pod that it sees. The plugin itself waits for 30 s. */
const unknownMsMax = { enrolled: 8_000, other: 2_000 } as const;
/**
 * How long a pod's start waits for its certificate. Without a certificate the agent refuses the pod's connections, while its probes would
 * already report it as Ready.
 */
const certificateMsMax = 5_000;
const pollMs = 20;

export interface AdmissionOptions {
  readonly whenAgentIsAway: 'wait' | 'start';
  /** Whether discovery has sent its first complete state. */
  readonly synced: () => boolean;
  readonly connected: () => boolean;
  readonly wanted: (podUid: string) => NodePod | undefined;
  readonly uncaptured: (podUid: string) => UncapturedPod | undefined;
  /**
   * Whether pods of this namespace are in the mesh on any node. Before the control plane has sent its state, the list that a previous agent
   * process received counts.
   */
  readonly isEnrolled: (namespace: string) => boolean;
  /** Enrolls the pod now. Resolves with the reason if that failed. */
  readonly enroll: (pod: NodePod, request: AddRequest) => Promise<string | undefined>;
  readonly hasCertificate: (pod: NodePod) => boolean;
  readonly now: () => number;
  readonly sleep: (ms: number) => Promise<void>;
}

/** The response for the plugin. Waits for the pod's resource (`unknownMsMax`), its enrollment and its certificate (`certificateMsMax`). */
export async function admit(request: AddRequest, options: AdmissionOptions): Promise<Reply> {
  const { namespace, name, podUid } = request;
  const began = options.now();
  for (;;) {
    // Discovery may change the resources while this waits, so each turn reads all of them.
    const pod = options.wanted(podUid);
    if (pod) {
      const why = await options.enroll(pod, request);
      if (why !== undefined)
        return { ok: false, message: `${namespace}/${name} is not in the mesh yet: ${why}` };
      const until = options.now() + certificateMsMax;
      while (!options.hasCertificate(pod) && options.now() < until) await options.sleep(pollMs);
      if (options.hasCertificate(pod)) return { ok: true };
      return {
        ok: false,
        message: `${namespace}/${name} has no certificate yet${options.connected() ? '' : ': the control plane does not respond'}`,
      };
    }
    if (options.uncaptured(podUid)) return { ok: true };
    const enrolled = options.isEnrolled(namespace);
    const waitedMs = options.now() - began;
    // The control plane will not send the pod soon, and nothing says that its namespace is enrolled. The pod starts: it may be the DNS
    // server that the agent itself waits for.
    if (!enrolled && !(options.synced() && options.connected())) return { ok: true };
    if (waitedMs >= (enrolled ? unknownMsMax.enrolled : unknownMsMax.other)) {
      if (!enrolled || options.whenAgentIsAway === 'start') return { ok: true };
      return {
        ok: false,
        message: `the control plane has not sent ${namespace}/${name} yet${options.connected() ? '' : ' and does not respond'}, and pods of this namespace do not start outside the mesh`,
      };
    }
    await options.sleep(pollMs);
  }
}
