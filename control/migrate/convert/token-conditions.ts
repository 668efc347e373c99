/** Conditions on tokens of an AuthorizationPolicy as the field `jwt` of an AccessPolicy. Pure. */
import { claimOfKey } from '../../dialects/istio/token-conditions.js';
import { isRecord } from '../../../src/base/record.js';
import type { Fields } from '../load.js';

const text = /^(\*?[^*]*|[^*]+\*)$/;
const areTexts = (values: readonly string[]): boolean =>
  values.every((value) => value !== '' && text.test(value));

/**
 * Principals of tokens, `ISSUER/SUBJECT`; undefined: they have no form, because their issuers differ, or because issuer and subject cannot be
 * separated.
 */
export function principalCondition(values: readonly string[], isNot: boolean): Fields | undefined {
  // Every valid token has an issuer. One without a subject has no principal.
  if (values.includes('*')) return isNot ? { notSubjects: ['*'] } : { subjects: ['*'] };
  const parts = values.map((value) => {
    const at = value.lastIndexOf('/');
    return { issuer: value.slice(0, at), subject: value.slice(at + 1) };
  });
  const [first] = parts;
  const isOfOne = parts.every(
    ({ issuer, subject }) => issuer === first?.issuer && issuer !== '' && subject !== '',
  );
  // Negated, issuer and subject would be excluded each by itself.
  if (!first || !isOfOne || isNot || first.issuer.includes('*')) return undefined;
  const subjects = parts.map(({ subject }) => subject);
  // The wildcard may stand for a part of the issuer, too.
  if (subjects.includes('*')) return { issuers: [first.issuer, `${first.issuer}/*`], subjects: ['*'] };
  return subjects.some((one) => one.includes('*')) ? undefined : { issuers: [first.issuer], subjects };
}

/** A condition of `when`; undefined: it is not about tokens, or has no form. */
export function tokenCondition(
  key: string,
  values: readonly string[],
  notValues: readonly string[],
): Fields | undefined {
  if (!areTexts([...values, ...notValues])) return undefined;
  if (key === 'request.auth.principal') {
    const is = values.length > 0 ? principalCondition(values, false) : {};
    const isNot = notValues.length > 0 ? principalCondition(notValues, true) : {};
    return is && isNot && { ...is, ...isNot };
  }
  const path = claimOfKey(key);
  return (
    path && {
      claims: [
        { path, ...(values.length > 0 ? { values } : {}), ...(notValues.length > 0 ? { notValues } : {}) },
      ],
    }
  );
}

/** Both conditions. Each claim is an entry of its own; of two lists of issuers or subjects the former one stays as conditions on claims. */
export function withTokens(before: unknown, added: Fields): Fields {
  const claimsOf = (fields: Fields): Fields[] => [
    ...(
      [
        ['issuers', 'iss', 'values'],
        ['subjects', 'sub', 'values'],
        ['notSubjects', 'sub', 'notValues'],
      ] as const
    ).flatMap(([field, claim, list]) =>
      fields[field] === undefined ? [] : [{ path: [claim], [list]: fields[field] }],
    ),
    ...((fields['claims'] as readonly Fields[] | undefined) ?? []),
  ];
  return isRecord(before) ? { claims: [...claimsOf(before), ...claimsOf(added)] } : added;
}
