import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filter, mirrorTo } from '../../../test/support/filters.js';
import {
  emptyMatch,
  type AuthorizationPolicy,
  type PolicyKey,
  type PolicyMatch,
} from '../../model/policy.js';
import type { Route, RouteKey } from '../../model/route.js';
import { type ServicePolicy } from '../../model/service-policy.js';
import type { ServiceKey } from '../../model/workload.js';
import { service as serviceAt, workload as workloadAt } from '../../../test/support/mesh.js';
import { decodeAddress, encodeService, encodeWorkload } from '../codec/address.js';
import { decodeAuthorization, encodeAuthorization } from '../codec/policy.js';
import { decodeRoute, encodeRoute } from '../codec/route.js';
import { encodeServicePolicy, readServicePolicy } from '../codec/service-policy.js';
import * as pbAuth from '../gen/authorization.js';
import * as pbWeft from '../gen/weft.js';
import { Address } from '../gen/workload.js';
import type { Mutable } from '../../../test/support/mutable.js';
import { scopeExtension } from '../types.js';

const api = 'shop/api.shop.svc.cluster.local' as ServiceKey;
const headers = { set: [{ name: 'a', value: '1' }], add: [{ name: 'b', value: '2' }], remove: ['c'] };

const route: Route = {
  key: 'HTTPRoute/shop/api' as RouteKey,
  kind: 'http',
  namespace: 'shop',
  name: 'api',
  createdMs: 1_700_000_000_123,
  parents: [{ service: api }, { service: api, port: 80 }],
  rules: [
    {
      name: 'first',
      matches: [
        {
          path: { kind: 'prefix', value: '/v1' },
          method: 'GET',
          headers: [{ kind: 'regex', name: 'x', value: 'a.*' }],
          query: [{ kind: 'exact', name: 'q', value: '' }],
        },
        { path: { kind: 'suffix', value: '/Method' }, headers: [], query: [] },
        { headers: [], query: [] },
      ],
      filters: [
        filter('requestHeaders', { ...headers }),
        filter('responseHeaders', { ...headers }),
        filter('redirect', {
          scheme: 'https',
          hostname: 'x.test',
          port: 443,
          path: { kind: 'full', value: '' },
          statusCode: 301,
        }),
        filter('redirect', { statusCode: 302 }),
        filter('rewrite', { hostname: 'y.test', path: { kind: 'prefix', value: '/v2' } }),
        mirrorTo({ kind: 'service', service: api, port: 81 }, 1, 3),
        filter('cors', {
          allowOrigins: ['*'],
          allowMethods: ['GET'],
          allowHeaders: ['x'],
          exposeHeaders: ['y'],
          allowCredentials: true,
          maxAgeS: 5,
        }),
      ],
      backends: [
        { target: { kind: 'service', service: api, port: 80 }, weight: 0, filters: [] },
        {
          target: { kind: 'invalid', reason: 'no Service' },
          weight: 1,
          filters: [filter('responseHeaders', { ...headers })],
        },
      ],
      requestTimeoutMs: 0,
      backendRequestTimeoutMs: 1500,
      idleTimeouts: { streamIdleMs: 0 },
      retry: { codes: [500, 503], attempts: 2, backoffMs: 100 },
      sessionPersistence: { kind: 'cookie', name: 's', absoluteTimeoutMs: 3_600_000, permanent: true },
    },
    {
      matches: [],
      filters: [],
      backends: [],
      idleTimeouts: { bodyIdleMs: 1, streamIdleMs: 2 },
      retry: { codes: [] },
    },
  ],
};

test('a route is unchanged after encoding and decoding', () => {
  assert.deepEqual(decodeRoute(encodeRoute(route)), { ok: true, value: route });
});

test('the settings of a Service port are unchanged after encoding and decoding', () => {
  const origins = [{ setting: 'streamIdleMs', object: 'Namespace shop' }];
  const full: ServicePolicy = {
    service: api,
    port: 80,
    origins,
    bodyIdleMs: 0,
    streamIdleMs: 5,
    requestsMax: 1,
    pendingRequestsMax: 0,
    retryBudgetPercent: 20,
    retryBudgetMin: 0,
  };
  const all = [full, { service: api, port: 1, origins: [] }];
  for (const $case of ['roundRobin', 'random'] as const)
    all.push({ ...full, loadBalancing: { kind: { $case, value: {} }, slowStart: undefined } });
  for (const value of all)
    assert.deepEqual(readServicePolicy('', encodeServicePolicy(value)), { value, problems: [] });
});

test('an unknown part of a route is an error, never ignored', () => {
  const refused = (change: (message: Mutable<pbWeft.Route>) => void, why: RegExp): void => {
    const message = pbWeft.Route.decode(encodeRoute(route)) as Mutable<pbWeft.Route>;
    change(message);
    const decoded = decodeRoute(pbWeft.Route.encode(message).finish());
    assert.ok(!decoded.ok);
    assert.match(decoded.errors.join(), why);
  };
  const rule = (message: Mutable<pbWeft.Route>): Mutable<pbWeft.RouteRule> => {
    assert.ok(message.rules[0]);
    return message.rules[0];
  };
  const match = (message: Mutable<pbWeft.Route>): Mutable<pbWeft.RouteMatch> => {
    const found = rule(message).matches[0];
    assert.ok(found);
    return found;
  };
  refused((m) => (m.kind = 'udp'), /route of unknown kind "udp"/);
  refused((m) => (m.namespace = ''), /namespace is empty/);
  refused((m) => (match(m).pathKind = 'glob'), /path match of unknown kind/);
  refused(
    (m) => void (match(m).headers = [{ kind: 'glob', name: 'x', value: '' }]),
    /value match of unknown/,
  );
  refused((m) => (rule(m).filters = [{ filter: undefined }]), /filter of unknown kind/);
  refused((m) => (rule(m).backends = [{ target: undefined, weight: 1, filters: [] }]), /without target/);
  refused((m) => (m.parents = [{ service: api, port: 70_000 }]), /out of range/);
});

const http: PolicyMatch['http'] = {
  methods: ['GET'],
  notMethods: ['PUT'],
  paths: [
    { kind: 'exact', value: '/a' },
    { kind: 'template', segments: ['users', '*', '**'] },
  ],
  notPaths: [{ kind: 'suffix', value: '.php' }],
  hosts: [{ kind: 'exact', value: 'api' }],
  notHosts: [{ kind: 'presence' }],
  headers: [{ name: 'x', values: [{ kind: 'prefix', value: 'a' }], negated: true }],
  parameters: ['access_token'],
};
const tls: PolicyMatch['tls'] = {
  serverNames: [{ kind: 'suffix', value: '.example.com' }],
  notServerNames: [{ kind: 'exact', value: 'a.example.com' }],
};
const policy = (action: 'allow' | 'deny', match: PolicyMatch): AuthorizationPolicy => ({
  key: 'shop/p' as PolicyKey,
  name: 'p',
  namespace: 'shop',
  scope: 'workload',
  services: [api],
  action,
  dryRun: false,
  rules: [{ clauses: [{ matches: [match] }] }],
});
/** The policy as seen by a reader that skips unknown fields. */
const foreign = (policy: AuthorizationPolicy): pbAuth.Match => {
  const message = pbAuth.Authorization.decode(encodeAuthorization(policy));
  const found = message.rules[0]?.clauses[0]?.matches[0];
  assert.ok(found?.weft);
  const { weft: _, ...known } = found;
  return { ...pbAuth.Match.create(), ...known };
};
const presence = [{ matchType: { $case: 'presence', value: {} } }];

test('a policy is unchanged after encoding and decoding, with and without matches of HTTP and TLS', () => {
  for (const action of ['allow', 'deny'] as const) {
    for (const match of [emptyMatch, { ...emptyMatch, destinationPorts: [80] }]) {
      for (const sent of [
        policy(action, match),
        policy(action, { ...match, http }),
        policy(action, { ...match, tls }),
        policy(action, { ...match, http, tls }),
      ])
        assert.deepEqual(decodeAuthorization(encodeAuthorization(sent)), { ok: true, value: sent });
    }
  }
});

test('a reader without HTTP matches allows nothing that depends on them', () => {
  const seen = foreign(policy('allow', { ...emptyMatch, destinationPorts: [80], http }));
  assert.deepEqual(seen, { ...pbAuth.Match.create(), principals: presence, notPrincipals: presence });
});

test('a reader without HTTP matches denies everything that they might deny', () => {
  const seen = foreign(policy('deny', { ...emptyMatch, destinationPorts: [80], http }));
  assert.deepEqual(seen, { ...pbAuth.Match.create(), destinationPorts: [80] });
  // If ignored, an empty match would deny nothing.
  assert.deepEqual(foreign(policy('deny', { ...emptyMatch, http })), {
    ...pbAuth.Match.create(),
    notDestinationPorts: [0],
  });
});

test('a reader without TLS matches denies everything that they might deny, and allows nothing that depends on them', () => {
  const ports = { ...emptyMatch, destinationPorts: [443] };
  assert.deepEqual(foreign(policy('deny', { ...ports, tls })), {
    ...pbAuth.Match.create(),
    destinationPorts: [443],
  });
  assert.deepEqual(foreign(policy('deny', { ...emptyMatch, tls })), {
    ...pbAuth.Match.create(),
    notDestinationPorts: [0],
  });
  assert.deepEqual(foreign(policy('allow', { ...ports, tls })), {
    ...pbAuth.Match.create(),
    principals: presence,
    notPrincipals: presence,
  });
});

test('a policy with unreadable HTTP matches is rejected: decoded in part it could allow more', () => {
  const refused = (weft: pbAuth.WeftMatch, why: RegExp): void => {
    const decoded = decodeAuthorization(
      pbAuth.Authorization.encode({
        ...pbAuth.Authorization.create(),
        name: 'p',
        namespace: 'shop',
        rules: [{ clauses: [{ matches: [{ ...pbAuth.Match.create(), weft }] }] }],
      }).finish(),
    );
    assert.ok(!decoded.ok);
    assert.match(decoded.errors.join(), why);
  };
  const empty = pbAuth.Match.create();
  const of = (paths: pbAuth.PathMatch[]): pbAuth.WeftMatch => ({
    match: empty,
    http: { ...pbAuth.HttpMatch.create(), paths },
    tls: undefined,
  });
  const template = (...segments: string[]): pbAuth.PathMatch => ({
    path: { $case: 'template', value: { segments } },
  });
  refused(of([{ path: undefined }]), /path match of an unknown kind/);
  refused(of([template('**', 'a')]), /not the last/);
  refused(of([template()]), /without segments/);
  const none = { http: undefined, tls: undefined };
  refused({ match: undefined, ...none }, /none/);
  refused({ match: { ...empty, weft: { match: empty, ...none } }, ...none }, /none/);
});

test('a Service and a Workload scoped to their namespace are unchanged after encoding; other readers see no address of them', () => {
  const service = serviceAt('pay', '198.51.100.1', 443, { scope: 'namespace', sessionAffinity: 'client-ip' });
  const bytes = encodeService(service);
  const decoded = decodeAddress(bytes);
  assert.ok(decoded.ok && decoded.value.kind === 'service');
  assert.deepEqual(decoded.value.service, service);
  const message = Address.decode(bytes);
  assert.ok(message.type?.$case === 'service');
  assert.deepEqual(message.type.value.addresses, []);
  const workload = workloadAt('legacy', '10.9.0.1', 'vm1', { scope: 'namespace' });
  const address = Address.decode(encodeWorkload(workload));
  assert.ok(address.type?.$case === 'workload');
  assert.deepEqual(address.type.value.addresses, []);
  const again = decodeAddress(encodeWorkload(workload));
  assert.ok(again.ok && again.value.kind === 'workload');
  assert.deepEqual(again.value.workload, workload);
});

test('the weight of a workload is its capacity; one out of bounds is raised or lowered', () => {
  const of = (weight: number): number | undefined => {
    const again = decodeAddress(encodeWorkload({ ...workloadAt('a', '10.0.0.1', 'n1'), weight }));
    assert.ok(again.ok && again.value.kind === 'workload');
    return again.value.workload.weight;
  };
  assert.deepEqual([0, 1, 7, 4_000_000_000].map(of), [1, 1, 7, 1000]);
});

test('a Service with an unreadable scope is rejected: its addresses could become valid for all clients', () => {
  const message = Address.decode(
    encodeService(serviceAt('pay', '198.51.100.1', 443, { scope: 'namespace' })),
  );
  assert.ok(message.type?.$case === 'service');
  for (const config of [
    undefined,
    { typeUrl: 'type.googleapis.com/weft.v2.Scope', value: Buffer.alloc(0) },
  ]) {
    const value = { ...message.type.value, extensions: [{ name: scopeExtension, config }] };
    assert.ok(!decodeAddress(Address.encode({ type: { $case: 'service', value } }).finish()).ok);
  }
});
