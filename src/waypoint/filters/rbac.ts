/**
 * The policies of the Service that the client dialed (Envoy: RBAC filter), evaluated for the request as the client sent it. The policies of
 * the endpoint are evaluated when one is chosen (exchange/router.ts).
 */
import type { Filter, StagedFilter } from './filter.js';

const filter: Filter = {
  onRequest({ authorization }) {
    const reply = authorization.ofService();
    return reply && { kind: 'reply', reply };
  },
};

export const rbac: StagedFilter = { stage: 'rbac', filter };
