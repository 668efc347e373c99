/** Reads edges from the control plane. */
import type { KubeConfig } from '@kubernetes/client-node';
import { isRecord } from '../../base/record.js';
import type { EdgeAnswer, EdgeQuery } from '../../model/edge.js';
import { askCluster, askState, type ControlQuestion } from '../control-admin.js';

function questionOf({ namespace, sinceMs }: EdgeQuery): ControlQuestion<EdgeAnswer> {
  const query = new URLSearchParams({
    sinceMs: String(sinceMs),
    ...(namespace === undefined ? {} : { namespace }),
  });
  return {
    does: 'say who called whom',
    path: `/edges?${query}`,
    read: (value) =>
      isRecord(value) && Array.isArray(value['edges']) ? (value as unknown as EdgeAnswer) : undefined,
  };
}

/**
 * The edges that the control plane of a state directory has. Errors: WEFT_ADMIN.
 * @param state of the control plane, or of a testbed
 */
export const readEdges = (state: string, query: EdgeQuery): Promise<EdgeAnswer> =>
  askState(state, questionOf(query));

/** The edges that all replicas of a cluster's control plane have. Errors: WEFT_ADMIN, ApiError. */
export const readClusterEdges = (
  config: KubeConfig,
  systemNamespace: string,
  query: EdgeQuery,
): Promise<EdgeAnswer> => askCluster(config, systemNamespace, questionOf(query));
