/** Reads edges from the control plane: by the socket in its state directory, or on a cluster by the API server, which authorizes the caller. */
import { existsSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText, WeftError } from '../../base/errors.js';
import { isRecord } from '../../base/record.js';
import { ApiError, requestJson } from '../../kubernetes/request.js';
import { controlSocketName } from '../../model/control-socket.js';
import { edgesApi, type Edge, type EdgeAnswer, type EdgeQuery } from '../../model/edge.js';

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
      `there is no ${sockets[0]}: start a testbed (weft standalone up), pass the state directory of a running control plane with --state, or set KUBECONFIG for a cluster`,
    );
  try {
    return answerOf(await getThroughSocket(socket, pathOf(query)));
  } catch (error) {
    throw error instanceof WeftError ? error : noAnswer(errorText(error));
  }
}

/** What to do about a response of the API server that has no edges. */
function refusalOf(error: ApiError, { namespace }: EdgeQuery): WeftError {
  const { group, version, resource } = edgesApi;
  const { message, status } = error;
  const apiService = `kubectl get apiservice ${version}.${group}`;
  if (status === 403)
    return new WeftError(
      'WEFT_ADMIN',
      `${message}: reading needs the right to list ${resource}.${group}, which ClusterRole weft-edges-reader has; ` +
        (namespace === undefined
          ? 'bind it in the cluster, or give -n and a namespace in which you have it'
          : `bind it in namespace ${namespace}`),
    );
  if (status === 404)
    return noAnswer(
      `the cluster does not serve ${group}: is Weft installed, and the value observe.api of its chart true? (${apiService})`,
    );
  if (status === 503) return noAnswer(`${message}: ${apiService} says why`);
  return error;
}

/**
 * The edges that all replicas of a cluster's control plane have, as far as the caller may read them: the API server authenticates and authorizes
 * the user of the kubeconfig, whatever credential it has. Errors: WEFT_ADMIN, ApiError.
 */
export async function readClusterEdges(config: KubeConfig, query: EdgeQuery): Promise<EdgeAnswer> {
  const { namespace, sinceMs } = query;
  const within = namespace === undefined ? '' : `namespaces/${encodeURIComponent(namespace)}/`;
  const path = `/apis/${edgesApi.group}/${edgesApi.version}/${within}${edgesApi.resource}?sinceMs=${Math.max(0, Math.floor(sinceMs))}`;
  let list: unknown;
  try {
    list = await requestJson(config, 'GET', path);
  } catch (error) {
    throw error instanceof ApiError ? refusalOf(error, query) : error;
  }
  if (!isRecord(list) || !Array.isArray(list['items']) || typeof list['sinceMs'] !== 'number')
    throw noAnswer('its response has no list of edges');
  const missing = Array.isArray(list['missing']) ? list['missing'].map(String) : [];
  return { edges: list['items'] as readonly Edge[], sinceMs: list['sinceMs'], missing };
}
