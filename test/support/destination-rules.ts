/** A mesh with the Service of the guides' DestinationRule, for tests of its translation. */
import assert from 'node:assert/strict';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { Service } from '../../src/model/service.js';
import type { ServicePolicy } from '../../src/model/service-policy.js';
import type { Workload } from '../../src/model/workload.js';
import { compile, type Compiler } from '../../control/compile/compile.js';
import { remarksText } from '../../control/dialects/remarks.js';
import { objectKey } from '../../control/objects/object-key.js';
import type { MeshObject } from '../../control/objects/objects.js';
import { parseManifests } from '../../control/source/parse.js';

export const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
export const mesh = `
kind: Namespace
metadata: { name: production, labels: { weft.dev/mesh: enabled, weft.dev/waypoint: wp } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: production }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
---
apiVersion: v1
kind: Service
metadata: { name: payment-service, namespace: production }
spec:
  selector: { app: payment }
  clusterIP: 10.96.0.1
  ports: [{ name: http, port: 80, targetPort: 8080 }, { name: tcp, port: 81 }]
---
apiVersion: v1
kind: Service
metadata: { name: other, namespace: production }
spec: { selector: { app: other }, clusterIP: 10.96.0.2, ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: pay-1, namespace: production, labels: { app: payment, version: v1 } }
spec: { nodeName: n1 }
status: { podIPs: [{ ip: 10.0.0.1 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: pay-2, namespace: production, labels: { app: payment, version: v2 } }
spec: { nodeName: n1 }
status: { podIPs: [{ ip: 10.0.0.2 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: other-1, namespace: production, labels: { app: other, version: v1 } }
spec: { nodeName: n1 }
status: { podIPs: [{ ip: 10.0.0.3 }] }
`;
/** The object of the issue, as guides have it. */
export const issue = (version = 'v1beta1'): string => `
apiVersion: networking.istio.io/${version}
kind: DestinationRule
metadata: { name: payment-service, namespace: production }
spec:
  host: payment-service
  trafficPolicy:
    connectionPool: { tcp: { maxConnections: 100 }, http: { http1MaxPendingRequests: 50, maxRequestsPerConnection: 2 } }
    outlierDetection: { consecutiveErrors: 5, interval: 30s, baseEjectionTime: 30s }
  subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }]
`;
export const rule = (spec: string, name = 'rule', namespace = 'production', more = ''): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: ${name}, namespace: ${namespace}${more} }
spec:
${spec.replace(/^\n/, '').replace(/^/gm, '  ')}
`;
/** Compiles manifests as files are: what cannot be read is in force in its closed form. */
export function compiled(...manifests: readonly string[]): Compiler {
  const { objects, closed } = parseManifests('mesh.yaml', [mesh, ...manifests].join('\n---\n'));
  return compile([...objects, ...closed], settings);
}
export const errorsOf = (manifest: string): string[] =>
  parseManifests('a.yaml', manifest).errors.map(({ field, message }) => `${field} ${message}`);

export const host = 'payment-service.production.svc.cluster.local';
export const policyOf = (compiler: Compiler, subset = '', port = 80): ServicePolicy | undefined =>
  [...compiler.all()].flatMap((one) =>
    one.kind === 'servicePolicy' &&
    one.value.service === `production/${subset === '' ? '' : `${subset}.subset.`}${host}` &&
    one.value.port === port
      ? [one.value]
      : [],
  )[0];
export const services = (compiler: Compiler): Service[] =>
  [...compiler.all()].flatMap((one) => (one.kind === 'service' ? [one.value] : []));
export const workloads = (compiler: Compiler): Workload[] =>
  [...compiler.all()].flatMap((one) => (one.kind === 'workload' ? [one.value] : []));
export const statusOf = (compiler: Compiler, name: string, namespace = 'production'): string => {
  const object = { kind: 'DestinationRule', metadata: { name, namespace } } as MeshObject;
  const found = compiler.object(objectKey(object));
  assert.ok(found, name);
  const problem = compiler.problemOf(found);
  return problem
    ? `${problem.reason}: ${problem.message}`
    : (remarksText(compiler.remarksOf(found)) ?? 'in force');
};
export const text = (value: unknown): string =>
  JSON.stringify(value, (_key, one: unknown) => (one instanceof Map ? [...one] : one));
