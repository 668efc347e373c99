/** A tap through the API server of a cluster, which authenticates and authorizes the user of the kubeconfig, whatever credential it has. */
import type { IncomingMessage } from 'node:http';
import { WeftError } from '../../base/errors.js';
import { loadKubeConfig } from '../../kubernetes/config.js';
import { ApiError, requestStream } from '../../kubernetes/request.js';
import { observeApi, tapResource } from '../../model/observe-api.js';
import { tapParameters, type TapLine, type TapQuery } from '../../model/tap.js';
import { noTap, tapLines } from './tap-lines.js';

function refusalOf({ message, status }: ApiError, namespace: string | undefined): WeftError | undefined {
  const { group, version } = observeApi;
  const apiService = `kubectl get apiservice ${version}.${group}`;
  if (status === 403)
    return new WeftError(
      'WEFT_ADMIN',
      `${message}: a tap needs the right to watch ${tapResource}.${group}, which ClusterRole weft-tap-reader has; ` +
        (namespace === undefined
          ? 'bind it in the cluster, or give -n and a namespace in which you have it'
          : `bind it in namespace ${namespace}`),
    );
  if (status === 404)
    return noTap(
      `the cluster does not serve ${tapResource}.${group}: is Weft installed in this version, and the value observe.api of its chart true? (${apiService})`,
    );
  if (status === 429) return noTap(message);
  return status === 503 ? noTap(`${message}: ${apiService} says why`) : undefined;
}

/** Errors: WEFT_ADMIN, ApiError. */
export async function* clusterTap(query: TapQuery, signal: AbortSignal): AsyncGenerator<TapLine> {
  const config = await loadKubeConfig();
  const { namespace } = query.filter;
  const within = namespace === undefined ? '' : `namespaces/${encodeURIComponent(namespace)}/`;
  const parameters = tapParameters(query);
  // A request that is no watch ends after a minute.
  parameters.set('watch', 'true');
  const path = `/apis/${observeApi.group}/${observeApi.version}/${within}${tapResource}?${parameters}`;
  if (signal.aborted) return;
  let response: IncomingMessage;
  try {
    response = await requestStream(config, path, signal);
  } catch (error) {
    if (signal.aborted) return;
    throw (error instanceof ApiError && refusalOf(error, namespace)) || error;
  }
  yield* tapLines(response, signal);
}
