import type { GlobalRateLimitFilter } from '../../discovery/gen/weft.js';
import type { FilterKind } from './filter.js';

export const globalRateLimit: FilterKind<GlobalRateLimitFilter> = {
  stage: 'global-rate-limit',
  compile() {
    throw new Error('this filter is not built yet');
  },
};
