import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import {
  authentication,
  compilerOf,
  exampleJwks,
  jwtFilters,
  serviceText,
  toApi,
  waypointText,
} from '../../test/support/authentication.js';
import type { Compiler } from '../compile/compile.js';
import { objectKey } from '../objects/object-key.js';
import { parseManifests } from '../source/parse.js';
import { admitUris, afterFailure, afterSuccess, dueUris, jwksLimits, maxAgeOf } from './decide.js';
import type { FetchedText } from './fetch.js';
import { KeyFetcher } from './key-fetcher.js';

const uri = 'https://id.example/keys';
const policy = (more = '', issuers = `[{ issuer: a, jwks: { uri: '${uri}' } }]`): string =>
  authentication(`{ ${toApi}, jwt: { issuers: ${issuers} } }`, { more });
const served = [serviceText('[{ port: 80 }]', { labels: 'weft.dev/waypoint: wp' }), waypointText()];

function fetcherOf(...texts: string[]) {
  const compiler: Compiler = compilerOf([...served, ...texts]);
  const sets = new Map<string, string>();
  const [asked, limits, results, changes]: [string[], string[], string[], string[][]] = [[], [], [], []];
  const fetcher = new KeyFetcher({
    compiler,
    take: (changed) => {
      changes.push([...changed.keys()]);
      compiler.apply(changed);
    },
    fetch: (one): Promise<FetchedText> => {
      asked.push(one);
      const text = sets.get(one);
      return text === undefined
        ? Promise.reject(new Error('status 500'))
        : Promise.resolve({ text, maxAgeS: undefined });
    },
    onFetch: (result) => results.push(result),
    onLimit: (limit) => limits.push(limit),
    log: { info: () => undefined, warn: () => undefined },
  });
  return {
    compiler,
    fetcher,
    sets,
    asked,
    limits,
    results,
    changes,
    filter: () => jwtFilters(compiler)[80]?.[0]?.issuers[0],
    /** Runs a turn and lets its requests end, and a second turn, which compiles. */
    async run(nowMs: number): Promise<void> {
      fetcher.turn(nowMs);
      for (let i = 0; i < 5; i++) await turn();
      fetcher.turn(0);
    },
  };
}
/** Later than every time of the fetcher, which uses the clock. */
const later = (n: number): number => performance.now() + n * 10 * jwksLimits.intervalMsMax;

test('before the first response no token is valid, and the filter says why; then it has the keys', async () => {
  const at = fetcherOf(policy());
  assert.deepEqual([at.filter()?.jwks, at.filter()?.keysProblem], ['', 'its keys have not been fetched yet']);
  at.sets.set(uri, exampleJwks('one'));
  await at.run(0);
  assert.match(at.filter()?.jwks ?? '', /"kid":"one"/);
  assert.equal(at.filter()?.keysProblem, '');
  assert.deepEqual(at.changes, [['AuthenticationPolicy bank/tokens']]);
});

test('rotated keys replace the former; the last good set stays while fetching fails', async () => {
  const at = fetcherOf(policy());
  at.sets.set(uri, exampleJwks('one'));
  await at.run(0);
  at.sets.set(uri, exampleJwks('two'));
  await at.run(later(1));
  assert.match(at.filter()?.jwks ?? '', /"kid":"two"/);
  for (const [n, bad] of ['<html>', '{"keys":[]}', undefined].entries()) {
    if (bad === undefined) at.sets.delete(uri);
    else at.sets.set(uri, bad);
    await at.run(later(n + 2));
    assert.match(at.filter()?.jwks ?? '', /"kid":"two"/);
  }
  assert.deepEqual(at.results, ['changed', 'changed', 'failed', 'failed', 'failed']);
});

test('a set that cannot be fetched says why, for the author of the policy', async () => {
  const at = fetcherOf(policy());
  at.sets.set(uri, '<!doctype html>');
  await at.run(0);
  assert.match(
    at.filter()?.keysProblem ?? '',
    /cannot be fetched from https:\/\/id\.example\/keys: it is no JSON/,
  );
  const changes = at.changes.length;
  await at.run(later(1));
  assert.equal(at.changes.length, changes, 'the same problem compiles nothing');
});

test('keys that do not change compile nothing, and only what names the URI is compiled', async () => {
  const at = fetcherOf(
    policy(),
    authentication(
      `{ ${toApi.replace('api', 'x')}, jwt: { issuers: [{ issuer: b, jwks: { uri: 'https://b.example' } }] } }`,
      { name: 'other' },
    ),
  );
  at.sets.set(uri, exampleJwks());
  at.sets.set('https://b.example', exampleJwks());
  await at.run(0);
  at.sets.set('https://b.example', exampleJwks());
  await at.run(later(1));
  assert.deepEqual(at.changes.at(-1), ['AuthenticationPolicy bank/other']);
  const count = at.changes.length;
  await at.run(later(2));
  assert.equal(at.changes.length, count);
});

test('keys of a URI that nobody names any more are forgotten', async () => {
  const at = fetcherOf(policy());
  at.sets.set(uri, exampleJwks());
  await at.run(0);
  assert.equal(at.fetcher.size, 1);
  const [object] = parseManifests('x', policy()).objects;
  assert.ok(object);
  at.compiler.apply(new Map([[objectKey(object), undefined]]));
  await at.run(later(1));
  assert.equal(at.fetcher.size, 0);
  assert.equal(at.compiler.keySets.of(uri).jwks, '');
});

test('URIs beyond the share of a namespace are not fetched, and say so; another namespace has its own share', async () => {
  const many = Array.from({ length: jwksLimits.ofNamespace + 5 }, (_, i) => i).map((i) =>
    authentication(
      `{ ${toApi}, jwt: { issuers: [{ issuer: a, jwks: { uri: 'https://${String(i).padStart(3, '0')}.example' } }] } }`,
      { name: `p${i}`, namespace: 'evil' },
    ),
  );
  const at = fetcherOf(policy(), ...many);
  await at.run(0);
  assert.ok(at.asked.includes(uri));
  // Those of the first turn have ended when the second one starts.
  assert.equal(at.asked.filter((one) => one !== uri).length, 2 * jwksLimits.underWayOfNamespace);
  assert.equal(at.limits.length, 5);
  assert.match(at.compiler.keySets.of('https://024.example').problem, /too many key sets/);
});

test('shares and times are bounded', () => {
  const { names, refused } = admitUris(
    Array.from({ length: 1000 }, (_, i) => ({ namespace: `n${i % 50}`, name: `https://h${i}` })),
  );
  assert.equal(names.size, jwksLimits.uris);
  assert.equal(refused, 500);
  assert.equal(dueUris(names, new Map(), 0).length, jwksLimits.underWay);
  assert.equal(afterSuccess(0, 1, 0).dueMs, jwksLimits.intervalMsMin);
  assert.equal(afterSuccess(0, 1e9, 0).dueMs, jwksLimits.intervalMsMax);
  assert.equal(afterSuccess(0, undefined, 0).dueMs, jwksLimits.intervalMs);
  assert.ok(afterSuccess(0, undefined, 1).dueMs < jwksLimits.intervalMs);
  const backoff = Array.from({ length: 12 }, (_, failures) => afterFailure(0, { failures }, 1).dueMs);
  assert.deepEqual(backoff.slice(0, 3), [2_000, 4_000, 8_000]);
  assert.equal(backoff.at(-1), jwksLimits.retryMsMax);
  assert.equal(afterFailure(0, { failures: 0 }, 0).dueMs, jwksLimits.retryMsMin / 2);
  for (const [header, age] of [
    ['max-age=60', 60],
    ['public, Max-Age="5"', 5],
    ['no-store', 0],
    ['max-age=x', undefined],
    [undefined, undefined],
  ] as const)
    assert.equal(maxAgeOf(header), age);
});

test('the start waits until each set has been asked for, also if one cannot be fetched', async () => {
  const at = fetcherOf(
    policy('', `[{ issuer: a, jwks: { uri: '${uri}' } }, { issuer: b, jwks: { uri: 'https://b.example' } }]`),
  );
  at.sets.set(uri, exampleJwks('one'));
  await at.fetcher.ready(20_000);
  assert.deepEqual([...new Set(at.asked)].sort(), ['https://b.example', uri]);
  assert.match(at.filter()?.jwks ?? '', /"kid":"one"/);
});

test('the description of an issuer leads to its keys; one that leads nowhere says why', async () => {
  const described = 'https://id.example/.well-known/openid-configuration';
  const at = fetcherOf(policy('', `[{ issuer: a, jwks: { uri: '${described}' } }]`));
  at.sets.set(described, JSON.stringify({ jwks_uri: 'https://keys.example/k' }));
  at.sets.set('https://keys.example/k', exampleJwks('one'));
  await at.run(0);
  assert.deepEqual(at.asked, [described, 'https://keys.example/k']);
  assert.match(at.filter()?.jwks ?? '', /"kid":"one"/);
  for (const [text, why] of [
    ['<html>', /no JSON/],
    ['{}', /no jwks_uri/],
    ['{"jwks_uri":"file:///etc/passwd"}', /jwks_uri: it must begin with https/],
    ['{"jwks_uri":"https://u:p@keys.example/"}', /jwks_uri: it must not contain a user/],
  ] as const) {
    const wrong = fetcherOf(policy('', `[{ issuer: a, jwks: { uri: '${described}' } }]`));
    wrong.sets.set(described, text);
    await wrong.run(0);
    assert.match(wrong.filter()?.keysProblem ?? '', why);
    assert.equal(wrong.asked.length, 1);
  }
});

test('a set that waypoints ask for is fetched again before it is due, once per interval, and its new key is in force', async () => {
  const at = fetcherOf(policy());
  at.sets.set(uri, exampleJwks('one'));
  const begun = performance.now();
  await at.run(begun);
  at.sets.set(uri, exampleJwks('two'));
  assert.equal(at.fetcher.refetch(uri, begun + 1_000), 'later');
  await at.run(begun + 1_000);
  assert.equal(at.asked.length, 1, 'not before the interval is over');
  // Intervals begin when a fetch has ended, on a busy machine some time after `begun`.
  const second = begun + jwksLimits.refetchMs + 5_000;
  await at.run(second);
  assert.equal(at.asked.length, 2);
  assert.match(at.filter()?.jwks ?? '', /"kid":"two"/);
  for (let i = 1; i <= 100; i++) at.fetcher.refetch(uri, second + i);
  await at.run(second + jwksLimits.refetchMs - 1);
  assert.equal(at.asked.length, 2, 'a flood causes no further request');
  const third = second + jwksLimits.refetchMs + 5_000;
  assert.equal(at.fetcher.refetch(uri, third), 'planned');
  await at.run(third);
  assert.equal(at.asked.length, 3);
  assert.equal(at.fetcher.refetch('https://unknown.example'), undefined);
});
