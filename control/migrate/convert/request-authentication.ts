/** RequestAuthentication as AuthenticationPolicies of the Services whose pods it selects. What has no form is closed, and said. */
import { discoveryUri } from '../../jwks/uri.js';
import { fieldsOf, type Fields } from '../load.js';
import { scopeOf, type PolicyContext } from './authorization-policy.js';
import { refusedBecause, type Block } from './block.js';
import { Reader } from './reader.js';
import { serviceTarget } from './services.js';

/** Targets that one policy may have. */
const targetsMax = 16;

function placesOf(rule: Reader): Fields[] {
  const headers = rule.children('fromHeaders').map((one) => {
    const [name, prefix] = [one.text('name'), one.text('prefix')];
    return { header: { name, ...(prefix ? { prefix } : {}) } };
  });
  return [
    ...headers,
    ...rule.texts('fromParams').map((query) => ({ query })),
    ...rule.texts('fromCookies').map((cookie) => ({ cookie })),
  ];
}

/** An issuer of an AuthenticationPolicy; undefined: the rule has no form. */
function issuerOf(rule: Reader): Fields | undefined {
  const issuer = rule.text('issuer');
  if (issuer === undefined) return undefined;
  const [inline, uri, older] = [rule.text('jwks'), rule.text('jwksUri'), rule.text('jwks_uri')];
  const audiences = rule.texts('audiences');
  const from = placesOf(rule);
  const payloadHeader = rule.text('outputPayloadToHeader');
  const claimHeaders = rule.children('outputClaimToHeaders').map((one) => ({
    header: one.text('header'),
    claim: (one.text('claim') ?? '').split('.'),
  }));
  const spaceDelimitedClaims = rule.texts('spaceDelimitedClaims');
  rule.take('presence');
  return {
    issuer,
    ...(audiences.length > 0 ? { audiences } : {}),
    jwks: inline ? { inline } : { uri: uri ?? older ?? discoveryUri(issuer) },
    ...(from.length > 0 ? { from } : {}),
    ...(rule.flag('forwardOriginalToken') ? { forward: true } : {}),
    ...(claimHeaders.length > 0 ? { claimHeaders } : {}),
    ...(payloadHeader ? { payloadHeader } : {}),
    ...(spaceDelimitedClaims.length > 0 ? { spaceDelimitedClaims } : {}),
  };
}

/** The Services whose pods have these labels. */
function servicesOf(block: Block, namespace: string, labels: Fields, { services }: PolicyContext): string[] {
  return services.in(namespace).flatMap(({ name, selector }) => {
    if (Object.keys(selector).length === 0) return [];
    if (Object.entries(labels).some(([key, value]) => (selector[key] ?? value) !== value)) return [];
    if (Object.keys(labels).some((key) => selector[key] === undefined))
      block.differs(
        'selector',
        `Service ${name} may have pods without these labels: it is a target as a whole`,
      );
    return [name];
  });
}

const closed = (name: string, namespace: string, where: Fields): Fields => ({
  apiVersion: 'weft.dev/v1alpha1',
  kind: 'AccessPolicy',
  metadata: { name: `request-authentication-${name}`, namespace },
  spec: { action: 'DENY', ...where, rules: [{}] },
});

/** Writes the policies into the block, with a comment for each part that has no form. */
export function convertRequestAuthentication(block: Block, context: PolicyContext): void {
  const { name, namespace: own, value, errors } = block.source;
  const reader = new Reader(fieldsOf(value['spec']));
  const scope = scopeOf(block, reader, context);
  const rules = reader.children('jwtRules');
  if (!scope || (rules.length === 0 && errors.length === 0)) return;
  const { closes, ...where } = scope.fields as Fields & { closes?: true };
  const close = (namespace: string, why: string): void => {
    block.add(closed(name, namespace, where));
    block.lost('', `${why}: closed: all access is denied`);
  };
  const issuers = rules.flatMap((rule) => {
    rule.take('timeout');
    const made = issuerOf(rule);
    if (!made) {
      rule.takeAll();
      block.lost(rule.path, 'a rule without an issuer has no form: closed: its tokens are not valid');
    }
    return made ?? [];
  });
  const required = rules.filter(({ value: rule }) => rule['presence'] === 'REQUIRED').length;
  if (required > 0 && required < rules.length)
    block.differs('jwtRules[].presence', 'a token of any of the issuers meets REQUIRED');
  const others = context.sources.filter(
    (one) => one.kind === 'RequestAuthentication' && one.namespace === own && one.name !== name,
  );
  if (others.length > 0)
    block.differs(
      '',
      `one AuthenticationPolicy is in force at a Service: move the issuers of ${others.map((one) => one.name).join(', ')} into one if they are for the same Services`,
    );
  for (const namespace of scope.namespaces) {
    const [problem] = errors;
    if (problem !== undefined || closes || issuers.length === 0) {
      close(namespace, problem ?? 'it has no form');
      continue;
    }
    const targets =
      (where['targetRefs'] as readonly Fields[] | undefined) ??
      servicesOf(block, namespace, fieldsOf(fieldsOf(where['selector'])['matchLabels']), context).map(
        (service) => serviceTarget(service),
      );
    if (targets.length === 0) {
      close(namespace, 'no Service of its pods was given, and an AuthenticationPolicy is for Services');
      continue;
    }
    for (let at = 0; at < targets.length; at += targetsMax) {
      const policy: Fields = {
        apiVersion: 'weft.dev/v1alpha1',
        kind: 'AuthenticationPolicy',
        metadata: { name: at === 0 ? name : `${name}-${at / targetsMax + 1}`, namespace },
        spec: {
          targetRefs: targets.slice(at, at + targetsMax),
          jwt: { required: required > 0, issuers },
        },
      };
      const why = refusedBecause(policy);
      if (why === undefined) block.add(policy);
      else {
        close(namespace, why);
        break;
      }
    }
  }
  for (const path of reader.rest()) block.lost(path, 'an AuthenticationPolicy has nothing of the kind');
}
