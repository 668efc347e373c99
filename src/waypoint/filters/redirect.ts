/** The response of a redirect filter. */
import type { RouteFilter } from '../../model/route.js';
import type { RequestHead, ResponseHead } from '../http/http-stream.js';
import { changePath } from './rewrite.js';

export type RedirectFilter = Extract<RouteFilter, { kind: 'redirect' }>;

/** Gateway API, HTTPRequestRedirectFilter. `prefix`: the path prefix that the rule matched by. `port`: the port that the client dialed. */
export function redirectOf(
  head: RequestHead,
  filter: RedirectFilter,
  prefix: string | undefined,
  port: number,
): ResponseHead {
  const scheme = filter.scheme ?? head.scheme;
  const host = filter.hostname ?? head.authority.replace(/:\d*$/, '');
  const wellKnown = scheme === 'https' ? 443 : 80;
  // The default port is the scheme's if the filter names a scheme, else the listener's, which is the Service's port here.
  const to = filter.port ?? (filter.scheme === undefined ? port : wellKnown);
  const path = filter.path ? changePath(head.path, filter.path, prefix) : head.path;
  const location = `${scheme}://${host}${to === wellKnown ? '' : `:${to}`}${path}`;
  return { status: filter.statusCode, headers: ['location', location] };
}
