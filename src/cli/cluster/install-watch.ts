/** Follows an installation: a line as each thing happens, and an error with what is wrong as soon as it is known. */
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
  /** From the beginning of the watch. */
  readonly limitMs: number;
  /** The exit code of what changes the cluster meanwhile (helm); undefined while it runs. */
  readonly exitCode: () => number | undefined;
  readonly say: (line: string) => void;
  readonly nowMs: () => number;
  /** Resolves when it is time to look again. */
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
    // Whoever may not read events sees less, and installs all the same.
    if (error instanceof ApiError && error.status === 403) return [];
    throw error;
  }
}

/** @param old keys of events of before: they say nothing about now. Errors: ApiError. */
export async function readRollout(
  config: KubeConfig,
  namespace: string,
  old: ReadonlySet<string> = new Set(),
): Promise<RolloutObjects> {
  const apps = `/apis/apps/v1/namespaces/${namespace}`;
  const [deployment, daemonSet, pods, events] = await Promise.all([
    getOptional<DeploymentItem>(config, `${apps}/deployments/weft-control`),
    getOptional<DaemonSetItem>(config, `${apps}/daemonsets/weft-agent`),
    getOptional<{ items: readonly PodItem[] }>(config, `/api/v1/namespaces/${namespace}/pods`),
    eventsOf(config, namespace),
  ]);
  return {
    namespace,
    ...(deployment ? { deployment } : {}),
    ...(daemonSet ? { daemonSet } : {}),
    pods: pods?.items ?? [],
    events: events.filter((event) => !old.has(eventKey(event))),
  };
}

/** Says each thing once, until it changes. */
class Lines {
  readonly #said = new Map<string, string>();
  constructor(private readonly say: (line: string) => void) {}
  tell(key: string, line: string): void {
    if (this.#said.get(key) === line) return;
    this.#said.set(key, line);
    this.say(line);
  }
  /** Says it once, whatever it changes to. */
  once(key: string, line: string): void {
    if (!this.#said.has(key)) this.tell(key, line);
  }
  forget(key: string): void {
    this.#said.delete(key);
  }
}

const progressLine = (what: string, { ready, wanted }: Progress): string =>
  `${what.padEnd(13)}  ${ready} of ${wanted} ready`;

function tell(lines: Lines, { control, agents, failures }: Rollout): void {
  if (control) lines.tell('control', progressLine('control plane', control));
  // None are wanted until the controller has looked at the nodes.
  if (agents && agents.wanted > 0) lines.tell('agents', progressLine('agents', agents));
  // The kubelet words the same failure in several ways.
  for (const { code, subject, why } of failures.values())
    lines.once(`${code} ${subject}`, `${subject}: ${why}`);
}

/** One error for all: with the code of the first, and each one's cause. */
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
 * Resolves with the exit code once that is known and not 0, or once everything runs. Errors: a failure that stood for 20 s
 * (`WEFT_IMAGE_PULL`, `WEFT_POD_CRASHES`, `WEFT_POD_NOT_STARTED`, `WEFT_POD_REFUSED`); at the limit the failure that there is, or
 * WEFT_INSTALL_TIMEOUT with what is still waited for.
 */
export async function watchInstall(options: WatchOptions): Promise<number> {
  const { config, namespace, limitMs, exitCode, say, nowMs, tick } = options;
  const lines = new Lines(say);
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
      tell(lines, rollout);
      lines.forget('api');
      failures = [...rollout.failures.values()];
      waitsFor = pendingReasons(objects);
      if (code === 0 && rollout.done) return 0;
      const error = failuresError(clock.settled(failuresNow(objects), nowMs()));
      if (error) throw error;
    } catch (error) {
      if (!(error instanceof ApiError) || !error.retryable) throw error;
      lines.tell('api', `the API server does not answer, it is asked again: ${errorText(error)}`);
    }
    if (nowMs() - beganMs >= limitMs) {
      const error = failuresError(failures);
      if (error) throw error;
      const what = waitsFor.slice(0, 5).join('; ');
      throw new WeftError(
        'WEFT_INSTALL_TIMEOUT',
        `not everything runs after ${Math.round(limitMs / 1000)} s${what === '' ? '' : `: ${what}`}. What is there stays: weft status shows how far it is, weft install --timeout gives it longer`,
      );
    }
    await tick();
  }
}
