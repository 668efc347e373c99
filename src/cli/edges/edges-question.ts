import type { Edge, EdgeAnswer, EdgeQuery } from '../../model/edge.js';
import { bySlotParameter } from '../../model/observe-api.js';
import type { ControlQuestion } from '../control-admin.js';

/** The edges that the control plane has: of a cluster those of all replicas, as far as the caller may read them. */
export const edgesQuestion = ({ isBySlot = false, ...query }: EdgeQuery): ControlQuestion<EdgeAnswer> => ({
  does: 'say who called whom',
  resource: 'edges',
  query,
  ...(isBySlot ? { parameters: { [bySlotParameter]: 'true' } } : {}),
  answer: ({ items, ...rest }) => ({ edges: items as readonly Edge[], ...rest }),
});
