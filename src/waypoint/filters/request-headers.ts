/** Changes header fields of requests (Gateway API, RequestHeaderModifier). */
import type { HeaderFilter } from '../../discovery/gen/weft.js';
import { removeHeader } from '../http/headers.js';
import { isHost } from './config-values.js';
import type { FilterKind } from './filter.js';
import { restoreForwarding } from './forwarding-headers.js';
import { changeHeaders, safeChange } from './header-mutation.js';

export const requestHeaders: FilterKind<HeaderFilter> = {
  stage: 'route',
  compile(config) {
    const change = safeChange(config, isHost);
    const host = change.set.find(({ name }) => name === 'host')?.value;
    return {
      onRequest({ downstream: { head }, client, authorization }) {
        authorization.saveHeaders();
        if (host !== undefined) head.authority = host;
        changeHeaders(head.headers, change);
        removeHeader(head.headers, 'host');
        restoreForwarding(head.headers, client);
        return undefined;
      },
    };
  },
};
