import type { FaultFilter } from '../../discovery/gen/weft.js';
import type { FilterKind } from './filter.js';

export const fault: FilterKind<FaultFilter> = {
  stage: 'fault-injection',
  compile() {
    throw new Error('this filter is not built yet');
  },
};
