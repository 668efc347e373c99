/** Reads edges from the control plane. */
import type { KubeConfig } from '@kubernetes/client-node';
import type { Edge, EdgeAnswer, EdgeQuery } from '../../model/edge.js';
import { askCluster, askState, type ControlQuestion } from '../control-admin.js';

const questionOf = (query: EdgeQuery): ControlQuestion<EdgeAnswer> => ({
  does: 'say who called whom',
  resource: 'edges',
  query,
  answer: ({ items, ...rest }) => ({ edges: items as readonly Edge[], ...rest }),
});

/**
 * The edges that the control plane of a state directory has. Errors: WEFT_ADMIN.
 * @param state of the control plane, or of a testbed
 */
export const readEdges = (state: string, query: EdgeQuery): Promise<EdgeAnswer> =>
  askState(state, questionOf(query));

/** The edges that all replicas of a cluster's control plane have, as far as the caller may read them. Errors: WEFT_ADMIN, ApiError. */
export const readClusterEdges = (config: KubeConfig, query: EdgeQuery): Promise<EdgeAnswer> =>
  askCluster(config, questionOf(query));
