/** Golden tests: VirtualServices and the routes that waypoints get. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeRoute, encodeRoute } from '../../../src/discovery/codec/route.js';
import { parseTrustDomain } from '../../../src/model/identity.js';
import type { Route, RouteRule } from '../../../src/model/route.js';
import { compile, type Compiler } from '../../compile/compile.js';
import type { IstioObject } from '../../objects/objects.js';
import { parseManifests } from '../../source/parse.js';

const services = `
kind: Service
metadata: { name: payment-service, namespace: production }
spec: { clusterIP: 10.96.0.1, ports: [{ name: http, port: 80 }] }
---
kind: Service
metadata: { name: two, namespace: production }
spec: { clusterIP: 10.96.0.2, ports: [{ name: http, port: 80 }, { name: http-alt, port: 8080 }, { name: tcp, port: 9000 }] }
---
kind: Service
metadata: { name: secure, namespace: production }
spec: { clusterIPs: [10.96.0.3, 'fd00:96::3'], ports: [{ name: tls, port: 443 }] }
---
kind: Service
metadata: { name: away, namespace: other }
spec: { clusterIP: 10.96.0.4, ports: [{ name: http, port: 80 }] }
`;
const virtualService = (name: string, spec: string, more = 'namespace: production'): string => `
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${name}, ${more} }
spec: ${spec}
`;

function mesh(yaml: string): Compiler {
  const { objects, errors } = parseManifests('x', services + yaml);
  assert.deepEqual(errors, []);
  return compile(objects, { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' });
}
function routesOf(compiler: Compiler): Route[] {
  const routes = [...compiler.all()].flatMap((one) => (one.kind === 'route' ? [one.value] : []));
  for (const route of routes) {
    const decoded = decodeRoute(encodeRoute(route));
    assert.ok(decoded.ok, JSON.stringify(decoded));
    assert.deepEqual(encodeRoute(decoded.value), encodeRoute(route));
  }
  return routes;
}
const virtual = (
  compiler: Compiler,
  name: string,
  namespace = 'production',
): IstioObject<'VirtualService'> => {
  const found = compiler.indexes.VirtualService.get(namespace, name);
  assert.ok(found);
  return found;
};
const remark = (compiler: Compiler, name: string, namespace?: string): string | undefined =>
  compiler.remarkOf(virtual(compiler, name, namespace));
const problem = (compiler: Compiler, name: string, namespace?: string): string | undefined =>
  compiler.problemOf(virtual(compiler, name, namespace))?.message;
/** The rules of a VirtualService of `payment-service`. */
function rules(http: string): readonly RouteRule[] {
  const [route] = routesOf(mesh(virtualService('a', `{ hosts: [payment-service], http: [${http}] }`)));
  assert.ok(route);
  return route.rules;
}
const to = (name: string, weight = 100, port = 80) => ({
  target: {
    kind: 'service',
    service: `production/${name}.production.svc.cluster.local`,
    port,
  },
  weight,
  filters: [],
});

test('the example of published guides: rules in the order written, subsets, weights', () => {
  const compiler = mesh(`
---
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: { name: payment-service, namespace: production }
spec:
  hosts: [payment-service]
  http:
    - match: [{ headers: { x-user-type: { exact: beta-tester } } }]
      route: [{ destination: { host: payment-service, subset: v2 }, weight: 100 }]
    - route:
        - { destination: { host: payment-service, subset: v1 }, weight: 90 }
        - { destination: { host: payment-service, subset: v2 }, weight: 10 }
`);
  assert.deepEqual(routesOf(compiler), [
    {
      key: 'VirtualService/production/payment-service/production/payment-service/80',
      kind: 'http',
      namespace: 'production',
      name: 'payment-service',
      createdMs: 0,
      parents: [{ service: 'production/payment-service.production.svc.cluster.local', port: 80 }],
      ordered: true,
      rules: [
        {
          name: '0',
          matches: [{ headers: [{ kind: 'exact', name: 'x-user-type', value: 'beta-tester' }], query: [] }],
          filters: [],
          backends: [to('v2.subset.payment-service')],
        },
        {
          name: '1',
          matches: [],
          filters: [],
          backends: [to('v1.subset.payment-service', 90), to('v2.subset.payment-service', 10)],
        },
      ],
    },
  ]);
  assert.equal(remark(compiler, 'payment-service'), undefined);
  assert.equal(problem(compiler, 'payment-service'), undefined);
});

test('matches', () => {
  const [rule] = rules(`{
    match: [{ uri: { prefix: /a }, ignoreUriCase: true, scheme: { exact: http }, method: { regex: 'G.*' },
      authority: { exact: Payment.shop }, headers: { X-A: {}, x-b: { prefix: b } }, withoutHeaders: { x-c: { exact: c } },
      queryParams: { q: { regex: '1+' } }, sourceNamespace: other }, { uri: { exact: /b }, port: 81 }],
    route: [{ destination: { host: payment-service.production.svc.cluster.local } }] }`);
  assert.deepEqual(rule?.matches, [
    {
      path: { kind: 'string-prefix', value: '/a' },
      ignorePathCase: true,
      headers: [
        { kind: 'regex', name: ':method', value: 'G.*' },
        { kind: 'exact', name: ':scheme', value: 'http' },
        { kind: 'exact', name: ':authority', value: 'payment.shop' },
        { kind: 'present', name: 'x-a', value: '' },
        { kind: 'prefix', name: 'x-b', value: 'b' },
      ],
      query: [{ kind: 'regex', name: 'q', value: '1+' }],
      withoutHeaders: [{ kind: 'exact', name: 'x-c', value: 'c' }],
      clients: [{ namespace: 'other', serviceAccount: '' }],
    },
  ]);
});
