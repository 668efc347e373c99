/** Why a pod does not run, by its status as the kubelet and the scheduler write it: an error code, the cause in their words, what to do. Pure. */

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
/** A Pod of the core API: the fields that are looked at. */
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
  /** Of what: a pod, or the object whose pods are not made. */
  readonly subject: string;
  readonly why: string;
  /** What to do. */
  readonly help: string;
  /** It may pass without anybody doing something: a cluster may grow, an image may come. */
  readonly mayPass?: true;
}

const whyCharsMax = 600;
const lineOf = (text: string): string => text.replaceAll(/\s+/g, ' ').trim().slice(0, whyCharsMax);
/** A program that fails says why in its last line. */
const lastLine = (text: string | undefined): string | undefined =>
  text?.trim().split('\n').at(-1)?.slice(0, whyCharsMax);

/** Reasons of the kubelet for a container that waits for its image. */
const imageReasons: ReadonlySet<string> = new Set([
  'ErrImagePull',
  'ImagePullBackOff',
  'ErrImageNeverPull',
  'InvalidImageName',
  'ImageInspectError',
  'RegistryUnavailable',
  'SignatureValidationFailed',
]);
/** Ordinary steps of a container that has not started yet. */
const ordinary: ReadonlySet<string> = new Set(['ContainerCreating', 'PodInitializing']);

/** Of an image that no node could pull. */
const imageHelp =
  'build the image and push it to a registry that the nodes can pull from (npm run image -- REGISTRY/weft:TAG --push), then weft install --image REGISTRY/weft:TAG; for a private registry add --set imagePullSecrets[0].name=SECRET';

function endOf(terminated: Terminated | undefined): string {
  const { exitCode, reason, message } = terminated ?? {};
  const how =
    reason === 'OOMKilled'
      ? 'it was killed for the memory that it used (OOMKilled)'
      : `it ended with exit code ${exitCode ?? 'unknown'}${reason === undefined || reason === 'Error' ? '' : ` (${reason})`}`;
  const last = lastLine(message);
  return last === undefined || last === '' ? how : `${how}: ${last}`;
}

function containerFailure(
  pod: PodItem,
  subject: string,
  { name, image, state, lastState, restartCount = 0 }: ContainerStatus,
): Failure | undefined {
  const { reason = '', message = '' } = state?.waiting ?? {};
  // Between two tries the kubelet puts words of its own before the failure's.
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
      why: `container ${name} ends again and again (${restartCount} restarts): ${endOf(ended)}`,
      help: `kubectl logs ${pod.metadata.name} --previous in its namespace says more`,
    };
  if (reason === '' || ordinary.has(reason)) return undefined;
  return {
    code: 'WEFT_POD_NOT_STARTED',
    subject,
    why: `container ${name} does not start: ${reason}${message === '' ? '' : `: ${lineOf(message)}`}`,
    help: `kubectl describe pod ${pod.metadata.name} in its namespace says more`,
  };
}

/** Undefined where it runs, starts in the ordinary way, or is being deleted. */
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
      why: ended ? endOf(ended) : lineOf(`${status.reason ?? 'it failed'}: ${status.message ?? ''}`),
      help: `kubectl describe pod ${metadata.name} in its namespace says more`,
    };
  }
  const scheduled = status.conditions?.find(({ type }) => type === 'PodScheduled');
  if (scheduled?.status === 'False')
    return {
      code: 'WEFT_POD_UNSCHEDULABLE',
      subject,
      why: `no node takes it: ${lineOf(scheduled.message ?? scheduled.reason ?? '')}`,
      help: 'add nodes, or see the chart values resources, nodeSelector, tolerations and affinity of control and agent',
      mayPass: true,
    };
  return undefined;
}

/** Why a controller's pods are not made, by the API server's refusal of one. */
export function refusalFailure(subject: string, message: string, namespace: string): Failure {
  const why = `its pods are refused: ${lineOf(message)}`;
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
      help: `the cluster limits system priority classes by quota: make a ResourceQuota in ${namespace} whose scopeSelector takes them (docs/kubernetes.md), or choose others by control.priorityClassName and agent.priorityClassName`,
    };
  if (/exceeded quota|failed quota|must specify (limits|requests)/i.test(message))
    return {
      code,
      subject,
      why,
      help: `raise the ResourceQuota of namespace ${namespace}, or ask for less by control.resources and agent.resources`,
    };
  return { code, subject, why, help: 'an admission policy or webhook refuses them: its message says which' };
}
