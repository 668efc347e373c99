/** What Weft does with the fields of Istio's security kinds. */
import type { AuthorizationPolicySpec } from '../../objects/istio-security.js';
import { closes, differs, nothing, usedFields, works, type FieldTable, type UsedField } from '../fields.js';

const noTokens = 'tokens are not validated, so that no request has a verified one';
const noForwarded =
  'no header of a client is believed for its address; the address of the connection is compared by ipBlocks and source.ip';

/** In Istio, a pod behind a waypoint sees the waypoint. */
const behindWaypoint = differs(
  'behind a waypoint, the client is compared at the pod as well, not the waypoint: a rule for the principal of the waypoint alone allows nobody',
);

const reference = (at: string): FieldTable => ({
  [`${at}.group`]: works,
  [`${at}.kind`]: works,
  [`${at}.kind=Gateway`]: differs(
    'a Gateway that is no waypoint of Weft, such as an ingress, enforces nothing; the status says so',
  ),
  [`${at}.kind=ServiceEntry`]: differs(
    'its waypoint enforces the policy; without one (external.md) connections are not authorized, and the status says so',
  ),
  [`${at}.kind=GatewayClass`]: differs('istio-waypoint stands for every waypoint of Weft'),
  [`${at}.name`]: works,
  [`${at}.namespace`]: closes('only the own namespace can be targeted, as in Istio'),
});
const targets: FieldTable = {
  'selector.matchLabels': works,
  'selector.matchLabels{}': works,
  targetRef: works,
  ...reference('targetRef'),
  targetRefs: works,
  ...reference('targetRefs[]'),
};

export const authorizationPolicyFields: FieldTable = {
  ...targets,
  action: works,
  'action=AUDIT': differs(
    'a request that matches is recorded like a denial in audit mode (weft_audited_total); nothing is refused',
  ),
  'action=CUSTOM': closes(
    'there are no extension providers: requests that its rules match are denied',
    'ALLOW or DENY',
  ),
  provider: closes('there are no extension providers'),
  'provider.name': closes('there are no extension providers'),
  rules: works,
  'rules[]': works,
  'rules[].from[].source.principals': behindWaypoint,
  'rules[].from[].source.notPrincipals': behindWaypoint,
  'rules[].from[].source.requestPrincipals': closes(noTokens),
  'rules[].from[].source.notRequestPrincipals': closes(noTokens),
  'rules[].from[].source.namespaces': works,
  'rules[].from[].source.notNamespaces': works,
  'rules[].from[].source.serviceAccounts': works,
  'rules[].from[].source.notServiceAccounts': works,
  'rules[].from[].source.trustDomains': differs(
    'a value that begins with *, or principals beside it, close the source',
  ),
  'rules[].from[].source.notTrustDomains': differs('a value that begins with * closes the source'),
  'rules[].from[].source.ipBlocks': works,
  'rules[].from[].source.notIpBlocks': works,
  'rules[].from[].source.remoteIpBlocks': closes(noForwarded, 'ipBlocks'),
  'rules[].from[].source.notRemoteIpBlocks': closes(noForwarded, 'notIpBlocks'),
  'rules[].to[].operation.hosts': differs(
    'a value without a port matches whatever port the client sends; without a waypoint, a DENY with it denies all that its other conditions match',
  ),
  'rules[].to[].operation.notHosts': differs('a value without a port matches whatever port the client sends'),
  'rules[].to[].operation.ports': works,
  'rules[].to[].operation.notPorts': works,
  'rules[].to[].operation.methods': differs(
    '* at one end of a method closes the operation; without a waypoint, a DENY with it denies all that its other conditions match',
  ),
  'rules[].to[].operation.notMethods': differs('a value with * closes the operation'),
  'rules[].to[].operation.paths': differs(
    'paths are compared as requests are normalized, in every reading of the endpoints; a value that no request can have, or {**} before the end, closes the operation; without a waypoint, a DENY with it denies all that its other conditions match',
  ),
  'rules[].to[].operation.notPaths': differs(
    'paths are compared as requests are normalized, in every reading of the endpoints',
  ),
  'rules[].when[].key': works,
  'rules[].when[].values': works,
  'rules[].when[].notValues': works,
  'rules[].when[].key=request.headers[NAME]': differs(
    'without a waypoint, a DENY with it denies all that its other conditions match',
  ),
  'rules[].when[].key=source.ip': works,
  'rules[].when[].key=source.namespace': works,
  'rules[].when[].key=source.principal': behindWaypoint,
  'rules[].when[].key=source.serviceAccount': works,
  'rules[].when[].key=destination.ip': works,
  'rules[].when[].key=destination.port': works,
  'rules[].when[].key=remote.ip': closes(noForwarded, 'source.ip'),
  'rules[].when[].key=connection.sni': closes(
    'the name of a TLS handshake is not compared by policies',
    'destination.port or hosts',
  ),
  'rules[].when[].key=request.auth.principal': closes(noTokens),
  'rules[].when[].key=request.auth.audiences': closes(noTokens),
  'rules[].when[].key=request.auth.presenter': closes(noTokens),
  'rules[].when[].key=request.auth.claims[NAME]': closes(noTokens),
  'rules[].when[].key=experimental.envoy.filters.NAME': closes(
    'there is no Envoy whose metadata could be read',
  ),
};

/** The fields that a policy uses, with keys of `when` as the table has them. */
export const usedAuthorizationFields = ({ rules, ...spec }: AuthorizationPolicySpec): UsedField[] =>
  usedFields(
    {
      ...spec,
      ...(rules === undefined
        ? {}
        : {
            rules: rules.map(({ when, ...rule }) => ({
              ...rule,
              ...(when === undefined
                ? {}
                : { when: when.map(({ key, ...one }) => ({ ...one, key: keyEntry(key) })) }),
            })),
          }),
    },
    authorizationPolicyFields,
  ).filter(
    // A method without * is one: the difference is about others, and about a DENY.
    ({ entry, value }) =>
      !entry.startsWith('rules[].to[].operation.methods') ||
      (spec.action ?? 'ALLOW') !== 'ALLOW' ||
      String(value).includes('*'),
  );
const keyEntry = (key: string): string =>
  key
    .replace(/^experimental\.envoy\.filters\..*/, 'experimental.envoy.filters.NAME')
    .replace(/\[.*\]$/, '[NAME]');

export const peerAuthenticationFields: FieldTable = {
  'selector.matchLabels': works,
  'selector.matchLabels{}': works,
  mtls: works,
  'mtls.mode': works,
  'mtls.mode=DISABLE': differs('as PERMISSIVE: connections between nodes of the mesh stay encrypted'),
  portLevelMtls: works,
  'portLevelMtls{}': works,
  'portLevelMtls{}.mode': works,
  'portLevelMtls{}.mode=DISABLE': differs(
    'as PERMISSIVE: connections between nodes of the mesh stay encrypted',
  ),
};

const noJwt = 'tokens are not validated: requests that carry one are denied';
export const requestAuthenticationFields: FieldTable = {
  ...targets,
  jwtRules: closes(noJwt),
  'jwtRules[]': closes(noJwt),
  'jwtRules[].issuer': closes(noJwt),
  'jwtRules[].audiences': closes(noJwt),
  'jwtRules[].jwksUri': closes(noJwt),
  'jwtRules[].jwks_uri': closes(noJwt),
  'jwtRules[].jwks': closes(noJwt),
  'jwtRules[].timeout': nothing('no keys are fetched'),
  'jwtRules[].forwardOriginalToken': nothing('no request with a token is forwarded'),
  'jwtRules[].spaceDelimitedClaims': nothing('no claims are read'),
  'jwtRules[].presence': closes('without validated tokens, REQUIRED denies every request'),
  'jwtRules[].fromHeaders': closes('requests that have the header are denied, whatever its value is'),
  'jwtRules[].fromHeaders[].name': closes('requests that have the header are denied, whatever its value is'),
  'jwtRules[].fromHeaders[].prefix': closes(
    'requests that have the header are denied, whatever its value is',
  ),
  'jwtRules[].fromParams': closes('requests that have one of the query parameters are denied'),
  'jwtRules[].fromCookies': closes('requests with any cookie are denied'),
  'jwtRules[].outputPayloadToHeader': closes(
    'requests in which the client has set the header itself are denied',
  ),
  'jwtRules[].outputClaimToHeaders': closes(
    'requests in which the client has set the header itself are denied',
  ),
  'jwtRules[].outputClaimToHeaders[].header': closes(
    'requests in which the client has set the header itself are denied',
  ),
  'jwtRules[].outputClaimToHeaders[].claim': nothing('no claims are read'),
};
