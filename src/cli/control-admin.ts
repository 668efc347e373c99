/** Reads from the control plane: by the socket in its state directory, or on a cluster by the API server, which authorizes the caller. */
import { existsSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText, WeftError } from '../base/errors.js';
import { isRecord } from '../base/record.js';
import { loadKubeConfig } from '../kubernetes/config.js';
import { ApiError, requestJson } from '../kubernetes/request.js';
import { controlSocketName } from '../model/control-socket.js';
import { observeApi, type ObservedQuery, type ObservedResource } from '../model/observe-api.js';
import { isOfCluster, stateOf, type MeshFlags } from './place.js';

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

/** What the control plane lists. */
interface Listed {
  readonly items: readonly unknown[];
  readonly sinceMs: number;
  /** Replicas that did not answer. */
  readonly missing: readonly string[];
  /** Of edges: their counts have slots. */
  readonly isBySlot?: boolean;
}

/** A question to the control plane. */
export interface ControlQuestion<T> {
  /** What is asked, for errors: `say who called whom`. */
  readonly does: string;
  readonly resource: ObservedResource;
  readonly query: ObservedQuery;
  /** Further parameters of the URL. */
  readonly parameters?: Readonly<Record<string, string>>;
  readonly answer: (listed: Listed) => T;
}

function answerTo<T>(question: ControlQuestion<T>, value: unknown, items: string): T {
  const list = isRecord(value) ? value[items] : undefined;
  if (!isRecord(value) || !Array.isArray(list) || typeof value['sinceMs'] !== 'number')
    throw noAnswer(question.does, 'it is of another version');
  const missing = Array.isArray(value['missing']) ? value['missing'].map(String) : [];
  return question.answer({
    items: list,
    sinceMs: value['sinceMs'],
    missing,
    ...(value['isBySlot'] === true ? { isBySlot: true } : {}),
  });
}

function stateQuery({ namespace, sinceMs }: ObservedQuery): URLSearchParams {
  return new URLSearchParams({
    sinceMs: String(sinceMs),
    ...(namespace === undefined ? {} : { namespace }),
  });
}

/**
 * The socket of the control plane of a state directory. Error: WEFT_ADMIN.
 * @param state of the control plane, or of a testbed
 * @param does what is asked, for the error
 */
export function controlSocketOf(state: string, does: string): string {
  const sockets = [join(state, 'control', controlSocketName), join(state, controlSocketName)];
  const socket = sockets.find((one) => existsSync(one));
  if (socket === undefined)
    throw noAnswer(
      does,
      `there is no ${sockets[0]}: start a testbed (weft standalone up), pass the state directory of a running control plane with --state, or set KUBECONFIG for a cluster`,
    );
  return socket;
}

/**
 * The answer of the control plane of a state directory. Errors: WEFT_ADMIN.
 * @param state of the control plane, or of a testbed
 */
export async function askState<T>(state: string, question: ControlQuestion<T>): Promise<T> {
  const { does, resource, query, parameters = {} } = question;
  const socket = controlSocketOf(state, does);
  try {
    const search = new URLSearchParams([...stateQuery(query), ...Object.entries(parameters)]);
    const text = await getThroughSocket(socket, `/${resource}?${search}`);
    return answerTo(question, JSON.parse(text) as unknown, resource);
  } catch (error) {
    throw error instanceof WeftError ? error : noAnswer(does, errorText(error));
  }
}

/** What to do about a response of the API server that has no list. */
function refusalOf<T>(error: ApiError, { does, resource, query }: ControlQuestion<T>): WeftError {
  const { group, version } = observeApi;
  const { message, status } = error;
  const { namespace } = query;
  const apiService = `kubectl get apiservice ${version}.${group}`;
  if (status === 403)
    return new WeftError(
      'WEFT_ADMIN',
      `${message}: reading needs the right to list ${resource}.${group}, which ClusterRole weft-edges-reader has; ` +
        (namespace === undefined
          ? 'bind it in the cluster, or give -n and a namespace in which you have it'
          : `bind it in namespace ${namespace}`),
      { cause: error },
    );
  if (status === 404)
    return noAnswer(
      does,
      `the cluster does not serve ${resource}.${group}: is Weft installed in this version, and the value observe.api of its chart true? (${apiService})`,
    );
  if (status === 503) return noAnswer(does, `${message}: ${apiService} says why`);
  return error;
}

/**
 * The answer of all replicas of a cluster's control plane, as far as the caller may read it: the API server authenticates and authorizes the user of
 * the kubeconfig, whatever credential it has. Errors: WEFT_ADMIN, ApiError.
 */
export async function askCluster<T>(config: KubeConfig, question: ControlQuestion<T>): Promise<T> {
  const { resource, query, parameters = {} } = question;
  const { namespace, sinceMs } = query;
  const search = new URLSearchParams({ sinceMs: String(Math.max(0, Math.floor(sinceMs))), ...parameters });
  const within = namespace === undefined ? '' : `namespaces/${encodeURIComponent(namespace)}/`;
  const path = `/apis/${observeApi.group}/${observeApi.version}/${within}${resource}?${search}`;
  let list: unknown;
  try {
    list = await requestJson(config, 'GET', path);
  } catch (error) {
    throw error instanceof ApiError ? refusalOf(error, question) : error;
  }
  return answerTo(question, list, 'items');
}

/** The answer of the mesh that a command is about. Errors: those of askCluster or askState. */
export const askMesh = async <T>(flags: MeshFlags, question: ControlQuestion<T>): Promise<T> =>
  isOfCluster(flags) ? askCluster(await loadKubeConfig(), question) : askState(stateOf(flags), question);
