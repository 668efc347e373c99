/** VirtualServices, compiled in a mesh of a few Services. */
import assert from 'node:assert/strict';
import { compile, type Compiler } from '../../control/compile/compile.js';
import { remarksText } from '../../control/dialects/remarks.js';
import type { IstioObject } from '../../control/objects/objects.js';
import { parseManifests } from '../../control/source/parse.js';
import { decodeRoute, encodeRoute } from '../../src/discovery/codec/route.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { Route, RouteRule } from '../../src/model/route.js';

export const services = `
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
---
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: { name: payment-service, namespace: production }
spec: { host: payment-service, subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }] }
`;
export const virtualService = (name: string, spec: string, more = 'namespace: production'): string => `
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${name}, ${more} }
spec: ${spec}
`;

export function mesh(yaml: string): Compiler {
  const { objects, errors } = parseManifests('x', services + yaml);
  assert.deepEqual(errors, []);
  return compile(objects, { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' });
}
/** The routes. Each is encoded and decoded. */
export function routesOf(compiler: Compiler): Route[] {
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
export const remark = (compiler: Compiler, name: string, namespace?: string): string | undefined =>
  remarksText(compiler.remarksOf(virtual(compiler, name, namespace)));
export const problem = (compiler: Compiler, name: string, namespace?: string): string | undefined =>
  compiler.problemOf(virtual(compiler, name, namespace))?.message;
/** The rules of a VirtualService of `payment-service`. */
export function rules(http: string): readonly RouteRule[] {
  const [route] = routesOf(mesh(virtualService('a', `{ hosts: [payment-service], http: [${http}] }`)));
  assert.ok(route);
  return route.rules;
}
/** A backend of namespace `production`. */
export const to = (name: string, weight = 100, port = 80) => ({
  target: {
    kind: 'service',
    service: `production/${name}.production.svc.cluster.local`,
    port,
  },
  weight,
  filters: [],
});

/** A destination. */
export const routed = 'route: [{ destination: { host: payment-service } }]';
