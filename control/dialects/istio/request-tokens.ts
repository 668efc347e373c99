/** RequestAuthentications as the filter of a Service's ports: which apply to it, and their issuers. Pure. */
import { labelsOf, namespaceOf, selects, type Labels } from '../../../src/model/labels.js';
import { errorText } from '../../../src/base/errors.js';
import type { JwtLocation } from '../../../src/discovery/gen/weft.js';
import {
  claimHeaderName,
  clockSkewMs,
  defaultLocations,
  type IssuerTemplate,
  type JwtTemplate,
  type KeySource,
} from '../../compile/jwt-filter.js';
import type { WaypointName } from '../../compile/waypoints.js';
import { readKeySet } from '../../jwks/key-set.js';
import { discoveryUri, uriProblem } from '../../jwks/uri.js';
import { isAudit } from '../../../src/model/object-settings.js';
import { auditedBy, type AuditLookup } from '../../compile/audit.js';
import { byAge } from '../../objects/age.js';
import type { JwtRule } from '../../objects/istio-security.js';
import type { IstioObject, ServedObject } from '../../objects/objects.js';
import type { Registry } from '../../registry/registry.js';
import { scopeOf, targetsWaypoint } from './security-scope.js';

type RequestAuthentication = IstioObject<'RequestAuthentication'>;

/** As in Istio: without keys and without a URI, the issuer says where its keys are (OpenID Connect Discovery). */
function keysOf({ issuer, jwks, jwksUri, jwks_uri: older }: JwtRule): KeySource {
  const none = (problem: string): KeySource => ({ kind: 'none', problem });
  if (issuer === undefined) return none('jwtRules without an issuer are not carried out: write the issuer');
  if (jwks !== undefined && jwks !== '')
    try {
      return { kind: 'inline', jwks: readKeySet(jwks).jwks };
    } catch (error) {
      return none(`jwks: ${errorText(error)}`);
    }
  const uri = jwksUri ?? older ?? discoveryUri(issuer);
  const problem = uriProblem(uri);
  return problem === undefined
    ? { kind: 'uri', uri }
    : none(jwksUri === undefined && older === undefined ? 'give jwks or jwksUri' : `jwksUri: ${problem}`);
}

function locationsOf({ fromHeaders = [], fromParams = [], fromCookies = [] }: JwtRule): JwtLocation[] {
  const given: JwtLocation[] = [
    ...fromHeaders.map(({ name, prefix = '' }): JwtLocation => ({
      place: { $case: 'header', value: { name: name.toLowerCase(), prefix } },
    })),
    ...fromParams.map((value): JwtLocation => ({ place: { $case: 'query', value } })),
    ...fromCookies.map((value): JwtLocation => ({ place: { $case: 'cookie', value } })),
  ];
  return given.length > 0 ? given : [...defaultLocations];
}

function issuerOf(rule: JwtRule, at: string): IssuerTemplate {
  return {
    issuer: rule.issuer ?? '',
    audiences: [...(rule.audiences ?? [])],
    keys: keysOf(rule),
    locations: locationsOf(rule),
    clockSkewMs,
    forward: rule.forwardOriginalToken ?? false,
    claimHeaders: (rule.outputClaimToHeaders ?? []).map(({ header, claim }) => ({
      header: claimHeaderName(`${at}.outputClaimToHeaders`, header),
      // As Envoy reads it.
      claim: claim.split('.'),
    })),
    payloadHeader: rule.outputPayloadToHeader
      ? claimHeaderName(`${at}.outputPayloadToHeader`, rule.outputPayloadToHeader)
      : '',
    spaceDelimitedClaims: [...(rule.spaceDelimitedClaims ?? [])],
  };
}

/** Objects are replaced and never changed. */
const known = new WeakMap<RequestAuthentication, readonly IssuerTemplate[]>();

/** The issuers of an object. Error: the field that cannot be read. */
export function issuersOf(object: RequestAuthentication): readonly IssuerTemplate[] {
  let found = known.get(object);
  if (!found) {
    const rules = object.invalid === undefined ? (object.spec.jwtRules ?? []) : [];
    known.set(object, (found = rules.map((rule, index) => issuerOf(rule, `jwtRules[${index}]`))));
  }
  return found;
}

/** The labels of the pods of a Service. Endpoints of other hosts have no pod. */
function podLabelsOf(service: ServedObject, registry: Lookup): readonly Labels[] {
  if (service.kind !== 'Service') return [];
  const namespace = namespaceOf(service);
  return [...registry.indexes.Pod.in(namespace), ...registry.indexes.Workload.in(namespace)]
    .map(labelsOf)
    .filter((labels) => selects(service.spec.selector, labels));
}

type Lookup = Pick<Registry, 'indexes' | 'rootNamespace' | 'gateway'>;

const isTargeted = (
  { kind, metadata: { name } }: ServedObject,
  { services, serviceEntries }: NonNullable<ReturnType<typeof scopeOf>['targets']>,
): boolean =>
  (kind === 'Service' && services.includes(name)) ||
  (kind === 'ServiceEntry' && serviceEntries.includes(name));

/** The RequestAuthentications for the requests to a host, the oldest first. */
function requestAuthenticationsOf(
  service: ServedObject,
  waypoint: WaypointName,
  registry: Lookup,
): RequestAuthentication[] {
  const namespace = namespaceOf(service);
  const namespaces = new Set([namespace, waypoint.namespace, registry.rootNamespace]);
  // Found once for all objects: a namespace may have many of them, and many pods.
  let pods: readonly Labels[] | undefined;
  const hasSelected = (selector: Labels | undefined): boolean =>
    service.kind === 'Service' &&
    (!selector || (pods ??= podLabelsOf(service, registry)).some((labels) => selects(selector, labels)));
  return [...namespaces]
    .flatMap((one) => registry.indexes.RequestAuthentication.in(one))
    .filter((object) => {
      if (issuersOf(object).length === 0) return false;
      const own = namespaceOf(object);
      const scope = scopeOf(object);
      if (scope.targets)
        return (
          (own === namespace && isTargeted(service, scope.targets)) ||
          targetsWaypoint(object, scope, waypoint, registry)
        );
      return (own === namespace || own === registry.rootNamespace) && hasSelected(scope.selector);
    })
    .sort(byAge);
}

/** Whether an object's own annotation puts it in audit mode, as the label of the same name does a namespace. Istio has none for this kind. */
export const hasAuditAnnotation = ({ invalid, metadata }: RequestAuthentication): boolean =>
  invalid === undefined && isAudit(metadata.annotations ?? {});

/** Whether an object refuses nothing, because of its own annotation, its namespace or the mesh. One that cannot be read always refuses. */
export const isTried = (object: RequestAuthentication, lookup: AuditLookup): boolean =>
  hasAuditAnnotation(object) ||
  (object.invalid === undefined && auditedBy(namespaceOf(object), lookup) !== undefined);

/**
 * The filters of a Service's ports. All objects apply together: a token of any of their issuers is valid. Objects in audit mode refuse
 * nothing by themselves: what they would refuse is recorded by a filter in dry run. Beside objects that are enforced, tokens of their
 * issuers stay valid, because what passed before must pass in audit mode, too.
 */
export function requestTokens(
  service: ServedObject,
  waypoint: WaypointName,
  registry: Lookup & AuditLookup,
): readonly JwtTemplate[] {
  const objects = requestAuthenticationsOf(service, waypoint, registry);
  const tried = objects.filter((one) => isTried(one, registry));
  const enforced = objects.filter((one) => !tried.includes(one));
  const of = (named: readonly RequestAuthentication[], dryRun: boolean): JwtTemplate => ({
    name: `RequestAuthentication ${named.map((one) => `${namespaceOf(one)}/${one.metadata.name}`).join(', ')}`,
    issuers: objects.flatMap(issuersOf),
    required: named.some(({ spec }) => (spec.jwtRules ?? []).some(({ presence }) => presence === 'REQUIRED')),
    dryRun,
  });
  return [
    ...(enforced.length > 0 ? [of(enforced, false)] : []),
    ...(tried.length > 0 ? [of(tried, true)] : []),
  ];
}
