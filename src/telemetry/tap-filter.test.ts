import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { tapConnection, tapParty, tapRequest } from '../../test/support/taps.js';
import type { TapEvent } from '../model/mesh-snapshot.js';
import {
  compileTapFilter,
  subjectOfEvent,
  tapLimits,
  tapParameters,
  tapProblem,
  tapQueryOf,
  type TapFilter,
  type TapQuery,
  type TapSubject,
} from '../model/tap.js';

const matches = (filter: TapFilter, event: TapEvent): boolean =>
  compileTapFilter(filter)(subjectOfEvent(event));
const pick = <T>(list: readonly T[]): T => list[randomInt(list.length)] as T;

const namespaces = ['shop', 'bank', ''];
const names = ['web', 'api', ''];
const paths = ['/', '/orders', '/orders/7', '/orders/7?a=1', '/admin'];
const policies = ['shop/a', 'bank/b', 'TrafficPolicy shop/limits per-client', 'shop/a,bank/b', ''];

function randomEvent(): TapEvent {
  const party = (): TapEvent['source'] => {
    const namespace = pick(namespaces);
    return tapParty(namespace, namespace === '' ? '' : pick(names));
  };
  const more = {
    source: party(),
    destination: { ...party(), port: 80 },
    outcome: pick(['allowed', 'refused', 'failed'] as const),
    policy: pick(policies),
  };
  return randomInt(2) === 0
    ? tapConnection({ ...more, path: pick(['kernel', 'hbone', 'refused']) })
    : tapRequest({
        ...more,
        request: {
          method: pick(['GET', 'POST']),
          path: pick(paths),
          status: pick([0, 200, 404, 500, 503]),
          durationMs: 1,
        },
      });
}

const values: Readonly<Record<string, readonly string[]>> = {
  workloads: ['shop/web', 'bank/api'],
  identities: ['spiffe://cluster.local/ns/shop/sa/web', 'spiffe://cluster.local/ns/bank/*'],
  requestPaths: ['/orders', '/orders/*', '/'],
  ways: ['kernel', 'waypoint'],
  statuses: ['404', '5xx', '200'],
  policies: ['shop/a', 'bank/b', 'shop/limits'],
  outcomes: ['allowed', 'refused'],
  methods: ['GET'],
  kinds: ['request', 'connection'],
};

function randomFilter(): TapFilter {
  const filter: Record<string, unknown> = {};
  for (const [field, of] of Object.entries(values))
    if (randomInt(4) === 0) filter[field] = of.filter(() => randomInt(2) === 0);
  if (randomInt(3) === 0) filter['namespace'] = pick(['shop', 'bank']);
  return filter as TapFilter;
}

/** What a filter means, written a second time without regard to cost. */
function expected(filter: TapFilter, event: TapEvent): boolean {
  const ends = [event.source, event.destination];
  const any = (list: readonly string[] | undefined, holds: (value: string) => boolean): boolean =>
    !list || list.length === 0 || list.some(holds);
  const like = (value: string, text: string): boolean =>
    value.endsWith('*') ? text.startsWith(value.slice(0, -1)) : text === value;
  const path = event.request?.path.split('?')[0];
  return (
    (filter.namespace === undefined || ends.some(({ namespace }) => namespace === filter.namespace)) &&
    any(filter.workloads, (value) => ends.some((one) => `${one.namespace}/${one.workload}` === value)) &&
    any(filter.identities, (value) =>
      ends.some(({ identity }) => identity !== undefined && like(value, identity)),
    ) &&
    any(filter.requestPaths, (value) => path !== undefined && like(value, path)) &&
    any(filter.ways, (value) => event.path === value) &&
    any(filter.statuses, (value) => {
      const status = event.request?.status;
      return (
        status !== undefined &&
        new RegExp(`^${value.replaceAll('x', '\\d')}$`).test(String(status).padStart(3, '0'))
      );
    }) &&
    any(filter.policies, (value) =>
      (event.policy ?? '').split(',').some((one) => one.split(' ').includes(value)),
    ) &&
    any(filter.outcomes, (value) => event.outcome === value) &&
    any(filter.methods, (value) => event.request?.method === value) &&
    any(filter.kinds, (value) => event.kind === value)
  );
}

test('a filter allows an event if each of its fields has a value that the event has', () => {
  let allowed = 0;
  for (let round = 0; round < 20_000; round++) {
    const filter = randomFilter();
    const event = randomEvent();
    const is = matches(filter, event);
    if (is) allowed++;
    assert.equal(is, expected(filter, event), JSON.stringify({ filter, event }));
  }
  assert.ok(allowed > 1_000, String(allowed));
});

test('forbidden: a filter finds out what the query of a path says', () => {
  assert.notEqual(tapProblem({ filter: { requestPaths: ['/login?token=a*'] }, sampleOf: 1 }), undefined);
  const event = tapRequest({
    request: { method: 'GET', path: '/login?token=abc', status: 200, durationMs: 1 },
  });
  assert.equal(matches({ requestPaths: ['/login'] }, event), true);
  assert.equal(matches({ requestPaths: ['/login*'] }, event), true);
});

test('a name of a policy is no part of another name', () => {
  assert.equal(matches({ policies: ['shop/a'] }, tapConnection({ policy: 'shop/ab' })), false);
  assert.equal(matches({ policies: ['shop/a'] }, tapConnection({ policy: 'eshop/a' })), false);
  assert.equal(matches({ policies: ['shop/a'] }, tapConnection({ policy: 'x/y,shop/a' })), true);
  assert.equal(
    matches({ policies: ['shop/a'] }, tapConnection({ policy: 'x/y', audited: ['shop/a'] })),
    true,
  );
});

test('a query is the same after it was in a URL', () => {
  for (let round = 0; round < 1_000; round++) {
    const filter = Object.fromEntries(
      Object.entries(randomFilter()).filter(([, value]) => value.length > 0),
    ) as TapFilter;
    const query: TapQuery = { filter, sampleOf: 1 + randomInt(100) };
    const text = tapParameters(query).toString();
    assert.deepEqual(tapQueryOf(new URLSearchParams(text), filter.namespace), { query });
  }
});

test('a query that cannot be meant is refused, with the field and the value', () => {
  const problemOf = (filter: object, sampleOf = 1): string | undefined =>
    tapProblem({ filter: filter as TapFilter, sampleOf });
  assert.match(problemOf({ statuses: ['6xx'] }) ?? '', /statuses: "6xx" is no status/);
  assert.match(problemOf({ workloads: ['web'] }) ?? '', /is not NAMESPACE\/NAME/);
  assert.match(problemOf({ ways: ['tunnel'] }) ?? '', /is not one of hbone, /);
  assert.match(problemOf({ outcomes: ['maybe'] }) ?? '', /is not one of allowed/);
  assert.match(problemOf({ methods: Array.from({ length: 17 }, () => 'GET') }) ?? '', /more than 16 values/);
  assert.match(problemOf({ methods: ['x'.repeat(tapLimits.valueCharsMax + 1)] }) ?? '', /characters/);
  for (const sampleOf of [0, 0.5, -1, NaN, 1e9]) assert.match(problemOf({}, sampleOf) ?? '', /sample/);
  assert.equal(problemOf({}), undefined);
});

test('of what is between other namespaces, a filter of one namespace reads nothing but their names', () => {
  const matches = compileTapFilter({
    namespace: 'shop',
    requestPaths: ['/a*'],
    statuses: ['5xx'],
    methods: ['GET'],
    ways: ['waypoint'],
    policies: ['shop/a'],
    outcomes: ['refused'],
    kinds: ['request'],
    identities: ['spiffe://*'],
    workloads: ['shop/web'],
  });
  const names = { sourceNamespace: 'bank', destinationNamespace: 'vault' };
  const subject = new Proxy(names, {
    get: (of, name) => (name in of ? Reflect.get(of, name) : assert.fail(String(name))),
  });
  assert.equal(matches(subject as unknown as TapSubject), false);
});
