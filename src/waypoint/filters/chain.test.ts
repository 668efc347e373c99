import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filter } from '../../../test/support/filters.js';
import { backend, route } from '../../../test/support/waypoint.js';
import type { RouteRule } from '../../model/route.js';
import { compileRoutes } from '../routes/compile.js';
import { RegexTime } from '../../policy/regex.js';
import { portChainOf, ruleChainOf, type FilterList } from './chain.js';
import { Slot, stages, type Filter, type Stage, type StagedFilter } from './filter.js';

const named = (name: string): Filter =>
  Object.assign(
    { onRequest: () => undefined, onResponse: () => undefined, onEnd: () => undefined },
    { named: name },
  );
const at = (stage: Stage, name: string = stage, more: Partial<StagedFilter> = {}): StagedFilter => ({
  stage,
  filter: named(name),
  ...more,
});
const names = (list: readonly Filter[]): string[] =>
  list.map((one) => ('named' in one ? String(one.named) : 'built in'));
const requestNames = ({ request }: FilterList): string[] => names(request);
const ruleOf = (rule: Partial<RouteRule>): RouteRule => route('r', [rule]).rules[0] as RouteRule;

test('stages decide the order, whatever the order of configuration; filters of one stage keep theirs', () => {
  const reversed = [...stages].reverse().map((stage) => at(stage));
  const port = portChainOf([...reversed, at('authentication', 'second')]);
  assert.deepEqual(requestNames(port.shedding), ['built in', 'load-shedding']);
  assert.deepEqual(requestNames(port.list), [
    'authentication',
    'second',
    'external-authorization',
    'built in',
    'rbac',
  ]);
  const late = ['local-rate-limit', 'global-rate-limit', 'fault-injection', 'route'];
  assert.deepEqual(requestNames(port.withoutRoute), late);
  const { list } = ruleChainOf(ruleOf({ filters: [filter('rewrite', { hostname: 'a' })] }), port);
  assert.deepEqual(requestNames(list), [...late, 'built in']);
  assert.equal(list.outer, port.list);
  assert.equal(port.list.outer, port.shedding);
});

test('a backend’s list follows its rule’s; backends without filters have none', () => {
  const own = backend('api', 1, { filters: [filter('requestHeaders', {})] });
  const rule = ruleOf({ backends: [own, backend('other')] });
  const { list, backends } = ruleChainOf(rule, portChainOf());
  assert.deepEqual([...backends.keys()], [own]);
  assert.equal(backends.get(own)?.outer, list);
  assert.equal(backends.get(own)?.request.length, 1);
});

test('a list has only the methods that a filter has, and knows which filters have passed', () => {
  const ends = { filter: { onEnd: () => undefined }, stage: 'route' } as const;
  const port = portChainOf([
    at('route', 'a'),
    ends,
    at('route', 'last', { respondsLast: true }),
    { stage: 'route', filter: { onResponse: () => undefined } },
  ]);
  const { request, response, responseLast, end } = port.withoutRoute;
  assert.deepEqual(names(request), ['a', 'last']);
  assert.deepEqual(names(response), ['a', 'built in']);
  assert.deepEqual(names(responseLast), ['last']);
  assert.deepEqual(
    end.map(({ after }) => after),
    [1, 1, 2],
  );
});

test('filters are compiled once for each configuration, not for each request', () => {
  const head = { method: 'GET', path: '/', authority: 'a', scheme: 'http', headers: [] };
  const asked = route('r', [{ filters: [filter('rewrite', { hostname: 'a' })] }]);
  const match = compileRoutes([asked], new RegexTime(), portChainOf());
  assert.equal(match?.(head)?.chain, match?.(head)?.chain);
  assert.equal(match?.(head)?.chain.list.request.length, 1);
});

test('a slot is a value of one request', () => {
  const [a, b] = [new Slot<number>(), new Slot<string>()];
  const [one, two] = [{ slots: undefined }, { slots: undefined }];
  assert.equal(b.get(one), undefined);
  b.set(one, 'x');
  a.set(two, 1);
  assert.deepEqual([a.get(one), b.get(one), a.get(two), b.get(two)], [undefined, 'x', 1, undefined]);
});
