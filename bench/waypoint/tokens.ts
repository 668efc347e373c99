/**
 * What the waypoint's filter of tokens costs a request: a token that is remembered, and one that is seen for the first time. No network: the
 * filter alone, with the copy of a request's headers subtracted.
 *
 *   node dist/bench/waypoint/tokens.js [TOKENS]
 */
import { claimsOf, issuerOf, jwtFilter, newKey, signed } from '../../test/support/jwt-issuer.js';
import { key } from '../../test/support/mesh.js';
import { compileFilter } from '../../src/waypoint/filters/chain.js';
import type { FilteredRequest } from '../../src/waypoint/filters/filter.js';
import { JwtTokens } from '../../src/waypoint/jwt/jwt-tokens.js';

const count = Number(process.argv[2] ?? 5_000);
const roundsMax = 100;
const signer = newKey('ES256');
const issuer = issuerOf(signer, {
  claimHeaders: [{ header: 'x-user', claim: ['sub'] }],
  audiences: ['shop'],
});
const { filter } = compileFilter(jwtFilter([issuer], { required: true }));
const jwt = new JwtTokens(() => undefined);

/** The head of a usual request through a waypoint. */
const fields = [
  ...['host', 'api.shop', 'user-agent', 'curl/8.5', 'accept', '*/*', 'x-forwarded-for', '10.0.0.1'],
  ...['x-forwarded-proto', 'http', 'x-request-id', '6d1f8a1e-9a53-4a55-8a57-3f7f7f7f7f7f'],
  ...['x-forwarded-client-cert', 'URI=spiffe://cluster.local/ns/shop/sa/web'],
];
function requestOf(headers: string[]): FilteredRequest {
  const authorization = { claims: undefined, adoptHead: () => undefined };
  return {
    context: { jwt, onLimitReached: () => undefined },
    client: { name: 'spiffe://cluster.local/ns/shop/sa/web', group: 'shop' },
    downstream: {
      head: { method: 'GET', path: '/orders?page=2', authority: 'api.shop', scheme: 'http', headers },
    },
    authorization,
    info: { path: '/', principal: undefined },
    servicePort: { service: key('api'), port: 80 },
    slots: undefined,
    act: () => undefined,
    forbidTrailers: () => undefined,
    afterConsumerRule: () => undefined,
  } as unknown as FilteredRequest;
}

const microseconds = (from: number, calls: number): number => ((performance.now() - from) * 1_000) / calls;

const tokens = Array.from({ length: count }, (_one, i) =>
  signed(signer, claimsOf({ sub: `user-${i}`, email: `user-${i}@example.test`, groups: ['dev', 'ops'] })),
);
const headersOf = (token: string): string[] => [...fields, 'authorization', `Bearer ${token}`];

// The first half warms up the compiler.
const half = count >> 1;
const first: number[] = [];
let cpu = process.cpuUsage();
for (const [i, token] of tokens.entries()) {
  if (i === half) cpu = process.cpuUsage();
  const request = requestOf(headersOf(token));
  const from = performance.now();
  const refused = await filter.onRequest?.(request);
  if (i >= half) first.push((performance.now() - from) * 1_000);
  if (refused) throw new Error('the token is refused');
}
const { user, system } = process.cpuUsage(cpu);
first.sort((a, b) => a - b);

function cached(call: (request: FilteredRequest) => void): number {
  let us = Infinity;
  for (let round = 0; round < roundsMax; round++) {
    const from = performance.now();
    for (let i = half; i < count; i++) call(requestOf(headersOf(tokens[i] ?? '')));
    us = Math.min(us, microseconds(from, count - half));
  }
  return us;
}
const without = cached(() => undefined);
const within = cached((request) => {
  if (filter.onRequest?.(request) !== undefined) throw new Error('the token is not remembered');
});

const rounded = (us: number | undefined): number => Math.round((us ?? 0) * 100) / 100;
console.log(
  JSON.stringify({
    firstUs: { p50: rounded(first[first.length >> 1]), p99: rounded(first[Math.floor(first.length * 0.99)]) },
    firstCpuUs: rounded((user + system) / (count - half)),
    cachedUs: rounded(within - without),
    tokenChars: tokens[0]?.length,
  }),
);
