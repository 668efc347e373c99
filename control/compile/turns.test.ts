import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { RouteRule } from '../../src/model/route.js';
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import { parseManifests } from '../source/parse.js';
import { CompileBudget } from './compile-budget.js';
import { Compiler } from './compile.js';
import type { ResourceChanges } from './resource.js';
import { RecompileQueue } from './turns.js';

const keys = (queue: RecompileQueue, ms: (key: string) => number): string[] => {
  const order: string[] = [];
  for (let key = queue.take(); key !== undefined; key = queue.take()) {
    order.push(key);
    queue.spent(ms(key));
  }
  return order;
};

test('a namespace with large objects delays another namespace by one object at most, also if it comes again and again', () => {
  const queue = new RecompileQueue();
  for (const name of ['l1', 'l2', 'l3']) queue.add('large', name as ObjectKey);
  assert.equal(queue.take(), 'l1');
  queue.spent(400);
  queue.add('large', 'l4' as ObjectKey);
  for (const name of ['s1', 's2', 's3']) queue.add('small', name as ObjectKey);
  assert.equal(queue.take(), 'l2', 'a new share has no debts of others, and no advantage');
  queue.spent(400);
  assert.deepEqual(
    keys(queue, (key) => (key.startsWith('l') ? 400 : 1)),
    ['s1', 's2', 's3', 'l3', 'l4'],
  );
  assert.equal(queue.size, 0);
});

test('a key is taken once, and not after its object is gone', () => {
  const queue = new RecompileQueue();
  for (const name of ['a', 'b', 'a']) queue.add('n', name as ObjectKey);
  queue.delete('b' as ObjectKey);
  assert.deepEqual(
    keys(queue, () => 1),
    ['a'],
  );
});

test('a namespace that has used up its time has some again later; another namespace has its own', () => {
  let nowMs = 0;
  const budget = new CompileBudget(() => nowMs);
  assert.ok(budget.has('t'));
  budget.spend('t', 500);
  assert.ok(!budget.has('t'));
  assert.ok(budget.has('p'));
  nowMs = 1_900;
  assert.ok(!budget.has('t'), '400 ms of time are earned in 2 s');
  nowMs = 2_100;
  assert.ok(budget.has('t'));
});

const service = (namespace: string, name: string, ports: string, labels = '{}'): string => `
apiVersion: v1
kind: Service
metadata: { namespace: ${namespace}, name: ${name}, labels: ${labels} }
spec: { clusterIP: 10.0.0.${namespace === 'p' ? 1 : 2}, ports: ${ports} }
---`;
const virtualService = (namespace: string, name: string, host: string, status = 403): string => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { namespace: ${namespace}, name: ${name} }
spec:
  hosts: [${host}]
  http:
    - { match: [{ uri: { prefix: /admin } }], directResponse: { status: ${status} } }
    - { route: [{ destination: { host: x.p.svc.cluster.local, port: { number: 80 } } }] }
---`;
const port = (number: number): string => `{ name: http-${number}, port: ${number}, appProtocol: http }`;

/** A mesh that is compiled in turns. `mayCompile`: namespaces that have time. */
function spreadMesh(text: string) {
  const mayCompile = new Set(['p', 't']);
  const compiler = new Compiler(
    { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '' },
    { has: (namespace) => mayCompile.has(namespace), spend: () => undefined },
  );
  const apply = (manifest: string, isSpread = true): ResourceChanges => {
    const { objects, errors } = parseManifests('test', manifest);
    assert.deepEqual(errors, []);
    return compiler.apply(new Map(objects.map((object) => [objectKey(object), object])), isSpread);
  };
  apply(text, false);
  const meaning = ({ filters, backends }: RouteRule): string =>
    filters[0]?.$case ?? backends[0]?.target.kind ?? '';
  const routes = () =>
    Object.fromEntries(
      [...compiler.all()].flatMap((one) =>
        one.kind === 'route' ? [[one.value.key, one.value.rules.map(meaning)]] : [],
      ),
    );
  return { compiler, apply, mayCompile, routes };
}
const updatedRoutes = ({ updated }: ResourceChanges): string[] =>
  updated.flatMap((one) => (one.kind === 'route' ? [one.value.key] : []));

test('objects that only name a Service follow in later turns; the one that is in force for it does not', () => {
  const { compiler, apply, routes } = spreadMesh(
    service('p', 'x', `[${port(80)}]`) +
      service('t', 'own', `[${port(80)}]`) +
      virtualService('p', 'x', 'x') +
      virtualService('t', 'own', 'own'),
  );
  const now = updatedRoutes(apply(service('p', 'x', `[${port(81)}]`)));
  assert.deepEqual(now, ['VirtualService/p/x/p/x/81']);
  assert.deepEqual(routes()['VirtualService/t/own/t/own/80'], ['directResponse', 'service']);
  assert.equal(compiler.waiting, 1);
  const later = updatedRoutes(compiler.continue(() => true));
  assert.deepEqual(later, ['VirtualService/t/own/t/own/80']);
  assert.deepEqual(routes()['VirtualService/t/own/t/own/80'], ['directResponse', 'invalid']);
  assert.equal(compiler.waiting, 0);
});

test('a change of a Service that no route depends on recompiles no VirtualService', () => {
  const { compiler, apply } = spreadMesh(
    service('p', 'x', `[${port(80)}]`) + virtualService('p', 'x', 'x') + virtualService('t', 'own', 'x.p'),
  );
  assert.deepEqual(updatedRoutes(apply(service('p', 'x', `[${port(80)}]`, '{ app: x }'))), []);
  assert.equal(compiler.waiting, 0);
});

test('while the objects of a namespace wait, their former routes stay, new ports are closed, and lost ones are left', () => {
  const { compiler, apply, mayCompile, routes } = spreadMesh(
    service('p', 'x', `[${port(80)}, ${port(82)}]`) + virtualService('p', 'x', 'x'),
  );
  mayCompile.delete('p');
  apply(service('p', 'x', `[${port(80)}, ${port(81)}]`));
  assert.deepEqual(routes(), {
    'VirtualService/p/x/p/x/80': ['directResponse', 'service'],
    'VirtualService/p/x/p/x/81': ['invalid'],
  });
  // A changed object, and a new one, do not open anything either.
  apply(
    virtualService('p', 'x', 'x', 404) + service('p', 'y', `[${port(80)}]`) + virtualService('p', 'y', 'y'),
  );
  assert.deepEqual(routes()['VirtualService/p/y/p/y/80'], ['invalid']);
  // Another namespace has its own time.
  apply(service('t', 'own', `[${port(80)}]`) + virtualService('t', 'own', 'own'));
  assert.deepEqual(routes()['VirtualService/t/own/t/own/80'], ['directResponse', 'service']);
  while (compiler.waiting > 0) compiler.continue(() => true);
  assert.deepEqual(routes(), {
    'VirtualService/p/x/p/x/80': ['directResponse', 'service'],
    'VirtualService/p/x/p/x/81': ['directResponse', 'service'],
    'VirtualService/p/y/p/y/80': ['directResponse', 'service'],
    'VirtualService/t/own/t/own/80': ['directResponse', 'service'],
  });
});

test('a deleted object that waits is gone at once', () => {
  const { compiler, apply, mayCompile, routes } = spreadMesh(
    service('p', 'x', `[${port(80)}]`) + virtualService('p', 'x', 'x'),
  );
  mayCompile.delete('p');
  apply(service('p', 'x', `[${port(81)}]`));
  assert.equal(compiler.waiting, 1);
  const [object] = compiler.ofKind('VirtualService');
  assert.ok(object);
  compiler.apply(new Map([[objectKey(object), undefined]]), true);
  assert.deepEqual(routes(), {});
  assert.equal(compiler.waiting, 0);
});

test('the VirtualService that takes the place of a deleted one is compiled in the same turn', () => {
  const { compiler, apply, routes } = spreadMesh(
    service('p', 'x', `[${port(80)}]`) + virtualService('p', 'a', 'x') + virtualService('p', 'b', 'x'),
  );
  assert.deepEqual(Object.keys(routes()), ['VirtualService/p/a/p/x/80']);
  const first = compiler.indexes.VirtualService.get('p', 'a');
  assert.ok(first);
  compiler.apply(new Map([[objectKey(first), undefined]]), true);
  assert.deepEqual(Object.keys(routes()), ['VirtualService/p/b/p/x/80']);
  apply('');
});
