/** Headers that a token may set. The control plane refuses the others in policies, and a waypoint refuses them again. Pure. */

/**
 * Fields that frame a message or belong to one connection, and those by which proxies tell who the client is: a token's issuer must not decide
 * about these.
 */
const reserved =
  /^(host|content-length|transfer-encoding|connection|te|upgrade|keep-alive|trailer|http2-settings|proxy-.*|forwarded|x-forwarded-.*|x-envoy-.*|x-weft-.*)$/;
/** The name of a field (RFC 9110, section 5.6.2). That of a pseudo-header has a colon. */
const fieldName = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;

/** The name of a header that a token may set, in lower case; undefined: it must not set this one. */
export function claimHeader(given: string): string | undefined {
  const name = given.toLowerCase();
  return fieldName.test(name) && !reserved.test(name) ? name : undefined;
}
