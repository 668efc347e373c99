/** Why a pod does not run, read from the status that the kubelet and the scheduler write: an error code, their message, and what to do. Pure. */

interface ContainerStatus {
  readonly name: string;
  readonly image?: string;
  readonly ready?: boolean;
  readonly restartCount?: number;
  readonly state?: {
    readonly waiting?: { readonly reason?: string; readonly message?: string };
    readonly terminated?: Terminated;
  };
  readonly lastState?: { readonly terminated?: Terminated };
}
interface Terminated {
  readonly exitCode?: number;
  readonly reason?: string;
  readonly message?: string;
}
/** Fields of a core/v1 Pod that are read here. */
export interface PodItem {
  readonly metadata: {
    readonly name: string;
    readonly uid?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
  };
  readonly spec: {
    readonly nodeName?: string;
    readonly containers?: readonly { readonly name: string; readonly image?: string }[];
    readonly initContainers?: readonly { readonly name: string; readonly image?: string }[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly reason?: string;
    readonly message?: string;
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason?: string;
      readonly message?: string;
    }[];
    readonly initContainerStatuses?: readonly ContainerStatus[];
    readonly containerStatuses?: readonly ContainerStatus[];
  };
}

type FailureCode =
  | 'WEFT_IMAGE_PULL'
  | 'WEFT_POD_CRASHES'
  | 'WEFT_POD_NOT_STARTED'
  | 'WEFT_POD_REFUSED'
  | 'WEFT_POD_UNSCHEDULABLE';
export interface Failure {
  readonly code: FailureCode;
  /** The pod, or the object whose pods are not created. */
  readonly subject: string;
  readonly why: string;
  /** What to do. */
  readonly help: string;
  /** The failure may pass without an action: the cluster may grow, the image may arrive. */
  readonly mayPass?: true;
}

const whyCharsMax = 600;
const lineOf = (text: string): string => text.replaceAll(/\s+/g, ' ').trim().slice(0, whyCharsMax);
/** Programs of Weft print the reason of a failure in their last line. */
const lastLine = (text: string | undefined): string | undefined =>
  text?.trim().split('\n').at(-1)?.slice(0, whyCharsMax);

/** The kubelet's reasons for a container that waits for its image. */
const imageReasons: ReadonlySet<string> = new Set([
  'ErrImagePull',
  'ImagePullBackOff',
  'ErrImageNeverPull',
  'InvalidImageName',
  'ImageInspectError',
  'RegistryUnavailable',
  'SignatureValidationFailed',
]);
/** Reasons of a container that starts normally. */
const ordinary: ReadonlySet<string> = new Set(['ContainerCreating', 'PodInitializing']);

/** Help for an image that cannot be pulled. */
const imageHelp =
  'build the image and push it to a registry that the nodes can pull from (npm run image -- REGISTRY/weft:TAG --push), then weft install --image REGISTRY/weft:TAG; for a private registry add --set imagePullSecrets[0].name=SECRET';

function endOf(terminated: Terminated | undefined): string {
  const { exitCode, reason, message } = terminated ?? {};
  const how =
    reason === 'OOMKilled'
      ? 'killed: out of memory (OOMKilled)'
      : `exit code ${exitCode ?? 'unknown'}${reason === undefined || reason === 'Error' ? '' : ` (${reason})`}`;
  const last = lastLine(message);
  return last === undefined || last === '' ? how : `${how}: ${last}`;
}

function containerFailure(
  pod: PodItem,
  subject: string,
  { name, image, state, lastState, restartCount = 0 }: ContainerStatus,
): Failure | undefined {
  const { reason = '', message = '' } = state?.waiting ?? {};
  // Between two attempts the kubelet puts its own message before the error of the pull.
  const [, tried] = /: ErrImagePull: (.*)$/s.exec(message) ?? [];
  const [word, words] = tried === undefined ? [reason, message] : ['ErrImagePull', tried];
  if (imageReasons.has(reason)) {
    const wanted = [...(pod.spec.containers ?? []), ...(pod.spec.initContainers ?? [])].find(
      (container) => container.name === name,
    )?.image;
    return {
      code: 'WEFT_IMAGE_PULL',
      subject,
      why: `image ${wanted ?? image ?? ''} cannot be pulled: ${word}${words === '' ? '' : `: ${lineOf(words)}`}`,
      help: imageHelp,
    };
  }
  const ended = state?.terminated ?? lastState?.terminated;
  if (
    reason === 'CrashLoopBackOff' ||
    (ended && ended.exitCode !== 0 && restartCount > 0 && state?.terminated)
  )
    return {
      code: 'WEFT_POD_CRASHES',
      subject,
      why: `container ${name} crashes (${restartCount} restarts): ${endOf(ended)}`,
      help: `in its namespace: kubectl logs ${pod.metadata.name} --previous`,
    };
  if (reason === '' || ordinary.has(reason)) return undefined;
  return {
    code: 'WEFT_POD_NOT_STARTED',
    subject,
    why: `container ${name} does not start: ${reason}${message === '' ? '' : `: ${lineOf(message)}`}`,
    help: `in its namespace: kubectl describe pod ${pod.metadata.name}`,
  };
}

/** Undefined for a pod that runs, starts normally, or is being deleted. */
export function podFailure(pod: PodItem): Failure | undefined {
  const { metadata, spec, status = {} } = pod;
  if (metadata.deletionTimestamp !== undefined) return undefined;
  const subject = `pod ${metadata.name}${spec.nodeName === undefined ? '' : ` on ${spec.nodeName}`}`;
  for (const container of [...(status.initContainerStatuses ?? []), ...(status.containerStatuses ?? [])]) {
    const failure = containerFailure(pod, subject, container);
    if (failure) return failure;
  }
  if (status.phase === 'Failed') {
    const ended = status.containerStatuses?.find(({ state }) => state?.terminated)?.state?.terminated;
    return {
      code: 'WEFT_POD_CRASHES',
      subject,
      why: ended ? endOf(ended) : lineOf(`${status.reason ?? 'failed'}: ${status.message ?? ''}`),
      help: `in its namespace: kubectl describe pod ${metadata.name}`,
    };
  }
  const scheduled = status.conditions?.find(({ type }) => type === 'PodScheduled');
  if (scheduled?.status === 'False')
    return {
      code: 'WEFT_POD_UNSCHEDULABLE',
      subject,
      why: `no node can run it: ${lineOf(scheduled.message ?? scheduled.reason ?? '')}`,
      help: 'add nodes, or change the chart values resources, nodeSelector, tolerations and affinity of control and agent',
      mayPass: true,
    };
  return undefined;
}

/** Why a controller cannot create its pods, read from the API server's refusal of one. */
export function refusalFailure(subject: string, message: string, namespace: string): Failure {
  const why = `the API server refuses its pods: ${lineOf(message)}`;
  const code = 'WEFT_POD_REFUSED';
  if (/violates PodSecurity/i.test(message))
    return {
      code,
      subject,
      why,
      help: `kubectl label namespace ${namespace} --overwrite pod-security.kubernetes.io/enforce=privileged (the agent needs the host's network and process list)`,
    };
  if (/insufficient quota to match these scopes/i.test(message))
    return {
      code,
      subject,
      why,
      help: `a quota limits system priority classes: create a ResourceQuota in ${namespace} whose scopeSelector includes them (docs/kubernetes.md), or set control.priorityClassName and agent.priorityClassName`,
    };
  if (/exceeded quota|failed quota|must specify (limits|requests)/i.test(message))
    return {
      code,
      subject,
      why,
      help: `raise the ResourceQuota of namespace ${namespace}, or lower control.resources and agent.resources`,
    };
  return { code, subject, why, help: 'change the admission policy or webhook that the message names' };
}
