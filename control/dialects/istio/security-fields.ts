/** What Weft does with the fields of Istio's security kinds. */
import type { AuthorizationPolicySpec } from '../../objects/istio-security.js';
import { closes, differs, nothing, usedFields, works, type FieldTable, type UsedField } from '../fields.js';

const ofTokens = differs(
  'a waypoint compares it with the token that it has validated; without a waypoint, an ALLOW with it allows nothing, and a DENY denies all that its other conditions match',
);
const ofPrincipals = differs(
  'a waypoint compares it with the token that it has validated; without a waypoint, an ALLOW with it allows nothing, and a DENY denies all that its other conditions match; principals of more than 6 issuers in a negation close the item',
);
const ofForwarded = differs(
  'the address through as many proxies as the waypoint trusts; without a waypoint, an ALLOW with it allows nothing, and a DENY denies all that its other conditions match',
);

const ofServerNames = differs(
  'a waypoint compares it with the ClientHello of connections that are not HTTP; a DENY with it denies connections without a readable name, too, such as plain HTTP; without a waypoint, an ALLOW with it allows nothing, and a DENY denies all that its other conditions match',
);

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
    'externalAuthorization of a TrafficPolicy, or ALLOW or DENY',
  ),
  provider: closes('there are no extension providers'),
  'provider.name': closes('there are no extension providers'),
  rules: works,
  'rules[]': works,
  'rules[].from[].source.principals': behindWaypoint,
  'rules[].from[].source.notPrincipals': behindWaypoint,
  'rules[].from[].source.requestPrincipals': ofPrincipals,
  'rules[].from[].source.notRequestPrincipals': ofPrincipals,
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
  'rules[].from[].source.remoteIpBlocks': ofForwarded,
  'rules[].from[].source.notRemoteIpBlocks': ofForwarded,
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
  'rules[].when[].key=remote.ip': ofForwarded,
  'rules[].when[].key=connection.sni': ofServerNames,
  'rules[].when[].key=request.auth.principal': ofPrincipals,
  'rules[].when[].key=request.auth.audiences': ofTokens,
  'rules[].when[].key=request.auth.presenter': ofTokens,
  'rules[].when[].key=request.auth.claims[NAME]': ofTokens,
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

export const requestAuthenticationFields: FieldTable = {
  ...targets,
  'jwtRules[].issuer': works,
  'jwtRules[].audiences': works,
  'jwtRules[].jwksUri': differs(
    'the control plane fetches it; http:// and addresses that are not public are refused unless its flags allow them; redirects are not followed',
  ),
  'jwtRules[].jwks_uri': differs('as jwksUri'),
  'jwtRules[].jwks': differs(
    'weak and symmetric keys are not used, and a set with a private key has no keys',
  ),
  'jwtRules[].timeout': nothing('keys are fetched by the control plane, within 5 s'),
  'jwtRules[].forwardOriginalToken': works,
  'jwtRules[].spaceDelimitedClaims': works,
  'jwtRules[].presence': differs('a request needs a valid token of each issuer whose rule says REQUIRED'),
  'jwtRules[].fromHeaders': works,
  'jwtRules[].fromHeaders[].name': works,
  'jwtRules[].fromHeaders[].prefix': works,
  'jwtRules[].fromParams': works,
  'jwtRules[].fromCookies': works,
  'jwtRules[].outputPayloadToHeader': works,
  'jwtRules[].outputClaimToHeaders': works,
  'jwtRules[].outputClaimToHeaders[].header': works,
  'jwtRules[].outputClaimToHeaders[].claim': works,
};
