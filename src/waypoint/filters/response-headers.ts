/** Changes header fields of responses (Gateway API, ResponseHeaderModifier). */
import type { HeaderFilter } from '../../discovery/gen/weft.js';
import type { FilterKind } from './filter.js';
import { changeHeaders, safeChange } from './header-mutation.js';

export const responseHeaders: FilterKind<HeaderFilter> = {
  stage: 'route',
  compile(config) {
    const change = safeChange(config, () => false);
    return { onResponse: (_request, { headers }) => changeHeaders(headers, change) };
  },
};
