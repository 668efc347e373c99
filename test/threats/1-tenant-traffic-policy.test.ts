/** Row 1 of docs/security.md: a TrafficPolicy acts on Services of its own namespace only, or on those that its namespace's Gateway serves. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compile } from '../../control/compile/compile.js';
import { parseManifests } from '../../control/source/parse.js';
import type { ServicePolicy } from '../../src/model/service-policy.js';
import { domain } from '../support/mesh.js';

const gateway = (namespace: string, name: string, from = 'Same'): string => `
kind: Gateway
metadata: { name: ${name}, namespace: ${namespace} }
spec:
  gatewayClassName: weft-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE, allowedRoutes: { namespaces: { from: ${from} } } }]
---`;
const service = (namespace: string, ip: string, labels: string): string => `
kind: Service
metadata: { name: api, namespace: ${namespace}, labels: { ${labels} } }
spec: { selector: { app: api }, clusterIP: ${ip}, ports: [{ name: http, port: 80 }] }
---`;
/** A policy that closes what it acts on to nearly all requests. */
const harm = (namespace: string, target: string, more = ''): string => `
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: harm, namespace: ${namespace} }
spec:
  targetRefs: [${target}]
  circuitBreaker: { requestsMax: 1 }
  rateLimits: [{ name: none, requests: 1, per: 1h }]
  faults: [{ name: all, abort: { httpStatus: 503, percent: '100' } }]
${more}---`;
const toService = "{ group: '', kind: Service, name: api }";
const toGateway = (name: string): string =>
  `{ group: gateway.networking.k8s.io, kind: Gateway, name: ${name} }`;

/** What waypoints are sent: node and policy. */
function sent(...texts: readonly string[]): string[] {
  const objects = texts.flatMap((text) => {
    const parsed = parseManifests('x', text.replace(/---$/, ''));
    return [...parsed.objects, ...parsed.closed];
  });
  const compiler = compile(objects, { trustDomain: domain, rootsVersion: '1' });
  return [...compiler.all()].flatMap((one) =>
    one.kind === 'servicePolicy' ? [`${one.node} ${textOf(one.value)}`] : [],
  );
}
const textOf = ({ service: key, requestsMax, filters = [], clients = [] }: ServicePolicy): string =>
  `${key.split('/')[0]} ${requestsMax ?? '-'} ${filters.length + clients.flatMap((one) => one.filters).length}`;

const bank = [
  gateway('bank', 'waypoint'),
  gateway('evil', 'waypoint'),
  service('bank', '10.96.0.1', 'weft.dev/waypoint: waypoint'),
  service('evil', '10.96.0.2', 'weft.dev/waypoint: waypoint'),
];

test('a policy acts on the Service of its own namespace, not on one of the same name elsewhere', () => {
  assert.deepEqual(sent(...bank), []);
  // The control: the policy works where it may.
  assert.deepEqual(sent(...bank, harm('evil', toService)), ['waypoint:evil/waypoint evil 1 2']);
});

test('a target in another namespace is not read: the field does not exist', () => {
  for (const target of [
    "{ group: '', kind: Service, name: api, namespace: bank }",
    "{ group: '', kind: Service, name: bank/api }",
    "{ group: '', kind: Service, name: api.bank.svc.cluster.local }",
  ])
    assert.deepEqual(
      sent(...bank, harm('evil', target)).filter((line) => line.includes(' bank ')),
      [],
      target,
    );
});

test("a policy at a namespace's Gateway acts on the Services that this Gateway serves, and on no others", () => {
  assert.deepEqual(sent(...bank, harm('evil', toGateway('waypoint'))), ['waypoint:evil/waypoint evil 1 2']);
  // A Gateway that admits everybody serves those that name it, and nobody else.
  const open = [
    gateway('infra', 'shared', 'All'),
    harm('infra', toGateway('shared')),
    service('shop', '10.96.0.3', 'weft.dev/waypoint: shared, weft.dev/waypoint-namespace: infra'),
  ];
  assert.deepEqual(sent(...bank, ...open), ['waypoint:infra/shared shop 1 2']);
  // A Gateway that does not admit a Service does not serve it, whatever the Service's labels say.
  const closed = [gateway('evil', 'closed'), harm('evil', toGateway('closed'))];
  const lured = service('shop', '10.96.0.3', 'weft.dev/waypoint: closed, weft.dev/waypoint-namespace: evil');
  assert.deepEqual(sent(...bank, ...closed, lured), []);
});

test('a client’s namespace cannot set limits for itself at the Service of another namespace', () => {
  const from = '  from: [{ namespace: evil }]\n';
  const requestScoped = harm('evil', toService, from).replace(/ {2}circuitBreaker.*\n/, '');
  assert.deepEqual(
    sent(...bank, requestScoped).filter((line) => line.includes(' bank ')),
    [],
  );
});
