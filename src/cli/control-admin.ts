/** Reads from the control plane: by the socket in its state directory, or by API server port-forwards to its replicas. */
import { existsSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText, WeftError } from '../base/errors.js';
import { getThroughPortForward } from '../kubernetes/port-forward.js';
import { requestJson } from '../kubernetes/request.js';
import { controlSocketName } from '../model/control-socket.js';
import { adminPort } from './admin.js';

const answerMsMax = 5_000;
const answerBytesMax = 64 << 20;

function getThroughSocket(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = http.get({ socketPath, path, timeout: answerMsMax, agent: false }, (response) => {
      const parts: Buffer[] = [];
      let size = 0;
      response.on('data', (part: Buffer) => {
        size += part.length;
        if (size > answerBytesMax) call.destroy(new Error('its response is too large'));
        else parts.push(part);
      });
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(parts).toString('utf8');
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`status ${response.statusCode}: ${text.trim()}`));
      });
    });
    call.on('timeout', () => call.destroy(new Error(`no response in ${answerMsMax} ms`)));
    call.on('error', reject);
  });
}

/** @param does what is asked: `say who called whom` */
const noAnswer = (does: string, why: string): WeftError =>
  new WeftError('WEFT_ADMIN', `the control plane does not ${does}: ${why}`, { retryable: true });

/** A question to the control plane. */
export interface ControlQuestion<T> {
  /** What is asked, for errors: `say who called whom`. */
  readonly does: string;
  /** Path and query. */
  readonly path: string;
  /** The answer; undefined: the control plane is of an older version. */
  readonly read: (value: unknown) => T | undefined;
}

function answerTo<T>({ does, read }: ControlQuestion<T>, text: string): T {
  const answer = read(JSON.parse(text) as unknown);
  if (answer === undefined) throw noAnswer(does, 'it is of an older version');
  return answer;
}

/**
 * The answer of the control plane of a state directory. Errors: WEFT_ADMIN.
 * @param state of the control plane, or of a testbed
 */
export async function askState<T>(state: string, question: ControlQuestion<T>): Promise<T> {
  const { does, path } = question;
  const sockets = [join(state, 'control', controlSocketName), join(state, controlSocketName)];
  const socket = sockets.find((one) => existsSync(one));
  if (socket === undefined)
    throw noAnswer(
      does,
      `there is no ${sockets[0]}: give the state directory of a control plane that runs with --state`,
    );
  try {
    return answerTo(question, await getThroughSocket(socket, path));
  } catch (error) {
    throw error instanceof WeftError ? error : noAnswer(does, errorText(error));
  }
}

interface PodList {
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly status?: { readonly phase?: string };
  }[];
}

/** Replicas of a cluster's control plane that run. Errors: WEFT_ADMIN, ApiError. */
async function replicasOf(config: KubeConfig, systemNamespace: string, does: string): Promise<string[]> {
  const { items } = (await requestJson(
    config,
    'GET',
    `/api/v1/namespaces/${systemNamespace}/pods?labelSelector=app%3Dweft-control`,
  )) as PodList;
  const running = items.filter(({ status }) => status?.phase === 'Running');
  if (running.length === 0) throw noAnswer(does, `no pod of weft-control runs in ${systemNamespace}`);
  return running.map(({ metadata }) => metadata.name);
}

const askReplica = async <T>(
  config: KubeConfig,
  namespace: string,
  pod: string,
  question: ControlQuestion<T>,
): Promise<T> =>
  answerTo(question, await getThroughPortForward(config, { namespace, pod, port: adminPort }, question.path));

/** The answer of one replica of a cluster's control plane, which asks the others. Errors: WEFT_ADMIN, ApiError. */
export async function askCluster<T>(
  config: KubeConfig,
  systemNamespace: string,
  question: ControlQuestion<T>,
): Promise<T> {
  let why = '';
  for (const pod of await replicasOf(config, systemNamespace, question.does))
    try {
      return await askReplica(config, systemNamespace, pod, question);
    } catch (error) {
      why = `${pod}: ${errorText(error)}`;
    }
  throw noAnswer(question.does, why);
}

/** The answers of all replicas, and those that did not answer. Errors: WEFT_ADMIN if none answers, ApiError. */
export async function askReplicas<T>(
  config: KubeConfig,
  systemNamespace: string,
  question: ControlQuestion<T>,
): Promise<{ readonly answers: readonly T[]; readonly missing: readonly string[] }> {
  const answers: T[] = [];
  const missing: string[] = [];
  let why = '';
  for (const pod of await replicasOf(config, systemNamespace, question.does))
    try {
      answers.push(await askReplica(config, systemNamespace, pod, question));
    } catch (error) {
      missing.push(pod);
      why = `${pod}: ${errorText(error)}`;
    }
  if (answers.length === 0) throw noAnswer(question.does, why);
  return { answers, missing };
}
