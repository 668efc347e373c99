/** Annotations of HTTPRoutes and GRPCRoutes that turn on filters, for what the Gateway API has no field. */

/** The name of the waypoint in Via fields (RFC 9110, section 7.6.3). */
export const viaKey = 'weft.dev/via';
/** A name: a token, or host[:port]. */
export const viaPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,58}(?::\d{1,5})?$/;

/** `disabled`: the route's requests need no decision of a service, where the policy lets routes say so (docs/external-authorization.md). */
export const externalAuthorizationKey = 'weft.dev/external-authorization';

export const routeFilterKeys: readonly string[] = [viaKey, externalAuthorizationKey];
