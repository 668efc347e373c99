import type { Edge, EdgeAnswer, EdgeQuery } from '../../model/edge.js';
import type { ControlQuestion } from '../control-admin.js';

/** The edges that the control plane has: of a cluster those of all replicas, as far as the caller may read them. */
export const edgesQuestion = (query: EdgeQuery): ControlQuestion<EdgeAnswer> => ({
  does: 'say who called whom',
  resource: 'edges',
  query,
  answer: ({ items, ...rest }) => ({ edges: items as readonly Edge[], ...rest }),
});
