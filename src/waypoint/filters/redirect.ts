/** The response of a redirect. */
import type { RouteFilter } from '../../model/route.js';
import type { RequestHead, ResponseHead } from '../http/http-stream.js';
import { changePath } from './rewrite.js';

export type RedirectFilter = Extract<RouteFilter, { kind: 'redirect' }>;

/** Gateway API, HTTPRequestRedirectFilter. `port`: that the request came to. */
export function redirectOf(
  head: RequestHead,
  filter: RedirectFilter,
  prefix: string | undefined,
  port: number,
): ResponseHead {
  const scheme = filter.scheme ?? head.scheme;
  const host = filter.hostname ?? head.authority.replace(/:\d*$/, '');
  const wellKnown = scheme === 'https' ? 443 : 80;
  // Without a port of its own: the scheme's where a scheme is named, else that of the listener, here the Service's.
  const to = filter.port ?? (filter.scheme === undefined ? port : wellKnown);
  const path = filter.path ? changePath(head.path, filter.path, prefix) : head.path;
  const location = `${scheme}://${host}${to === wellKnown ? '' : `:${to}`}${path}`;
  return { status: filter.statusCode, headers: ['location', location] };
}
