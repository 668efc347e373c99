import type { FilterKinds } from './filter.js';

export const externalAuthorization: FilterKinds['externalAuthorization'] = {
  stage: 'external-authorization',
  compile() {
    throw new Error('not supported yet');
  },
};
