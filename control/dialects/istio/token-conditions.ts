/** Translates conditions on tokens of an AuthorizationPolicy to conditions on claims. Pure. */
import type { ClaimMatch, ClaimValue, StringMatch } from '../../../src/model/policy.js';

/** Conditions that must all hold. */
export type Claims = readonly ClaimMatch[];

/** Issuers whose principals are negated in one list: each doubles the alternatives. */
const negatedIssuersMax = 6;

const presence: ClaimValue = { kind: 'presence' };
/** A prefix or suffix without text is any value. */
const part = (kind: 'prefix' | 'suffix', value: string): StringMatch =>
  value === '' ? { kind: 'presence' } : { kind, value };

interface Principal {
  readonly iss: ClaimValue;
  readonly sub: ClaimValue;
}

/** The ways to divide a text at a slash: an issuer may have slashes, and a subject, too. The two slashes of `https://` divide nothing. */
function divisions(text: string): { readonly left: string; readonly right: string }[] {
  return [...text].flatMap((one, i) =>
    one === '/' && text[i - 1] !== '/' && text[i + 1] !== '/'
      ? [{ left: text.slice(0, i), right: text.slice(i + 1) }]
      : [],
  );
}

/** Issuers and subjects whose principal `ISSUER/SUBJECT` matches. None: no token has such a principal. */
function principalsOf(match: StringMatch): Principal[] {
  switch (match.kind) {
    case 'presence':
      return [{ iss: presence, sub: presence }];
    case 'exact':
      return divisions(match.value)
        .filter(({ left, right }) => left !== '' && right !== '')
        .map(({ left, right }) => ({
          iss: { kind: 'exact', value: left },
          sub: { kind: 'exact', value: right },
        }));
    case 'prefix':
      return [
        ...divisions(match.value)
          .filter(({ left }) => left !== '')
          .map(({ left, right }): Principal => ({
            iss: { kind: 'exact', value: left },
            sub: part('prefix', right),
          })),
        { iss: match, sub: presence },
      ];
    case 'suffix':
      return [
        ...divisions(match.value)
          .filter(({ right }) => right !== '')
          .map(({ left, right }): Principal => ({
            iss: part('suffix', left),
            sub: { kind: 'exact', value: right },
          })),
        { iss: presence, sub: match },
      ];
  }
}

/** Subjects by issuer: hundreds of principals are mostly of one issuer. */
function byIssuer(
  matches: readonly StringMatch[],
): { readonly iss: ClaimValue; readonly subs: ClaimValue[] }[] {
  const found = new Map<string, { iss: ClaimValue; subs: ClaimValue[] }>();
  for (const { iss, sub } of matches.flatMap(principalsOf)) {
    const key = JSON.stringify(iss);
    const known = found.get(key);
    if (known) known.subs.push(sub);
    else found.set(key, { iss, subs: [sub] });
  }
  return [...found.values()];
}

const claim = (path: readonly string[], values: readonly ClaimValue[], negated = false): ClaimMatch => ({
  path,
  values,
  negated,
});

/** Alternatives, of which one must hold if the token's principal is one of these. */
export function principalClaims(matches: readonly StringMatch[]): Claims[] {
  const found = byIssuer(matches).map(({ iss, subs }) => [claim(['iss'], [iss]), claim(['sub'], subs)]);
  // Without a value a condition never holds.
  return found.length > 0 ? found : [[claim(['iss'], [])]];
}

/** Alternatives, of which one must hold if the token's principal is none of these, or there is no token. Undefined: there are too many. */
export function notPrincipalClaims(matches: readonly StringMatch[]): Claims[] | undefined {
  const groups = byIssuer(matches);
  if (groups.length > negatedIssuersMax) return undefined;
  return groups.reduce<Claims[]>(
    (alternatives, { iss, subs }) =>
      alternatives.flatMap((one) => [
        [...one, claim(['iss'], [iss], true)],
        [...one, claim(['sub'], subs, true)],
      ]),
    [[]],
  );
}

/** The claim that a key of `when` names; undefined: it names none. */
export function claimOfKey(key: string): readonly string[] | undefined {
  if (key === 'request.auth.audiences') return ['aud'];
  if (key === 'request.auth.presenter') return ['azp'];
  const names = /^request\.auth\.claims((?:\[[^[\]]+\])+)$/.exec(key)?.[1];
  return names?.slice(1, -1).split('][');
}

/** The conditions on one claim: it has one of the values, and none of the others. */
export const claimCondition = (
  path: readonly string[],
  is: readonly StringMatch[],
  isNot: readonly StringMatch[],
): Claims => [claim(path, is), claim(path, isNot, true)].filter(({ values }) => values.length > 0);
