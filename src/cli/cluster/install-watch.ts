/** Follows an installation: prints a line per change, and throws as soon as a failure is known. */
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText, WeftError } from '../../base/errors.js';
import { getOptional } from '../../kubernetes/get.js';
import { ApiError } from '../../kubernetes/request.js';
import type { Failure, PodItem } from './pod-failure.js';
import {
  FailureClock,
  failuresNow,
  pendingReasons,
  rolloutOf,
  type DaemonSetItem,
  type DeploymentItem,
  type EventItem,
  type Progress,
  type Rollout,
  type RolloutObjects,
} from './rollout.js';

export interface WatchOptions {
  readonly config: KubeConfig;
  readonly namespace: string;
  /** Measured from the start of the watch. */
  readonly limitMs: number;
  /** Exit code of the program that changes the cluster (helm), undefined while it runs. */
  readonly exitCode: () => number | undefined;
  readonly print: (line: string) => void;
  readonly nowMs: () => number;
  /** Resolves when the cluster is to be read again. */
  readonly tick: () => Promise<void>;
}

const eventKey = ({ metadata }: EventItem): string => `${metadata.uid} ${metadata.resourceVersion}`;
async function eventsOf(config: KubeConfig, namespace: string): Promise<readonly EventItem[]> {
  try {
    const list = await getOptional<{ items: readonly EventItem[] }>(
      config,
      `/api/v1/namespaces/${namespace}/events?fieldSelector=type%3DWarning&limit=500`,
    );
    return list?.items ?? [];
  } catch (error) {
    // An account without the right to read events can still install, with less detail.
    if (error instanceof ApiError && error.status === 403) return [];
    throw error;
  }
}

/** @param old keys of events from before the installation, which are ignored. Errors: ApiError. */
export async function readRollout(
  config: KubeConfig,
  namespace: string,
  old: ReadonlySet<string> = new Set(),
): Promise<RolloutObjects> {
  const apps = `/apis/apps/v1/namespaces/${namespace}`;
  const [deployment, daemonSet, carrierSet, pods, events] = await Promise.all([
    getOptional<DeploymentItem>(config, `${apps}/deployments/weft-control`),
    getOptional<DaemonSetItem>(config, `${apps}/daemonsets/weft-agent`),
    getOptional<DaemonSetItem>(config, `${apps}/daemonsets/weft-carrier`),
    getOptional<{ items: readonly PodItem[] }>(config, `/api/v1/namespaces/${namespace}/pods`),
    eventsOf(config, namespace),
  ]);
  return {
    namespace,
    ...(deployment ? { deployment } : {}),
    ...(daemonSet ? { daemonSet } : {}),
    ...(carrierSet ? { carrierSet } : {}),
    pods: pods?.items ?? [],
    events: events.filter((event) => !old.has(eventKey(event))),
  };
}

/** Prints a line only when the text for its key changes. */
class Lines {
  readonly #printed = new Map<string, string>();
  constructor(private readonly output: (line: string) => void) {}
  print(key: string, line: string): void {
    if (this.#printed.get(key) === line) return;
    this.#printed.set(key, line);
    this.output(line);
  }
  /** Prints the first text for its key and ignores later changes. */
  printOnce(key: string, line: string): void {
    if (!this.#printed.has(key)) this.print(key, line);
  }
  forget(key: string): void {
    this.#printed.delete(key);
  }
}

const progressLine = (what: string, { ready, wanted }: Progress): string =>
  `${what.padEnd(13)}  ${ready} of ${wanted} ready`;

function printProgress(lines: Lines, { control, agents, carriers, failures }: Rollout): void {
  if (control) lines.print('control', progressLine('control plane', control));
  // The wanted number is 0 until the DaemonSet controller has counted the nodes.
  if (agents && agents.wanted > 0) lines.print('agents', progressLine('agents', agents));
  if (carriers && carriers.wanted > 0) lines.print('carriers', progressLine('carriers', carriers));
  // The kubelet describes the same failure with changing texts.
  for (const { code, subject, why } of failures.values())
    lines.printOnce(`${code} ${subject}`, `${subject}: ${why}`);
}

/** One error for all failures: the code of the first one, and the cause of each. */
function failuresError(failures: readonly Failure[]): WeftError | undefined {
  const [first] = failures;
  if (!first) return undefined;
  const subjects = new Map<string, string[]>();
  for (const { subject, why } of failures) subjects.set(why, [...(subjects.get(why) ?? []), subject]);
  const causes = [...subjects].map(([why, of]) => `${of.join(', ')}: ${why}`);
  const shown = causes.slice(0, 5).join('; ');
  const more = causes.length > 5 ? `; and ${causes.length - 5} more` : '';
  const help = [...new Set(failures.map((failure) => failure.help))].join('; ');
  return new WeftError(first.code, `${shown}${more}. What to do: ${help}`);
}

/**
 * Resolves with the exit code of helm if it is not 0, and with 0 once everything runs. Errors: a failure that lasted for 20 s
 * (`WEFT_IMAGE_PULL`, `WEFT_POD_CRASHES`, `WEFT_POD_NOT_STARTED`, `WEFT_POD_REFUSED`). At the time limit: the present failure, or
 * WEFT_INSTALL_TIMEOUT with the pods that are not ready.
 */
export async function watchInstall(options: WatchOptions): Promise<number> {
  const { config, namespace, limitMs, exitCode, print, nowMs, tick } = options;
  const lines = new Lines(print);
  const clock = new FailureClock();
  const beganMs = nowMs();
  const old = new Set((await eventsOf(config, namespace)).map(eventKey));
  let waitsFor: readonly string[] = [];
  let failures: readonly Failure[] = [];
  for (;;) {
    const code = exitCode();
    if (code !== undefined && code !== 0) {
      const error = failuresError(failures);
      if (error) throw error;
      return code;
    }
    try {
      const objects = await readRollout(config, namespace, old);
      const rollout = rolloutOf(objects);
      printProgress(lines, rollout);
      lines.forget('api');
      failures = [...rollout.failures.values()];
      waitsFor = pendingReasons(objects);
      if (code === 0 && rollout.done) return 0;
      const error = failuresError(clock.settled(failuresNow(objects), nowMs()));
      if (error) throw error;
    } catch (error) {
      if (!(error instanceof ApiError) || !error.retryable) throw error;
      lines.print('api', `the API server does not respond, retrying: ${errorText(error)}`);
    }
    if (nowMs() - beganMs >= limitMs) {
      const error = failuresError(failures);
      if (error) throw error;
      const what = waitsFor.slice(0, 5).join('; ');
      throw new WeftError(
        'WEFT_INSTALL_TIMEOUT',
        `the installation is not complete after ${Math.round(limitMs / 1000)} s${what === '' ? '' : `: ${what}`}. Its objects are kept: weft status shows the progress, weft install --timeout sets a longer limit`,
      );
    }
    await tick();
  }
}
