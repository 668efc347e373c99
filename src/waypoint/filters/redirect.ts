/** Responds with a redirect (Gateway API, HTTPRequestRedirectFilter). */
import type { RedirectFilter } from '../../discovery/gen/weft.js';
import type { RequestHead, ResponseHead } from '../http/http-stream.js';
import { isHost } from './config-values.js';
import type { FilterKind } from './filter.js';
import { changePath, safePathChange } from './path-change.js';

export const redirect: FilterKind<RedirectFilter> = {
  stage: 'route',
  compile({ scheme, hostname, port, path, statusCode }) {
    if (statusCode < 300 || statusCode > 399) throw new Error(`redirect with status ${statusCode}`);
    if (port > 65535) throw new Error(`port ${port} is out of range`);
    const filter: RedirectFilter = {
      scheme: /^[a-z][a-z0-9+.-]*$/i.test(scheme) ? scheme : '',
      hostname: isHost(hostname) ? hostname : '',
      port,
      path: safePathChange(path),
      statusCode,
    };
    return {
      onRequest: ({ downstream, matchedPrefix, dialedPort }) => ({
        kind: 'response',
        head: redirectOf(downstream.head, filter, matchedPrefix, dialedPort),
      }),
    };
  },
};

/** `prefix`: the path prefix that the rule matched by. `port`: the port that the client dialed. */
export function redirectOf(
  head: RequestHead,
  filter: RedirectFilter,
  prefix: string | undefined,
  port: number,
): ResponseHead {
  const scheme = filter.scheme || head.scheme;
  const host = filter.hostname || head.authority.replace(/:\d*$/, '');
  const wellKnown = scheme === 'https' ? 443 : 80;
  // The default port is the scheme's if the filter names a scheme, else the listener's, which is the Service's port here.
  const to = filter.port || (filter.scheme === '' ? port : wellKnown);
  const path = filter.path ? changePath(head.path, filter.path, prefix) : head.path;
  const location = `${scheme}://${host}${to === wellKnown ? '' : `:${to}`}${path}`;
  return { status: filter.statusCode, headers: ['location', location] };
}
