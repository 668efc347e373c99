/** External authorization of TrafficPolicies: defaults, what is refused, how policies of several targets add up, and Services without a waypoint. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { RouteFilter } from '../../src/model/route.js';
import type { ServicePolicy } from '../../src/model/service-policy.js';
import type { TrafficPolicyObject } from '../objects/objects.js';
import { parseManifests } from '../source/parse.js';
import { trafficPolicyStatus } from '../status/traffic-policy.js';
import { compile, type Compiler } from './compile.js';
import { compileTrafficPolicy } from './traffic-policy.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
const gateway = `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
`;
const service = (labels: string): string => `---
apiVersion: v1
kind: Service
metadata: { name: api, namespace: shop, labels: { ${labels} } }
spec: { clusterIP: 10.96.0.1, selector: { app: api }, ports: [{ name: http, port: 80 }] }
`;
const policy = (
  name: string,
  spec: string,
  target = "{ group: '', kind: Service, name: api }",
): string => `---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: ${name}, namespace: shop, creationTimestamp: '2026-01-0${name.length}T00:00:00Z' }
spec: { targetRefs: [${target}], ${spec} }
`;
const ask = (fields = ''): string =>
  `externalAuthorization: [{ name: main, service: { name: opa, port: 9191 }${fields} }]`;
const ofGateway = '{ group: gateway.networking.k8s.io, kind: Gateway, name: waypoint }';
const bound = 'weft.dev/waypoint: waypoint';

function load(text: string, isInvalid = false): Compiler {
  const { objects, closed, errors } = parseManifests('x', text);
  assert.equal(errors.length > 0, isInvalid, JSON.stringify(errors));
  return compile([...objects, ...closed], settings);
}
const policiesOf = (compiler: Compiler): ServicePolicy[] => {
  const found: ServicePolicy[] = [];
  for (const { kind, value } of compiler.all())
    if (kind === 'servicePolicy') found.push(value as ServicePolicy);
  return found;
};
const asked = (filters: readonly RouteFilter[] | undefined): string[] =>
  (filters ?? []).flatMap((one) => (one.$case === 'externalAuthorization' ? [one.value.name] : []));
const waypointOf = (compiler: Compiler): unknown => {
  for (const { kind, value } of compiler.all())
    if (kind === 'service' && (value as { name: string }).name === 'api')
      return (value as { waypoint?: { service?: string } }).waypoint?.service;
  return undefined;
};

test('absent fields have the default values, and fail closed', () => {
  const { objects } = parseManifests('x', policy('p', ask()));
  const [section] = compileTrafficPolicy(objects[0] as TrafficPolicyObject).sections;
  assert.deepEqual(section?.settings.externalAuthorization, [
    {
      $case: 'externalAuthorization',
      value: {
        name: 'TrafficPolicy shop/p main',
        matches: [],
        service: { service: 'shop/opa.shop.svc.cluster.local', port: 9191, invalid: '' },
        protocol: { $case: 'grpc', value: { context: [] } },
        timeoutMs: 200,
        failOpen: false,
        statusOnError: 503,
        requestHeaders: [],
        bodyBytesMax: 0,
        bodyPartial: false,
        cacheMs: 0,
        dryRun: false,
        upstreamHeaders: [],
        clientHeaders: [],
        routesMayDisable: false,
      },
    },
  ]);
});

test('what has no meaning is refused, with the field, and the policy closes its targets', () => {
  for (const [fields, why] of [
    [', http: {}', /http.*needs protocol HTTP/],
    [', protocol: HTTP, grpc: {}', /grpc.*needs protocol GRPC/],
    [', cache: 10s', /cache.*needs requestHeaders/],
    [', cache: 20m, requestHeaders: [a]', /cache.*at most 10m/],
    [', timeout: 0s', /timeout/],
    [', statusOnError: 200', /statusOnError/],
    [', body: { bytesMax: 0 }', /bytesMax/],
    [', body: { bytesMax: 2000000 }', /bytesMax/],
    [', requestHeaders: ["a b"]', /requestHeaders/],
    [', upstreamHeaders: ["a*b"]', /upstreamHeaders/],
    [', protocol: HTTP, http: { pathPrefix: check }', /pathPrefix/],
    [', protocol: HTTP, http: { pathPrefix: /../a%zz }', /pathPrefix/],
    [', protocol: HTTP, http: { pathPrefix: "/a?b" }', /pathPrefix/],
    [', what: 1', /what/],
  ] as const) {
    const text = policy('p', ask(fields));
    const { errors } = parseManifests('x', text);
    assert.match(errors.map(({ field, message }) => `${field} ${message}`).join(), why, fields);
    const compiler = load(gateway + service(bound) + text, true);
    const [made] = policiesOf(compiler);
    assert.match(made?.closed ?? '', /cannot be read/, fields);
  }
  const twice = `externalAuthorization: [{ name: a, service: { name: o, port: 1 } }, { name: a, service: { name: o, port: 1 } }]`;
  assert.notEqual(parseManifests('x', policy('p', twice)).errors.length, 0);
});

test('policies add up: neither a more specific one nor an older one lifts what another demands', () => {
  const port = "{ group: '', kind: Service, name: api, sectionName: http }";
  const compiler = load(
    gateway +
      service(bound) +
      policy('g', ask(), ofGateway) +
      policy('s', ask()) +
      policy('second', `${ask()}, rateLimits: [{ name: a, requests: 1, per: 1s }]`) +
      policy('third', `${ask()}, rateLimits: [{ name: a, requests: 1, per: 1s }]`) +
      policy('port', ask(), port) +
      policy('client', `${ask()}, from: [{ namespace: web }]`) +
      policy('dry', ask(', dryRun: true')),
  );
  const [made] = policiesOf(compiler);
  const names = ['g', 's', 'second', 'third', 'port', 'dry'].map((name) => `TrafficPolicy shop/${name} main`);
  assert.deepEqual(asked(made?.filters).sort(), [...names].sort());
  assert.deepEqual(
    asked(made?.clients?.[0]?.filters).sort(),
    [...names, 'TrafficPolicy shop/client main'].sort(),
  );
  assert.equal(asked(made?.filters).at(-1), 'TrafficPolicy shop/dry main', 'a dry run comes last');
});

test('a Service without a waypoint is closed if a policy demands decisions, and the status says so', () => {
  const compiler = load(service('app: x') + policy('p', ask()));
  assert.match(String(waypointOf(compiler)), /needed-by-external-authorization.*invalid$/);
  const found = [...compiler.ofKind('TrafficPolicy')][0];
  assert.ok(found);
  const { status } = trafficPolicyStatus(found, { mesh: compiler, timestamp: '2026-01-01T00:00:00Z' }) ?? {};
  const { conditions } = status as { conditions: { type: string; status: string; message: string }[] };
  const enforced = conditions.find(({ type }) => type === 'weft.dev/Enforced');
  assert.equal(enforced?.status, 'False');
  assert.match(enforced.message, /until then the Service's clients are refused$/);
  assert.equal(waypointOf(load(service('app: x') + policy('p', ask(', dryRun: true')))), undefined);
  assert.equal(
    waypointOf(load(service('app: x') + policy('p', 'retry: { budget: { percent: 5 } }'))),
    undefined,
  );
  assert.match(
    String(waypointOf(load(service('app: x') + policy('p', ask(', cache: 1s')), true))),
    /invalid$/,
  );
  assert.equal(
    waypointOf(load(gateway + service(bound) + policy('p', ask()))),
    'shop/waypoint.shop.svc.cluster.local',
  );
});
