/** What the CNI plugin is answered: a pod starts when it is held, or when it is known that it is not to be. */
import type { NodePod, UncapturedPod } from '../../src/model/node-pod.js';
import type { AddRequest, Reply } from './protocol.js';

/** Longer than the control plane takes to tell of a pod that it sees; the plugin waits for 30 s. */
const unknownMsMax = { enrolled: 8_000, other: 2_000 } as const;
/** A pod that is held without a certificate is closed, and would be Ready by its probes: it starts when it has one. */
const certificateMsMax = 5_000;
const lookMs = 20;

export interface AdmissionOptions {
  readonly whenAgentIsAway: 'wait' | 'start';
  /** Discovery has spoken at least once. */
  readonly synced: () => boolean;
  readonly connected: () => boolean;
  readonly wanted: (podUid: string) => NodePod | undefined;
  readonly uncaptured: (podUid: string) => UncapturedPod | undefined;
  /** Pods of this namespace are in the mesh, somewhere; before the control plane has spoken, by what it said to a former life. */
  readonly isEnrolled: (namespace: string) => boolean;
  /** Takes it in now; the reason where that did not work. */
  readonly enroll: (pod: NodePod, request: AddRequest) => Promise<string | undefined>;
  readonly hasCertificate: (pod: NodePod) => boolean;
  readonly now: () => number;
  readonly sleep: (ms: number) => Promise<void>;
}

export async function admit(request: AddRequest, options: AdmissionOptions): Promise<Reply> {
  const { namespace, name, podUid } = request;
  const began = options.now();
  for (;;) {
    // What is told may change meanwhile, so all of it is looked at each time.
    const pod = options.wanted(podUid);
    if (pod) {
      const why = await options.enroll(pod, request);
      if (why !== undefined)
        return { ok: false, message: `${namespace}/${name} is not in the mesh yet: ${why}` };
      const until = options.now() + certificateMsMax;
      while (!options.hasCertificate(pod) && options.now() < until) await options.sleep(lookMs);
      if (options.hasCertificate(pod)) return { ok: true };
      return {
        ok: false,
        message: `${namespace}/${name} has no certificate yet${options.connected() ? '' : ': the control plane does not answer'}`,
      };
    }
    if (options.uncaptured(podUid)) return { ok: true };
    const enrolled = options.isEnrolled(namespace);
    const waitedMs = options.now() - began;
    // Nobody will tell soon, and nothing is known that speaks against it: DNS may be what the agent itself waits for.
    if (!enrolled && !(options.synced() && options.connected())) return { ok: true };
    if (waitedMs >= (enrolled ? unknownMsMax.enrolled : unknownMsMax.other)) {
      if (!enrolled || options.whenAgentIsAway === 'start') return { ok: true };
      return {
        ok: false,
        message: `the control plane has not told of ${namespace}/${name} yet${options.connected() ? '' : ' and does not answer'}, and pods of this namespace do not start outside of the mesh`,
      };
    }
    await options.sleep(lookMs);
  }
}
