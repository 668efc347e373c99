/** Reads edges from the control plane: by the socket in its state directory, or by an API server port-forward. */
import { existsSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText, WeftError } from '../../base/errors.js';
import { getThroughPortForward } from '../../kubernetes/port-forward.js';
import { requestJson } from '../../kubernetes/request.js';
import { controlSocketName } from '../../model/control-socket.js';
import type { EdgeAnswer, EdgeQuery } from '../../model/edge.js';
import { adminPort } from '../admin.js';

const answerMsMax = 5_000;
const answerBytesMax = 64 << 20;

function pathOf({ namespace, sinceMs }: EdgeQuery): string {
  const query = new URLSearchParams({
    sinceMs: String(sinceMs),
    ...(namespace === undefined ? {} : { namespace }),
  });
  return `/edges?${query}`;
}

const noAnswer = (why: string): WeftError =>
  new WeftError('WEFT_ADMIN', `the control plane does not say who called whom: ${why}`, { retryable: true });

function answerOf(text: string): EdgeAnswer {
  const answer = JSON.parse(text) as EdgeAnswer;
  if (!Array.isArray(answer.edges)) throw noAnswer('it is of an older version');
  return answer;
}

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

/**
 * The edges that the control plane of a state directory has. Errors: WEFT_ADMIN.
 * @param state of the control plane, or of a testbed
 */
export async function readEdges(state: string, query: EdgeQuery): Promise<EdgeAnswer> {
  const sockets = [join(state, 'control', controlSocketName), join(state, controlSocketName)];
  const socket = sockets.find((path) => existsSync(path));
  if (socket === undefined)
    throw noAnswer(
      `there is no ${sockets[0]}: give the state directory of a control plane that runs with --state`,
    );
  try {
    return answerOf(await getThroughSocket(socket, pathOf(query)));
  } catch (error) {
    throw error instanceof WeftError ? error : noAnswer(errorText(error));
  }
}

interface PodList {
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly status?: { readonly phase?: string };
  }[];
}

/** The edges that all replicas of a cluster's control plane have. Errors: WEFT_ADMIN, ApiError. */
export async function readClusterEdges(
  config: KubeConfig,
  systemNamespace: string,
  query: EdgeQuery,
): Promise<EdgeAnswer> {
  const { items } = (await requestJson(
    config,
    'GET',
    `/api/v1/namespaces/${systemNamespace}/pods?labelSelector=app%3Dweft-control`,
  )) as PodList;
  const running = items.filter(({ status }) => status?.phase === 'Running');
  if (running.length === 0) throw noAnswer(`no pod of weft-control runs in ${systemNamespace}`);
  let why = '';
  for (const { metadata } of running)
    try {
      const at = { namespace: systemNamespace, pod: metadata.name, port: adminPort };
      return answerOf(await getThroughPortForward(config, at, pathOf(query)));
    } catch (error) {
      why = `${metadata.name}: ${errorText(error)}`;
    }
  throw noAnswer(why);
}
