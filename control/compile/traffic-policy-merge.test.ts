import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { RouteFilter } from '../../src/model/route.js';
import type { ServicePolicy } from '../../src/model/service-policy.js';
import { closedForm } from './closed.js';
import { compile, type Compiler } from './compile.js';
import type {
  ClientRef,
  MeshObject,
  ServiceObject,
  TargetRef,
  TrafficPolicyObject,
  TrafficSections,
} from '../objects/objects.js';
import { mergeSettings } from './service-policy.js';
import { targetConditions } from '../status/traffic-policy.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
type Notes = Readonly<Record<string, string>>;

const api: TargetRef = { group: '', kind: 'Service', name: 'api' };
const http: TargetRef = { ...api, sectionName: 'http' };
const waypoint: TargetRef = { group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'wp' };
const gateway = (namespace: string): MeshObject => ({
  kind: 'Gateway',
  metadata: { name: 'wp', namespace, annotations: { 'weft.dev/requests-max': '1' } },
  spec: {
    gatewayClassName: 'weft-waypoint',
    listeners: [
      { name: 'mesh', port: 15008, protocol: 'HBONE', allowedRoutes: { namespaces: { from: 'All' } } },
    ],
  },
});
const service = (annotations: Notes = {}, labels: Notes = { 'weft.dev/waypoint': 'wp' }): ServiceObject => ({
  kind: 'Service',
  metadata: { name: 'api', namespace: 'shop', annotations, labels },
  spec: {
    clusterIP: '10.96.0.1',
    ports: [
      { name: 'http', port: 80 },
      { name: 'admin', port: 81 },
    ],
  },
});
function policy(
  name: string,
  target: TargetRef,
  sections: TrafficSections & { readonly dryRun?: boolean },
  more: { readonly from?: readonly ClientRef[]; readonly day?: number; readonly namespace?: string } = {},
): TrafficPolicyObject {
  const { from, day = 1, namespace = 'shop' } = more;
  return {
    kind: 'TrafficPolicy',
    metadata: { name, namespace, creationTimestamp: `2026-01-0${day}T00:00:00Z` },
    spec: { targetRefs: [target], ...(from ? { from } : {}), ...sections },
  };
}
const limit = (name: string, more: object = {}): TrafficSections => ({
  rateLimits: [{ name, requests: 1, per: '1s', ...more }],
});
const build = (...objects: MeshObject[]): Compiler => compile([gateway('shop'), ...objects], settings);
const ports = (compiler: Compiler): ReadonlyMap<number, ServicePolicy> =>
  new Map(
    [...compiler.all()].flatMap((one) => (one.kind === 'servicePolicy' ? [[one.value.port, one.value]] : [])),
  );
const names = (filters: readonly RouteFilter[] | undefined): string[] =>
  (filters ?? []).map(({ value }) => ('name' in value ? value.name : '').replace('TrafficPolicy ', ''));

test('each section comes from the most specific object that sets it: Gateway, Namespace, Service, port', () => {
  const at80 = (...objects: MeshObject[]) => {
    const found = ports(build(...objects)).get(80);
    const max = found?.origins.find(({ setting }) => setting === 'requestsMax');
    return [found?.requestsMax, max?.object.replace(/^(\w+) shop\//, '$1 '), ...names(found?.filters)];
  };
  const breaker = (max: number): TrafficSections => ({ circuitBreaker: { requestsMax: max } });
  const ofGateway = policy('g', waypoint, { ...breaker(2), ...limit('l') });
  const ofService = policy('s', api, { ...breaker(5), ...limit('l') });
  const ofPort = policy('p', http, { ...breaker(7), ...limit('l') });
  const named: MeshObject = {
    kind: 'Namespace',
    metadata: { name: 'shop', annotations: { 'weft.dev/requests-max': '3' } },
  };
  assert.deepEqual(at80(service()), [1, 'Gateway wp']);
  assert.deepEqual(at80(service(), ofGateway), [2, 'TrafficPolicy g', 'shop/g l']);
  assert.deepEqual(at80(service(), ofGateway, named), [3, 'Namespace shop', 'shop/g l']);
  const max = 'weft.dev/requests-max';
  const four = service({ [max]: '4' });
  assert.deepEqual(at80(four, ofGateway, named), [4, 'Service api', 'shop/g l']);
  assert.deepEqual(at80(four, ofGateway, named, ofService), [5, 'TrafficPolicy s', 'shop/s l']);
  const six = service({ [max]: '4', [`${max}.http`]: '6' });
  assert.deepEqual(at80(six, ofService), [6, 'Service api port 80', 'shop/s l']);
  assert.deepEqual(at80(six, ofService, ofPort), [7, 'TrafficPolicy p', 'shop/p l']);
  const unlimited = policy('u', http, { circuitBreaker: { requestsPerConnectionMax: 0 } });
  const limited = policy('s', api, { circuitBreaker: { requestsPerConnectionMax: 9 } });
  const found = ports(build(service(), limited, unlimited));
  assert.deepEqual(
    [80, 81].map((port) => found.get(port)?.requestsPerConnectionMax),
    [0, 9],
    '0 is no limit, also where a less specific policy has one',
  );
  const other = ports(build(six, ofService, ofPort)).get(81);
  assert.deepEqual([other?.requestsMax, names(other?.filters)], [5, ['shop/s l']]);
});

test('a policy acts on Services and the Gateway of its own namespace only', () => {
  const evil = (target: TargetRef) => policy('x', target, limit('l'), { namespace: 'evil' });
  const found = ports(build(service(), evil(api), evil(http), evil(waypoint), gateway('evil')));
  assert.deepEqual(
    [...found.values()].flatMap(({ filters }) => names(filters)),
    [],
  );
  // The Gateway's namespace sets defaults for Services of other namespaces, whose own settings go before them.
  const labels = { 'weft.dev/waypoint': 'wp', 'weft.dev/waypoint-namespace': 'infra' };
  const infra = policy('d', waypoint, { ...limit('l'), timeouts: { request: '1s' } }, { namespace: 'infra' });
  const own = policy('o', api, { timeouts: { request: '2s' } });
  const at = ports(build(service({}, labels), gateway('infra'), infra, own, evil(waypoint))).get(80);
  assert.deepEqual([names(at?.filters), at?.timeouts?.requestMs], [['infra/d l'], 2000]);
});

test('of two policies of one target that set the same, the older is in force, then the first by name; others are merged', () => {
  const objects = [
    service(),
    policy('b', api, limit('l'), { day: 1 }),
    policy('a', api, { ...limit('l'), timeouts: { request: '1s' } }, { day: 2 }),
    policy('c', api, { circuitBreaker: { requestsMax: 9 } }, { day: 3 }),
    policy('d', http, limit('l'), { day: 3 }),
    policy('e', { ...api, sectionName: '80' }, limit('l'), { day: 3 }),
  ];
  const compiler = build(...objects);
  const at = ports(compiler).get(80);
  assert.deepEqual(
    [names(at?.filters), at?.timeouts, at?.requestsMax],
    [['shop/d l'], undefined, 9],
    'the port is another target than the Service',
  );
  assert.deepEqual(names(ports(compiler).get(81)?.filters), ['shop/b l']);
  const verdicts = objects.flatMap((one) =>
    one.kind === 'TrafficPolicy'
      ? targetConditions(one, compiler).map(
          ({ conditions: [first] }) => `${one.metadata.name} ${first?.status} ${first?.reason}`,
        )
      : [],
  );
  assert.deepEqual(verdicts, [
    'b True Accepted',
    'a False Conflicted',
    'c True Accepted',
    'd True Accepted',
    'e False Conflicted',
  ]);
});

test('policies for some clients become merged variants: service accounts before their namespace', () => {
  const compiler = build(
    service(),
    policy('all', api, { ...limit('l'), retry: { conditions: ['reset'] } }),
    policy('web', api, limit('w'), { from: [{ namespace: 'web' }, { serviceAccount: 'job' }] }),
    policy(
      'cart',
      api,
      { timeouts: { request: '1s' } },
      { from: [{ namespace: 'web', serviceAccount: 'cart' }] },
    ),
    policy('port', http, limit('p')),
  );
  const described = (port: number) =>
    ports(compiler)
      .get(port)
      ?.clients?.map(({ from, filters, retry, timeouts, origins }) => [
        from.map(({ namespace, serviceAccount }) => `${namespace}/${serviceAccount}`).join(),
        names(filters).join(),
        retry?.attempts,
        timeouts?.requestMs,
        origins
          .map(({ setting, object }) => `${setting}=${object.replace('TrafficPolicy shop/', '')}`)
          .join(' '),
      ]);
  assert.deepEqual(described(81), [
    ['shop/job', 'shop/web w', 2, undefined, 'rateLimits=web retry=all'],
    ['web/cart', 'shop/web w', 2, 1000, 'rateLimits=web retry=all timeouts=cart'],
    ['web/', 'shop/web w', 2, undefined, 'rateLimits=web retry=all'],
  ]);
  assert.deepEqual(
    described(80)?.map(([from, limits]) => [from, limits]),
    [
      ['shop/job', 'shop/port p'],
      ['web/cart', 'shop/port p'],
      ['web/', 'shop/port p'],
    ],
    'what is for the port is more specific than what is for some clients of the Service',
  );
  assert.deepEqual(names(ports(compiler).get(81)?.filters), ['shop/all l']);
});

test('a target takes a bounded number of clients, the older policies first', () => {
  const many = Array.from({ length: 9 }, (_, index) =>
    policy(`p${index}`, api, limit('l'), {
      day: index + 1,
      from: Array.from({ length: 16 }, (__, client) => ({ serviceAccount: `s${index}-${client}` })),
    }),
  );
  const compiler = build(service(), ...many);
  assert.equal(ports(compiler).get(80)?.clients?.length, 128);
  const [last] = targetConditions(many[8] as TrafficPolicyObject, compiler);
  assert.deepEqual([last?.conditions[0]?.status, last?.conditions[0]?.reason], ['False', 'Invalid']);
});

test('a dry run takes nothing away: its filters are added, and its other settings count only where none acts', () => {
  const outliers = (name: string, target: TargetRef, dryRun: boolean) =>
    policy(name, target, { outlierDetection: { consecutive5xx: 9, dryRun }, ...limit('l', { dryRun }) });
  const both = ports(build(service(), outliers('g', waypoint, false), outliers('s', api, true))).get(80);
  assert.deepEqual([both?.outlierDetection?.dryRun, names(both?.filters)], [false, ['shop/g l', 'shop/s l']]);
  const reversed = ports(build(service(), outliers('g', waypoint, true), outliers('s', api, false))).get(80);
  assert.deepEqual([reversed?.outlierDetection?.dryRun, names(reversed?.filters)], [false, ['shop/s l']]);
  const alone = ports(build(service(), outliers('s', api, true))).get(80);
  assert.deepEqual([alone?.outlierDetection?.dryRun, names(alone?.filters)], [true, ['shop/s l']]);
  // Two policies of one target: the same section in force and tried out is no conflict.
  const tried = ports(build(service(), outliers('a', api, false), outliers('b', api, true))).get(80);
  assert.deepEqual(names(tried?.filters), ['shop/a l', 'shop/b l']);
});

test('limits of a circuit breaker are merged one by one, and those of a dry run count only where none is in force', () => {
  const [acting, dry] = [
    { origin: 'a', settings: { requestsMax: 1 } },
    { origin: 'd', settings: { requestsMax: 2, connectionsMax: 3 }, isDryRun: true },
  ];
  assert.deepEqual(mergeSettings([acting, { origin: 'b', settings: { connectionsMax: 5 } }]).settings, {
    requestsMax: 1,
    connectionsMax: 5,
  });
  assert.deepEqual(mergeSettings([acting, dry]).settings, { requestsMax: 1 });
  assert.deepEqual(mergeSettings([dry]), {
    settings: { requestsMax: 2, connectionsMax: 3, circuitBreakerDryRun: true },
    origins: [
      { setting: 'connectionsMax', object: 'd' },
      { setting: 'requestsMax', object: 'd' },
    ],
  });
});

test('an unreadable policy that may restrict closes the ports that it targets, or the clients that it names', () => {
  const broken = (from?: readonly ClientRef[], day?: number): MeshObject => {
    const written = policy('x', http, limit('l', { per: '0s' }), {
      ...(from ? { from } : {}),
      ...(day ? { day } : {}),
    });
    const closed = closedForm(written, 'per', new Set());
    assert.ok(closed);
    return closed;
  };
  const found = ports(build(service(), broken()));
  assert.match(found.get(80)?.closed ?? '', /TrafficPolicy shop\/x cannot be read: per/);
  assert.equal(found.get(81)?.closed, undefined);
  const some = ports(build(service(), broken([{ namespace: 'web' }]))).get(80);
  assert.deepEqual([some?.closed, some?.clients?.map(({ closed }) => closed !== '')], [undefined, [true]]);
  // It would not be in force if it could be read.
  const lost = ports(build(service(), policy('old', http, limit('l')), broken(undefined, 2))).get(80);
  assert.deepEqual([lost?.closed, names(lost?.filters)], [undefined, ['shop/old l']]);
});
