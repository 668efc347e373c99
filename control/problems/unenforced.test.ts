import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../src/model/identity.js';
import { parseManifests } from '../source/parse.js';
import { compile } from '../compile/compile.js';
import { unenforced } from './unenforced.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
const service = (labels = ''): string =>
  `---\nkind: Service\nmetadata: { name: api, namespace: shop, labels: { ${labels} } }
spec: { clusterIP: 10.96.0.1, ports: [{ name: http, port: 80 }] }\n`;
const waypoint = `---\nkind: Gateway\nmetadata: { name: wp, namespace: shop }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }\n`;
const route = (parent: string, rules = '{}'): string =>
  `---\nkind: HTTPRoute\nmetadata: { name: r, namespace: shop }
spec: { parentRefs: [{ ${parent} }], rules: [${rules}] }\n`;
const own = "group: '', kind: Service, name: api";

function problemsOf(text: string): readonly string[] {
  const { objects, errors } = parseManifests('x', text);
  assert.deepEqual(errors, []);
  return [...unenforced(compile(objects, settings))];
}

test('a route that is enforced, or that belongs to other controllers, is no problem', () => {
  assert.deepEqual(problemsOf(service('weft.dev/waypoint: wp') + waypoint + route(own)), []);
  assert.deepEqual(problemsOf(service() + route('name: gw')), []);
});

for (const [name, text, expected] of [
  ['without a waypoint', service() + route(own), /^HTTPRoute shop\/r: Service shop\/api has no waypoint/],
  [
    'whose parent has no group',
    service('weft.dev/waypoint: wp') + waypoint + route('kind: Service, name: api'),
    /^HTTPRoute shop\/r: parentRef api: .* add group: ""/,
  ],
  [
    'whose backend does not exist',
    service('weft.dev/waypoint: wp') + waypoint + route(own, '{ backendRefs: [{ name: v2, port: 80 }] }'),
    /^HTTPRoute shop\/r: there is no Service shop\/v2/,
  ],
] as const)
  test(`a route ${name} is a problem of a registry of files, as its condition would be`, () => {
    const problems = problemsOf(text);
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0] ?? '', expected);
  });

test("SMI's objects that need a waypoint and have none are problems of a registry of files", () => {
  const split = `---\napiVersion: split.smi-spec.io/v1alpha4\nkind: TrafficSplit\nmetadata: { name: s, namespace: shop }
spec: { service: api, backends: [{ service: api, weight: 1 }] }\n`;
  const target = (kind: string): string => `---
apiVersion: access.smi-spec.io/v1alpha3\nkind: TrafficTarget\nmetadata: { name: t, namespace: shop }
spec: { destination: { kind: ServiceAccount, name: api }, rules: [{ kind: ${kind}, name: x }], sources: [{ kind: ServiceAccount, name: web }] }\n`;
  assert.match(problemsOf(service() + split).join('\n'), /^TrafficSplit shop\/s: .* has no waypoint.*$/);
  assert.match(problemsOf(target('HTTPRouteGroup')).join('\n'), /^TrafficTarget shop\/t: no pod .*$/);
  assert.deepEqual(problemsOf(target('TCPRoute')), []);
  assert.deepEqual(problemsOf(service('weft.dev/waypoint: wp') + waypoint + split), []);
});

test("Istio's objects that need a waypoint and have none, or that are closed in part, are problems of a registry of files", () => {
  const route = (subset: string): string => `---
apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: v, namespace: shop }
spec: { hosts: [api], http: [{ route: [{ destination: { host: api, subset: ${subset} } }] }] }\n`;
  const rule = `---
apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: d, namespace: shop }
spec: { host: api, trafficPolicy: { outlierDetection: {} }, subsets: [{ name: v1, labels: { version: v1 } }] }\n`;
  const withoutWaypoint = problemsOf(service() + route('v1') + rule).join('\n');
  assert.match(withoutWaypoint, /^VirtualService shop\/v: Service shop\/api has no waypoint/m);
  assert.match(withoutWaypoint, /^DestinationRule shop\/d: host: Service shop\/api has no waypoint/m);
  const served = service('weft.dev/waypoint: wp') + waypoint + rule;
  assert.deepEqual(problemsOf(served + route('v1')), []);
  assert.deepEqual(problemsOf(served + route('v2')), [
    'VirtualService shop/v: http[0].route[0].destination: closed: no DestinationRule defines subset v2 of Service shop/api',
  ]);
  const policy = `---
apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: a, namespace: shop }
spec: { rules: [{ from: [{ source: { trustDomains: ['*a'] } }] }] }\n`;
  assert.match(
    problemsOf(policy).join('\n'),
    /^AuthorizationPolicy shop\/a: closed: rules.*trustDomains: values that begin with \* are not carried out/m,
  );
});

test('a decision service that does not exist is a problem of a registry of files', () => {
  const policy = (port: number, more = ''): string => `---
apiVersion: weft.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: { name: guard, namespace: shop }
spec: { targetRefs: [{ ${own} }], externalAuthorization: [{ name: all, service: { name: api, ${more}port: ${port} } }] }\n`;
  const bound = service('weft.dev/waypoint: wp') + waypoint;
  assert.deepEqual(problemsOf(bound + policy(80)), []);
  assert.deepEqual(problemsOf(bound + policy(81)), [
    'TrafficPolicy shop/guard: externalAuthorization all: Service shop/api has no port 81: requests that it is asked about are refused',
  ]);
  assert.deepEqual(problemsOf(bound + policy(80, 'namespace: far, ')), [
    'TrafficPolicy shop/guard: externalAuthorization all: there is no Service far/api: requests that it is asked about are refused',
  ]);
});
