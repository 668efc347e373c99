/** Translates an AccessPolicy's conditions on tokens. Pure. Errors name the field. */
import type { ClaimMatch, ClaimValue } from '../../src/model/policy.js';
import type { TokenSource } from '../objects/objects.js';
import { textMatch } from './policy-values.js';

/** Claims with a field of their own (RFC 7519; azp: OpenID Connect). */
const named = [
  ['iss', 'issuers', 'notIssuers'],
  ['sub', 'subjects', 'notSubjects'],
  ['aud', 'audiences', 'notAudiences'],
  ['azp', 'presenters', 'notPresenters'],
] as const;

const texts = (field: string, values: readonly string[] | undefined): ClaimValue[] =>
  (values ?? []).map((value) => textMatch(`jwt.${field}`, value));
const numbers = (values: readonly number[] | undefined): ClaimValue[] =>
  (values ?? []).map((value) => ({ kind: 'number', value }));

/** The conditions on claims of one source, of which all must hold. */
export function claimMatches(source: TokenSource): ClaimMatch[] {
  const all: ClaimMatch[] = [
    ...named.flatMap(([claim, is, isNot]) => [
      { path: [claim], values: texts(is, source[is]), negated: false },
      { path: [claim], values: texts(isNot, source[isNot]), negated: true },
    ]),
    ...(source.claims ?? []).flatMap((one, index): ClaimMatch[] => {
      const at = `claims[${index}]`;
      const values: ClaimValue[] = [
        ...texts(`${at}.values`, one.values),
        ...numbers(one.numbers),
        ...(one.boolean === undefined ? [] : [{ kind: 'boolean' as const, value: one.boolean }]),
      ];
      const notValues = [...texts(`${at}.notValues`, one.notValues), ...numbers(one.notNumbers)];
      const path = [...one.path];
      const isPresence = values.length + notValues.length === 0;
      return [
        { path, values: isPresence ? [{ kind: 'presence' }] : values, negated: false },
        { path, values: notValues, negated: true },
      ];
    }),
  ];
  return all.filter(({ values }) => values.length > 0);
}
