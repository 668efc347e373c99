import type { LoadSheddingFilter } from '../../discovery/gen/weft.js';
import type { FilterKind } from './filter.js';

export const loadShedding: FilterKind<LoadSheddingFilter> = {
  stage: 'load-shedding',
  compile() {
    throw new Error('this filter is not built yet');
  },
};
