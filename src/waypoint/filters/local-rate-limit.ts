import type { LocalRateLimitFilter } from '../../discovery/gen/weft.js';
import type { FilterKind } from './filter.js';

export const localRateLimit: FilterKind<LocalRateLimitFilter> = {
  stage: 'local-rate-limit',
  compile() {
    throw new Error('this filter is not built yet');
  },
};
