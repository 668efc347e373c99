/**
 * Validates JSON Web Tokens (RFC 7519; Envoy: JWT authentication filter). The claims of a valid token reach the policies that the request is
 * authorized by, and as headers the endpoint. The client learns that its token is not valid, never why.
 */
import type { JwtFilter } from '../../discovery/gen/weft.js';
import { FieldNames } from '../http/field-names.js';
import type { Headers } from '../http/headers.js';
import type { LocalReply } from '../http/local-reply.js';
import type { TokenPlace } from '../jwt/extract.js';
import { compileIssuer, type Issuer, type Refused, type ValidToken } from '../jwt/issuer.js';
import type { JwtResult, ResultCounts } from '../jwt/jwt-counts.js';
import { isVerifiedBy, JwtTokens, type KnownToken } from '../jwt/jwt-tokens.js';
import type { DecodedToken } from '../jwt/token.js';
import type { TrafficAction } from '../telemetry/request-record.js';
import {
  Slot,
  type FilteredRequest,
  type FilterKind,
  type FilterResponse,
  type FilterResult,
} from './filter.js';

export const jwt: FilterKind<JwtFilter> = {
  stage: 'authentication',
  compile: compileJwt,
};

/** A policy that acts has accepted a token of the request. */
const hasToken = new Slot<true>();

/** Issuers of a policy. */
const issuersMax = 100;

/** A token that one of the policy's issuers may have issued. */
interface Presented {
  readonly token: string;
  readonly digest: string;
  readonly known: KnownToken;
}
type Decision =
  | { readonly kind: 'valid'; readonly issuer: Issuer; readonly valid: ValidToken }
  | { readonly kind: 'missing' | 'busy'; readonly issuer?: Issuer }
  | ({ readonly kind: 'refused'; readonly issuer?: Issuer | undefined } & Refused);

function compileJwt({
  name,
  issuers: configured,
  required,
  dryRun,
}: JwtFilter): ReturnType<typeof jwt.compile> {
  if (configured.length > issuersMax) throw new Error(`${name} has more than ${issuersMax} issuers`);
  const issuers = configured.map(compileIssuer);
  /** A name may be there several times, for instance with other audiences: the first that accepts a token decides. */
  const byName = new Map<string, Issuer[]>();
  for (const issuer of issuers) byName.set(issuer.name, [...(byName.get(issuer.name) ?? []), issuer]);
  /** Each place once, with the issuers whose tokens may be there. */
  const places = new Map<string, { readonly place: TokenPlace; readonly issuers: Set<Issuer> }>();
  for (const issuer of issuers)
    for (const place of issuer.places) {
      const known = places.get(place.name);
      if (known) known.issuers.add(issuer);
      else places.set(place.name, { place, issuers: new Set([issuer]) });
    }
  const prefixLength = ({ place }: { place: TokenPlace }): number => place.header?.prefixLength ?? 0;
  const placeList = [...places.values()].sort((a, b) => prefixLength(b) - prefixLength(a));
  const ownHeaders = new FieldNames(issuers.flatMap(({ headerNames }) => headerNames));
  const action: TrafficAction = { feature: 'jwt', mode: dryRun ? 'would' : 'did', policy: name };
  // The filter belongs to one Service port. This is only a shortcut to the counts, which are in the worker's context.
  let countedIn: JwtTokens | undefined;
  let countsOf = new Map<string, ResultCounts>();

  return { onRequest };

  function onRequest(request: FilteredRequest): FilterResult {
    const { head } = request.downstream;
    const found = find(request);
    ownHeaders.removeFrom(head.headers);
    request.forbidTrailers(ownHeaders);
    request.authorization.adoptHead();
    if (found === undefined) {
      if (required) return finish(request, { kind: 'missing' });
      count(request, 'absent');
      protect(request, undefined, []);
      return undefined;
    }
    if ('refusal' in found) return finish(request, { kind: 'refused', ...found });
    const { place, token } = found;
    const { client, context } = request;
    const digest = JwtTokens.digestOf(token);
    const known = context.jwt.of(client, digest, token);
    const presented = { token, digest, known };
    const decision = decide(request, presented, found.issuers);
    if (decision instanceof Promise) return decision.then((one) => finish(request, one, place, token));
    return finish(request, decision, place, token);
  }

  /** The request's only token, with the issuers whose tokens may be where it is. */
  function find({
    downstream: { head },
    info,
  }: FilteredRequest):
    | { readonly place: TokenPlace; readonly token: string; readonly issuers: Set<Issuer> }
    | Refused
    | undefined {
    let only: { place: TokenPlace; token: string; issuers: Set<Issuer> } | undefined;
    let isAmbiguous = false;
    for (const { place, issuers } of placeList) {
      if (only && place.header && place.header.name === only.place.header?.name) continue;
      const found = place.find(head);
      if (found === undefined) continue;
      // Whoever reads the log must not be able to use the token.
      if (place.isQuery) info.path = pathWithout(place, info.path);
      if (found === 'several' || only) isAmbiguous = true;
      else only = { place, token: found.token, issuers };
    }
    return isAmbiguous ? { refusal: 'several', why: 'the request has more than one token' } : only;
  }

  function decide(
    request: FilteredRequest,
    presented: Presented,
    allowed: ReadonlySet<Issuer>,
  ): Decision | Promise<Decision> {
    const { client, context } = request;
    const { token, digest, known } = presented;
    const { decoded } = known;
    if ('fault' in decoded) {
      context.jwt.refuse(client, digest, token, known);
      if (decoded.fault === 'too-large') context.onLimitReached('jwt-token');
      return { kind: 'refused', refusal: decoded.fault, why: decoded.why };
    }
    const named = byName.get(decoded.issuer) ?? [];
    const accepting = named.filter((issuer) => allowed.has(issuer));
    const refuse = (refused: Refused, issuer?: Issuer): Decision => {
      context.jwt.refuse(client, digest, token, known);
      return { kind: 'refused', issuer, ...refused };
    };
    /** The key may be newer than the issuer's set. The request does not wait for a newer set: whoever invents names of keys would hold many. */
    const refuseKey = (refused: Refused, issuer: Issuer, of: DecodedToken): Decision => {
      if (issuer.mayBeOfNewKey(of)) context.jwt.refetches.want(issuer.keysUri);
      return refuse(refused, issuer);
    };
    /** Asks the issuers of this name from one on. */
    const ask = (at: number, before: Decision): Decision | Promise<Decision> => {
      const issuer = accepting[at];
      if (!issuer) return before;
      const refused = issuer.check(decoded, Date.now() / 1_000);
      if (refused) return ask(at + 1, refuse(refused, issuer));
      const keys = issuer.keysFor(decoded);
      if ('refusal' in keys) return ask(at + 1, refuseKey(keys, issuer, decoded));
      if (isVerifiedBy(known, keys)) return accept(issuer, presented);
      return context.jwt.verify(client, digest, token, known, keys).then((verified) => {
        if (verified === 'busy') return { kind: 'busy', issuer };
        if (verified) return accept(issuer, presented);
        const why = 'the signature is not valid';
        return ask(at + 1, refuseKey({ refusal: 'signature', why }, issuer, decoded));
      });
    };
    if (accepting.length > 0) return ask(0, { kind: 'busy' });
    return refuse(
      named.length > 0
        ? { refusal: 'place', why: "the issuer's tokens are not accepted in this place" }
        : { refusal: 'unknown-issuer', why: "the policy does not name the token's issuer (claim iss)" },
      named[0],
    );
  }

  function accept(issuer: Issuer, { token, known }: Presented): Decision {
    const { decoded } = known;
    if ('fault' in decoded) return { kind: 'refused', refusal: decoded.fault, why: decoded.why };
    if (known.view?.serial !== issuer.serial) {
      const payload = token.slice(token.indexOf('.') + 1, token.lastIndexOf('.'));
      known.view = { serial: issuer.serial, valid: issuer.read(decoded, payload) };
    }
    return { kind: 'valid', issuer, valid: known.view.valid };
  }

  function finish(
    request: FilteredRequest,
    decision: Decision,
    place?: TokenPlace,
    token?: string,
  ): FilterResponse | undefined {
    const { head } = request.downstream;
    if (decision.kind === 'valid' && !dryRun && hasToken.get(request) === true)
      decision = { kind: 'refused', refusal: 'several', why: 'another policy has accepted another token' };
    if (decision.kind === 'valid') {
      const { issuer, valid } = decision;
      count(request, 'valid', issuer);
      if (!issuer.forward && !dryRun) place?.remove(head);
      head.headers.push(...valid.headers);
      if (!dryRun) hasToken.set(request, true);
      request.authorization.claims = valid.claims;
      request.authorization.adoptHead();
      request.info.principal = valid.principal;
      protect(request, token, valid.headers);
      return undefined;
    }
    const result = decision.kind === 'refused' ? decision.refusal : decision.kind;
    count(request, result, decision.issuer);
    const reply = replyOf(decision, name, head.authority);
    request.act(dryRun ? { ...action, reason: reply.why } : action);
    if (dryRun) protect(request, undefined, []);
    return dryRun ? undefined : { kind: 'reply', reply };
  }

  /** The author of a route in another namespace must not put another token, or what it does not prove, in place of what was validated. */
  function protect(request: FilteredRequest, token: string | undefined, proven: Headers): void {
    request.afterConsumerRule(() => {
      const { head } = request.downstream;
      request.authorization.saveHeaders();
      ownHeaders.removeFrom(head.headers);
      head.headers.push(...proven);
      if (dryRun) return;
      for (const { place } of placeList)
        for (let found = place.find(head); isOther(found, token); found = place.find(head))
          place.remove(head);
    });
  }

  function count({ context }: FilteredRequest, result: JwtResult, issuer?: Issuer): void {
    if (countedIn !== context.jwt) {
      countedIn = context.jwt;
      countsOf = new Map();
    }
    const of = issuer?.name ?? '';
    let counts = countsOf.get(of);
    if (!counts) countsOf.set(of, (counts = countedIn.counts.of(name, of)));
    counts.set(result, (counts.get(result) ?? 0) + 1);
  }
}

/** Whether a place has something else than the validated token. */
const isOther = (found: ReturnType<TokenPlace['find']>, token: string | undefined): boolean =>
  found !== undefined && (found === 'several' || found.token !== token);

const pathWithout = (place: TokenPlace, path: string): string => {
  const head = { method: '', path, authority: '', scheme: '', headers: [] };
  place.remove(head);
  return head.path;
};

/** RFC 6750, section 3: a request without a token learns of no error. */
function replyOf(
  decision: Exclude<Decision, { kind: 'valid' }>,
  policy: string,
  authority: string,
): LocalReply {
  const realm = `realm="${authority.replace(/[^\w.:[\]-]/g, '')}"`;
  const ofIssuer = decision.issuer ? ` of issuer ${decision.issuer.name}` : '';
  switch (decision.kind) {
    case 'missing':
      return {
        status: 401,
        flag: 'JWT',
        code: 'WEFT_JWT_MISSING',
        why: `${policy} requires a token, and the request has none`,
        policy,
        headers: ['www-authenticate', `Bearer ${realm}`],
      };
    case 'busy':
      return {
        status: 503,
        flag: 'JWT',
        code: 'WEFT_JWT_BUSY',
        why: `too many tokens are being verified, so the token${ofIssuer} is not`,
        policy,
        headers: ['retry-after', '1'],
      };
    case 'refused':
      return {
        status: 401,
        flag: 'JWT',
        code: 'WEFT_JWT_INVALID',
        why: `${policy} refuses the token${ofIssuer} (${decision.refusal}): ${decision.why}`,
        policy,
        headers: ['www-authenticate', `Bearer ${realm}, error="invalid_token"`],
      };
  }
}
