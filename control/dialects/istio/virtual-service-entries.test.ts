import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Compiler } from '../../compile/compile.js';
import { objectKey } from '../../objects/object-key.js';
import { parseManifests } from '../../source/parse.js';
import { compiled, text } from '../../../test/support/destination-rules.js';
import { virtualServiceEnforcement } from './virtual-service-status.js';

const entry = (more = '', spec = ''): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: httpbin, namespace: production${more} }
spec: { hosts: [httpbin.example], ports: [{ number: 80, name: http, protocol: HTTP }], resolution: STATIC, endpoints: [{ address: 192.0.2.9 }]${spec} }
`;
const route = (hosts: string, destination: string, name = 'rule', namespace = 'production'): string => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${name}, namespace: ${namespace} }
spec: { hosts: [${hosts}], http: [{ timeout: 3s, route: [{ destination: { host: ${destination} } }] }] }
`;
const routes = (compiler: Compiler) =>
  [...compiler.all()].flatMap((one) => (one.kind === 'route' ? [one.value] : []));
const enforced = (compiler: Compiler): string | undefined => {
  const [object] = [...compiler.ofKind('VirtualService')];
  return object && virtualServiceEnforcement(object, { mesh: compiler })?.reason;
};

test('a VirtualService for the host of a ServiceEntry is in force at its waypoint', () => {
  const given = [entry(), route('httpbin.example', 'httpbin.example')];
  const compiler = compiled(...given);
  const [found, ...more] = routes(compiler);
  assert.deepEqual(more, []);
  assert.deepEqual(found?.parents, [{ service: 'production/httpbin.example', port: 80 }]);
  const [rule] = found.rules;
  assert.deepEqual(
    rule?.backends.map(({ target }) => target),
    [{ kind: 'service', service: 'production/httpbin.example', port: 80 }],
  );
  assert.equal(enforced(compiler), 'Enforced');
  assert.equal(
    enforced(compiled(entry(', labels: { weft.dev/waypoint: none }'), given[1] ?? '')),
    'NoWaypoint',
  );
  // In any order.
  const step = compiled(given[1] ?? '');
  const [waiting] = [...step.ofKind('VirtualService')];
  assert.match(
    (waiting && step.problemOf(waiting)?.message) ?? '',
    /no ServiceEntry of namespace production/,
  );
  const [later] = parseManifests('a.yaml', entry()).objects;
  assert.ok(later);
  step.apply(new Map([[objectKey(later), later]]));
  assert.deepEqual([...step.all()].map(text).sort(), [...compiler.all()].map(text).sort());
  step.apply(new Map([[objectKey(later), undefined]]));
  assert.deepEqual(routes(step), []);
});

test('a destination may be the host of a ServiceEntry, and is closed when there is none', () => {
  const toEntry = route('payment-service', 'httpbin.example');
  const target = (compiler: Compiler) => routes(compiler)[0]?.rules[0]?.backends[0]?.target;
  assert.deepEqual(target(compiled(entry(), toEntry)), {
    kind: 'service',
    service: 'production/httpbin.example',
    port: 80,
  });
  const without = compiled(toEntry);
  assert.equal(target(without)?.kind, 'invalid');
  const [later] = parseManifests('a.yaml', entry()).objects;
  assert.ok(later);
  without.apply(new Map([[objectKey(later), later]]));
  assert.equal(target(without)?.kind, 'service');
  const ofSubset = toEntry.replace('httpbin.example }', 'httpbin.example, subset: v1 }');
  assert.equal(target(compiled(entry(), ofSubset))?.kind, 'invalid');
});

test('a VirtualService of another namespace, and of the resolution NONE, is not in force', () => {
  const elsewhere = compiled(entry(), route('httpbin.example', 'httpbin.example', 'rule', 'evil'));
  assert.deepEqual(routes(elsewhere), []);
  const none = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: httpbin, namespace: production }
spec: { hosts: [httpbin.example], addresses: [192.0.2.9], ports: [{ number: 80, name: http }] }
`;
  assert.deepEqual(routes(compiled(none, route('httpbin.example', 'httpbin.example'))), []);
});

test('of two VirtualServices of one host the first is in force', () => {
  const compiler = compiled(
    entry(),
    route('httpbin.example', 'httpbin.example', 'b'),
    route('httpbin.example', 'httpbin.example', 'a'),
  );
  assert.deepEqual(
    routes(compiler).map(({ name }) => name),
    ['a'],
  );
  const loser = [...compiler.ofKind('VirtualService')].find(({ metadata }) => metadata.name === 'b');
  assert.equal(loser && compiler.problemOf(loser)?.reason, 'Conflicted');
});
