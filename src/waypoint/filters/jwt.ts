import type { FilterKinds } from './filter.js';

export const jwt: FilterKinds['jwt'] = {
  stage: 'authentication',
  compile() {
    throw new Error('not supported yet');
  },
};
