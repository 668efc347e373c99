/** Conditions on requests whose tokens nobody has validated. Pure. */
import type { JwtLocation } from '../../src/discovery/gen/weft.js';
import type { ClaimMatch, HttpMatch, StringMatch } from '../../src/model/policy.js';
import type { JwtTemplate } from './jwt-filter.js';

export type Conditions = Partial<HttpMatch>;

const exact = (value: string): StringMatch => ({ kind: 'exact', value });
const issuerClaim = (issuers: readonly string[]): ClaimMatch => ({
  path: ['iss'],
  values: issuers.map(exact),
  negated: false,
});
/** Requests without a valid token of one of these issuers. Without issuers: without any. */
export const withoutToken = (issuers: readonly string[]): ClaimMatch => ({
  ...(issuers.length > 0 ? issuerClaim(issuers) : { path: ['iss'], values: [{ kind: 'presence' }] }),
  negated: true,
});

/** Requests that a policy refuses. Where no waypoint reads requests, each of them stands for every connection. */
export function refusedRequests({ issuers, required }: JwtTemplate): Conditions[] {
  const without = withoutToken(issuers.map(({ issuer }) => issuer));
  return [
    ...(required
      ? [{ claims: [without] }]
      : unverified(issuers).map((one) => ({ ...one, claims: [without] }))),
    // A token that another policy has accepted may be for another audience.
    ...issuers
      .filter(({ audiences }) => audiences.length > 0)
      .map(({ issuer, audiences }) => ({
        claims: [issuerClaim([issuer]), { path: ['aud'], values: audiences.map(exact), negated: true }],
      })),
  ];
}

/** Requests with something where a token, or what is copied from one, would be. */
export function unverified(
  issuers: readonly Pick<JwtTemplate['issuers'][number], 'locations' | 'claimHeaders' | 'payloadHeader'>[],
): Conditions[] {
  const places = new Map<string, Conditions>();
  for (const { locations, claimHeaders, payloadHeader } of issuers) {
    for (const location of locations) places.set(JSON.stringify(location), atPlace(location));
    // Only a valid token sets these headers, and endpoints believe them.
    for (const header of [...claimHeaders.map((one) => one.header), payloadHeader].filter(
      (one) => one !== '',
    ))
      for (const spelling of spellings(header)) places.set(spelling, present(spelling));
  }
  return [...places.values()];
}

/** Names with more dashes are only compared with and without all of them. */
const dashesMax = 3;

/** The names that CGI and its heirs read as this one: `x_user` is `x-user`, too. */
function spellings(name: string): string[] {
  const [first = '', ...parts] = name.split(/[-_]/);
  if (parts.length > dashesMax)
    return [...new Set([name, name.replaceAll('_', '-'), name.replaceAll('-', '_')])];
  return parts.reduce((all, part) => all.flatMap((one) => [`${one}-${part}`, `${one}_${part}`]), [first]);
}

const present = (name: string): Conditions => ({
  headers: [{ name, values: [{ kind: 'presence' }], negated: false }],
});
const escaped = (text: string): string =>
  text.replace(/[^A-Za-z0-9]/g, (one) => `\\x{${one.codePointAt(0)?.toString(16)}}`);

function atPlace({ place }: JwtLocation): Conditions {
  switch (place?.$case) {
    case 'header': {
      const { name, prefix } = place.value;
      if (prefix === '') return present(name.toLowerCase());
      // Endpoints differ in whether they distinguish case.
      const value = `(?is)\\s*${escaped(prefix.trim())}.*`;
      return { headers: [{ name: name.toLowerCase(), values: [{ kind: 'regex', value }], negated: false }] };
    }
    case 'query':
      return { parameters: [place.value] };
    case 'cookie': {
      // Some endpoints, and the waypoint's own filter, allow spaces before the equals sign.
      const value = `(?s)(.*;)?\\s*${escaped(place.value)}\\s*=.*`;
      return { headers: [{ name: 'cookie', values: [{ kind: 'regex', value }], negated: false }] };
    }
    case undefined:
      return {};
  }
}
