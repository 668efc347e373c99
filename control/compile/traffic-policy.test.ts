import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeServicePolicy, readServicePolicy } from '../../src/discovery/codec/service-policy.js';
import type { ServicePolicy } from '../../src/model/service-policy.js';
import type { ServiceKey } from '../../src/model/workload.js';
import type { TrafficPolicyObject } from '../objects/objects.js';
import { parseManifests } from '../source/parse.js';
import { compileTrafficPolicy, sectionNames, type TrafficSettings } from './traffic-policy.js';

/** The objects and errors of a policy whose spec has this text besides a target. */
function read(spec: string, more = '') {
  const text = `
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: p, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: api }]
${more}
${spec.replace(/^/gm, '  ')}
`;
  return parseManifests('p.yaml', text);
}
/** The settings of one section. Fails if the policy cannot be read. */
function settings(spec: string): TrafficSettings {
  const { objects, errors } = read(spec);
  assert.deepEqual(errors, [], spec);
  const [section, ...others] = compileTrafficPolicy(objects[0] as TrafficPolicyObject).sections;
  assert.ok(section && others.length === 0, spec);
  return section.settings;
}
const errorOf = (spec: string, more?: string): string =>
  read(spec, more)
    .errors.map(({ message, field }) => `${field}: ${message}`)
    .join('\n');

test('an empty section has the default values, which are those of Envoy where it has some', () => {
  assert.deepEqual(settings('loadBalancing: {}'), {
    loadBalancing: { kind: { $case: 'leastRequest', value: { choices: 2 } }, slowStart: undefined },
  });
  assert.deepEqual(settings('loadBalancing: { slowStart: { window: 30s } }').loadBalancing?.slowStart, {
    windowMs: 30_000,
    aggression: 1000,
    minWeightPercent: 10,
  });
  const hashed = (type: string) =>
    settings(`loadBalancing: { type: ${type}, hashOn: [{ header: X-User }, { cookie: { name: s } }] }`)
      .loadBalancing?.kind?.value;
  const keys = [
    { kind: 'header', name: 'x-user', cookieTtlMs: 0, cookiePath: '' },
    { kind: 'cookie', name: 's', cookieTtlMs: 0, cookiePath: '' },
  ];
  assert.deepEqual(hashed('RingHash'), { keys, ringSizeMin: 1024, ringSizeMax: 8_388_608 });
  assert.deepEqual(hashed('Maglev'), { keys, tableSize: 65_537 });
  assert.deepEqual(settings('loadBalancing: { type: PeakEwma }').loadBalancing?.kind?.value, {
    decayMs: 10_000,
  });
  assert.deepEqual(settings('locality: {}'), {
    locality: { preference: [], overprovisioningPercent: 140, panicPercent: 50, minEndpoints: 0 },
  });
  assert.deepEqual(settings('circuitBreaker: { requestsMax: 5 }'), { requestsMax: 5 });
  assert.deepEqual(settings('outlierDetection: {}').outlierDetection, {
    consecutive5xx: 5,
    consecutiveGatewayErrors: 0,
    consecutiveLocalFailures: 5,
    splitsLocalErrors: false,
    intervalMs: 10_000,
    baseEjectionMs: 30_000,
    ejectionMsMax: 300_000,
    ejectionJitterMs: 0,
    ejectedPercentMax: 10,
    alwaysEjectOne: true,
    successRateHostsMin: 0,
    successRateRequestsMin: 0,
    successRateStdevFactor: 0,
    failurePercent: 0,
    failurePercentHostsMin: 0,
    failurePercentRequestsMin: 0,
    dryRun: false,
  });
  const both = settings(
    'outlierDetection: { successRate: {}, failurePercentage: {}, baseEjectionTime: 10m }',
  );
  assert.deepEqual(
    [
      both.outlierDetection?.successRateStdevFactor,
      both.outlierDetection?.failurePercent,
      both.outlierDetection?.ejectionMsMax,
    ],
    [1900, 85, 600_000],
  );
  assert.deepEqual(settings('healthChecks: [{ http: { path: / } }]').healthChecks, [
    {
      kind: { $case: 'http', value: { path: '/', host: '', method: 'GET', statuses: [], headers: [] } },
      port: 0,
      intervalMs: 10_000,
      timeoutMs: 1_000,
      jitterPercent: 10,
      healthyThreshold: 2,
      unhealthyThreshold: 3,
      dryRun: false,
    },
  ]);
  assert.deepEqual(settings('retry: { conditions: [5xx, unavailable], backoff: { base: 10ms } }').retry, {
    conditionKind: ['5xx'],
    codes: [],
    grpcCodes: [14],
    attempts: 2,
    perTryTimeoutMs: 0,
    backoffBaseMs: 10,
    backoffMsMax: 100,
    retryAfterMsMax: 0,
    unsafeMethods: [],
    hedge: false,
    dryRun: false,
  });
  assert.deepEqual(settings('retry: { budget: { percent: 5 } }'), { retryBudgetPercent: 5 });
  assert.deepEqual(settings('timeouts: { request: 0s, maxDuration: 1h, streamIdle: 5m }'), {
    timeouts: { requestMs: 0, streamMsMax: 3_600_000, dryRun: false },
    streamIdleMs: 300_000,
  });
  assert.deepEqual(settings('rateLimits: [{ name: a, requests: 10, per: 1s }]').rateLimits, [
    {
      $case: 'localRateLimit',
      value: {
        name: 'TrafficPolicy shop/p a',
        matches: [],
        keys: [],
        requests: 10,
        perMs: 1000,
        burst: 10,
        dryRun: false,
      },
    },
  ]);
  const service = '{ name: l, port: 81 }';
  const limits = settings(
    `rateLimits: [{ name: a, requests: 1, per: 1m, global: {} }, { name: b, requests: 1, per: 1h, global: { service: ${service} } }]`,
  ).rateLimits;
  assert.deepEqual(
    limits?.map((one) => one.$case === 'globalRateLimit' && [one.value.timeoutMs, one.value.service]),
    [
      [20, undefined],
      [20, { target: { service: 'shop/l.shop.svc.cluster.local', port: 81, invalid: '' }, domain: 'shop' }],
    ],
  );
  const [fault] = settings(`faults: [{ name: a, delay: { duration: 1s, percent: '0.5' } }]`).faults ?? [];
  assert.ok(fault?.$case === 'fault');
  assert.deepEqual(
    [fault.value.name, fault.value.delayPpm, fault.value.activeMax, fault.value.untilMs],
    ['TrafficPolicy shop/p a', 5000, 100, 0],
  );
  const [shedding] = settings('loadShedding: { adaptiveConcurrency: {}, memoryMax: 1Mi }').loadShedding ?? [];
  assert.ok(shedding?.$case === 'loadShedding');
  assert.deepEqual(shedding.value, {
    name: 'TrafficPolicy shop/p',
    adaptiveConcurrency: {
      samplePercentile: 50,
      updateIntervalMs: 100,
      minRttIntervalMs: 60_000,
      minRttRequests: 50,
      minConcurrency: 3,
      concurrencyMax: 1000,
      bufferPercent: 25,
      jitterPercent: 15,
    },
    eventLoopDelayMsMax: 0,
    memoryBytesMax: 1_048_576,
    priorityMatches: [],
    priorityClients: [],
    dryRun: false,
  });
});

/** A valid text of each section, with as many fields as it can have. */
const full: Readonly<Record<string, string>> = {
  loadBalancing:
    'loadBalancing: { type: RingHash, hashOn: [{ cookie: { name: s, ttl: 1h } }, { query: q }, { clientIdentity: {} }, { clientAddress: {} }], ringHash: { sizeMin: 1, sizeMax: 2 } }',
  locality: 'locality: { preference: [Region, Node], panicPercent: 0, minEndpoints: 2 }',
  circuitBreaker:
    'circuitBreaker: { connectionsMax: 1, pendingRequestsMax: 0, pendingTimeout: 1s, requestsMax: 2, requestsPerConnectionMax: 3, perClient: { connectionsMax: 4, pendingRequestsMax: 5, requestsMax: 6 } }',
  outlierDetection:
    "outlierDetection: { consecutiveGatewayErrors: 3, successRate: { stdevFactor: '2' }, failurePercentage: { threshold: 50 } }",
  healthChecks:
    "healthChecks: [{ http: { path: /, statuses: ['200', '300-399'], headers: [{ name: X, value: v }] }, port: 8080 }, { grpc: { service: s } }, { tcp: { send: a, receive: [b] } }]",
  retry:
    'retry: { conditions: [reset, retriable-status-codes, internal], statusCodes: [429], perTryTimeout: 1s, hedge: true, retryAfterMax: 5s, unsafeMethods: [POST], budget: { percent: 0, minRetries: 0 } }',
  timeouts:
    'timeouts: { request: 1s, connect: 2s, streamIdle: 3s, connectionIdle: 4s, maxDuration: 5s, tcpIdle: 6s }',
  rateLimits:
    'rateLimits: [{ name: a, matches: [{ path: { type: RegularExpression, value: /a.* }, method: GET, headers: [{ name: X, value: v }], queryParams: [{ name: q, value: z }] }], keys: [{ clientIdentity: {} }, { clientNamespace: {} }, { clientAddress: {} }, { header: X }, { cookie: c }, { query: q }, { path: {} }, { method: {} }], requests: 5, per: 90s, burst: 7 }, { name: b, keys: [{ route: {} }], requests: 1, per: 24h, global: { failClosed: true, service: { name: l, namespace: infra, port: 81, domain: d } } }]',
  externalAuthorization:
    'externalAuthorization: [{ name: a, service: { name: opa, port: 9191 }, grpc: { context: { k: v } } }, { name: b, matches: [{ path: { value: /a } }], service: { name: opa, namespace: infra, port: 80 }, protocol: HTTP, http: { pathPrefix: /check }, timeout: 1s, failOpen: true, statusOnError: 500, requestHeaders: [Cookie], upstreamHeaders: [X-User, x-claim-*], clientHeaders: [Location], body: { bytesMax: 1000, partial: true }, cache: 10s, routesMayDisable: true, dryRun: true }]',
  faults:
    "faults: [{ name: a, delay: { duration: 1s, percent: '1' }, abort: { httpStatus: 503, percent: '2' }, until: 2026-12-01T00:00:00Z }, { name: b, abort: { grpcStatus: 14, percent: '3' } }, { name: c, abort: { reset: {}, percent: '100' } }]",
  loadShedding:
    'loadShedding: { adaptiveConcurrency: { concurrencyMax: 5 }, eventLoopDelayMax: 100ms, memoryMax: 400Mi, priority: [{ matches: [{ path: { type: Exact, value: /healthz } }] }, { from: [{ namespace: monitoring }] }] }',
};

test('every section survives the way to the waypoint unchanged', () => {
  assert.deepEqual(Object.keys(full).sort(), [...sectionNames].sort());
  for (const text of Object.values(full)) {
    const {
      rateLimits = [],
      externalAuthorization = [],
      faults = [],
      loadShedding = [],
      ...fields
    } = settings(text);
    const filters = [...loadShedding, ...externalAuthorization, ...rateLimits, ...faults];
    const value: ServicePolicy = {
      service: 'shop/api.shop.svc.cluster.local' as ServiceKey,
      port: 80,
      origins: [],
      ...fields,
      ...(filters.length > 0 ? { filters } : {}),
    };
    const found = readServicePolicy('', encodeServicePolicy(value));
    assert.deepEqual(found.problems, []);
    // JSON: an absent field and one that is undefined are the same.
    assert.deepEqual(JSON.parse(JSON.stringify(found.value)), JSON.parse(JSON.stringify(value)));
  }
});

test('what the rules of the CRD refuse is refused in files as well, with the field', () => {
  const refused: readonly (readonly [string, RegExp, string?])[] = [
    ['# nothing', /at least one section/],
    ['loadBalancing: { type: RingHash }', /RingHash needs hashOn/],
    ['loadBalancing: { hashOn: [{ header: x }] }', /hashOn: needs the type RingHash or Maglev/],
    ['loadBalancing: { type: Random, choices: 3 }', /choices: needs the type LeastRequest/],
    // A waypoint tries no more than 16 endpoints for one choice.
    ['loadBalancing: { choices: 17 }', /choices: must be <= 16/],
    ['loadBalancing: { type: Random, slowStart: { window: 1s } }', /slowStart: needs the type/],
    ['loadBalancing: { slowStart: { window: 0s } }', /slowStart.window: must be above 0/],
    [
      "loadBalancing: { slowStart: { window: 1s, aggression: '0.0' } }",
      /aggression: "0.0" is not a number above 0/,
    ],
    ['loadBalancing: { type: RingHash, hashOn: [{}] }', /must NOT have fewer than 1 properties/],
    [
      'loadBalancing: { type: RingHash, hashOn: [{ query: q }], ringHash: { sizeMin: 9, sizeMax: 8 } }',
      /sizeMin/,
    ],
    [
      'loadBalancing: { type: Maglev, hashOn: [{ query: q }], maglev: { tableSize: 10 } }',
      /not a prime number/,
    ],
    ['locality: { preference: [Node, Zone] }', /in the order Region, Zone, Node/],
    ['locality: { preference: [Zone, Zone] }', /each at most once/],
    ['circuitBreaker: {}', /fewer than 1 properties/],
    ['circuitBreaker: { pendingTimeout: 0s }', /pendingTimeout: must be above 0/],
    ['outlierDetection: { interval: 0s }', /interval: must be above 0/],
    ['outlierDetection: { interval: soon }', /duration such as 10s/],
    ['healthChecks: [{}]', /healthChecks\[0\]: give one of http, grpc and tcp/],
    ['healthChecks: [{ grpc: {}, tcp: {} }]', /give one of/],
    ["healthChecks: [{ http: { path: /, statuses: ['300-200'] } }]", /ends before it begins/],
    ['retry: {}', /give conditions, budget or both/],
    ['retry: { conditions: [5xx], hedge: true }', /hedge needs perTryTimeout/],
    ['retry: { conditions: [5xx], statusCodes: [429] }', /need each other/],
    ['retry: { conditions: [retriable-status-codes] }', /need each other/],
    ['retry: { budget: { percent: 1 }, attempts: 3 }', /only a budget/],
    ['retry: { conditions: [5xx], backoff: { base: 1s, max: 1ms } }', /max is less than base/],
    ['retry: { conditions: [5xx], backoff: { max: 24ms } }', /max is less than base/],
    // YAML 1.1 reads the word `on` as a boolean, so no field may have this name.
    ['retry: { on: [5xx] }', /spec.retry.true: must NOT have additional properties/],
    ['timeouts: {}', /fewer than 1 properties/],
    ['rateLimits: [{ name: a, requests: 1, per: 0s }]', /rateLimits\[0\].per: must be above 0/],
    ['rateLimits: [{ name: a, requests: 1, per: 2s, global: {} }]', /per 1s, 1m, 1h or 24h/],
    ['rateLimits: [{ name: a, requests: 1, per: 1s, burst: 2, global: {} }]', /no burst/],
    ['rateLimits: [{ name: a, requests: 1, per: 1s }, { name: a, requests: 2, per: 1s }]', /occurs twice/],
    [
      'rateLimits: [{ name: a, requests: 1, per: 1s, keys: [{ path: {}, method: {} }] }]',
      /more than 1 properties/,
    ],
    [
      "rateLimits: [{ name: a, requests: 1, per: 1s, matches: [{ path: { type: RegularExpression, value: '(' } }] }]",
      /rateLimits\[0\].matches\[0\].path.value/,
    ],
    [
      'rateLimits: [{ name: a, requests: 1, per: 1s, matches: [{ path: { value: /a/../b } }] }]',
      /cannot occur in a request/,
    ],
    ['faults: [{ name: a }]', /give delay, abort or both/],
    ["faults: [{ name: a, abort: { percent: '1' } }]", /give one of httpStatus/],
    ["faults: [{ name: a, abort: { reset: {}, percent: '101' } }]", /percentage/],
    [
      "faults: [{ name: a, abort: { reset: {}, percent: '1' }, until: 2026-13-01T00:00:00Z }]",
      /is not a time/,
    ],
    ['loadShedding: {}', /give adaptiveConcurrency/],
    ['loadShedding: { memoryMax: 0Mi }', /a quantity above 0/],
    [
      'circuitBreaker: { requestsMax: 1 }',
      /only rateLimits, externalAuthorization, faults, retry and timeouts/,
      '  from: [{ namespace: web }]',
    ],
    ['retry: { budget: { percent: 1 } }', /budget is for all clients/, '  from: [{ namespace: web }]'],
    ['timeouts: { streamIdle: 1s }', /streamIdle is for all clients/, '  from: [{ namespace: web }]'],
    ['timeouts: { request: 1s }', /fewer than 1 properties/, '  from: [{}]'],
    ['timeouts: { request: 1s }\nunknown: 1', /additional properties/],
  ];
  for (const [spec, why, more] of refused) assert.match(errorOf(spec, more), why, spec);
  for (const ref of [
    "{ group: '', kind: Gateway, name: w }",
    '{ group: gateway.networking.k8s.io, kind: Service, name: w }',
    '{ group: gateway.networking.k8s.io, kind: Gateway, name: w, sectionName: mesh }',
    "{ group: '', kind: Service, name: w, namespace: other }",
  ]) {
    const text = `apiVersion: weft.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: { name: p }\nspec: { targetRefs: [${ref}], timeouts: { request: 1s } }`;
    assert.equal(parseManifests('p.yaml', text).errors.length, 1, ref);
  }
});

test('with dryRun of the policy, sections that can count are dry runs, and the others have no effect', () => {
  const { objects, errors } = read(Object.values(full).join('\n'), '  dryRun: true');
  assert.deepEqual(errors, []);
  const { sections } = compileTrafficPolicy(objects[0] as TrafficPolicyObject);
  assert.deepEqual(
    sections.map(({ name }) => name),
    sectionNames.filter((name) => !['loadBalancing', 'locality'].includes(name)),
  );
  assert.ok(sections.every(({ isDryRun }) => isDryRun));
  const flags = JSON.stringify(sections).match(/"dryRun":(true|false)/g) ?? [];
  assert.ok(flags.length >= 10);
  assert.deepEqual(new Set(flags), new Set(['"dryRun":true']));
  const retry = sections.find(({ name }) => name === 'retry');
  assert.deepEqual(Object.keys(retry?.settings ?? {}), ['retry'], 'no budget');
  const timeouts = sections.find(({ name }) => name === 'timeouts');
  assert.deepEqual(timeouts?.settings, { timeouts: { requestMs: 1000, streamMsMax: 5000, dryRun: true } });
});

/** The closed form of a policy that cannot be read. */
function closed(spec: string, more?: string): TrafficPolicyObject {
  const {
    objects,
    closed: [object],
  } = read(spec, more);
  assert.equal(objects.length, 0);
  assert.ok(object?.kind === 'TrafficPolicy' && object.invalid !== undefined);
  return object;
}

test('a section that cannot be read is left out; if it may restrict, requests are refused; other sections stay', () => {
  const good = full['timeouts'] ?? '';
  const cases: readonly (readonly [string, boolean, string?])[] = [
    [`loadBalancing: { type: RingHash }\n${good}`, false],
    [`outlierDetection: { interval: 0s }\n${good}`, false],
    [`rateLimits: [{ name: a, requests: 1, per: 0s }]\n${good}`, true],
    [`rateLimits: [{ name: a, requests: 1, per: 0s, dryRun: true }]\n${good}`, false],
    [`rateLimits: [{ name: a, requests: 1, per: 0s }]\n${good}`, false, '  dryRun: true'],
    [`circuitBreaker: { requestsMax: -1 }\n${good}`, true],
    [`loadShedding: 5\n${good}`, true],
    [`future: { limit: 5 }\n${good}`, true],
  ];
  for (const [spec, closes, more] of cases) {
    const object = closed(spec, more);
    const compiled = compileTrafficPolicy(object);
    assert.equal(compiled.closed !== undefined, closes, spec);
    const kept = compiled.sections.map(({ name }) => name);
    assert.deepEqual(kept, ['timeouts'], spec);
    assert.deepEqual(object.spec.targetRefs, [{ group: '', kind: 'Service', name: 'api' }]);
  }
  const clients = closed(`${full['rateLimits']}\n${good}`, '  from: [5]');
  assert.deepEqual([clients.closes, compileTrafficPolicy(clients).sections], [true, []], 'unknown clients');
  const unknown = closed(`${full['circuitBreaker']}`, '  from: [{ namespace: web }]');
  assert.deepEqual([unknown.closes, compileTrafficPolicy(unknown).from.length], [true, 1]);
});
