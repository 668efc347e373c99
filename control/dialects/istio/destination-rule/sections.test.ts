import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ServicePolicy } from '../../../../src/model/service-policy.js';
import { compile } from '../../../compile/compile.js';
import { parseManifests } from '../../../source/parse.js';
import {
  compiled,
  errorsOf,
  host,
  issue,
  mesh,
  policyOf,
  rule,
  services,
  settings,
  statusOf,
} from '../../../../test/support/destination-rules.js';

const translated = (trafficPolicy: string): Partial<ServicePolicy> => {
  const manifest = rule(`host: payment-service\ntrafficPolicy: ${trafficPolicy}`);
  assert.deepEqual(errorsOf(manifest), []);
  const { service: _service, port: _port, origins: _origins, ...found } = policyOf(compiled(manifest)) ?? {};
  return found;
};
const balanced = (loadBalancer: string) => translated(`{ loadBalancer: ${loadBalancer} }`).loadBalancing;
const key = { kind: 'header', name: 'x-user', cookieTtlMs: 0, cookiePath: '' };

test('loadBalancer: simple, warmup and consistentHash', () => {
  const least = { $case: 'leastRequest', value: { choices: 2 } };
  for (const simple of ['UNSPECIFIED', 'LEAST_REQUEST', 'LEAST_CONN', 'PASSTHROUGH'])
    assert.deepEqual(balanced(`{ simple: ${simple} }`), { kind: least, slowStart: undefined });
  assert.equal(balanced('{ simple: RANDOM }')?.kind?.$case, 'random');
  assert.deepEqual(
    balanced('{ simple: ROUND_ROBIN, warmup: { duration: 30s, minimumPercent: 25, aggression: 1.5 } }'),
    {
      kind: { $case: 'roundRobin', value: {} },
      slowStart: { windowMs: 30_000, aggression: 1500, minWeightPercent: 25 },
    },
  );
  assert.deepEqual(balanced('{ warmupDurationSecs: 45s }')?.slowStart, {
    windowMs: 45_000,
    aggression: 1000,
    minWeightPercent: 10,
  });
  assert.deepEqual(balanced('{ consistentHash: { httpHeaderName: X-User } }')?.kind, {
    $case: 'ringHash',
    value: { keys: [key], ringSizeMin: 1024, ringSizeMax: 8_388_608 },
  });
  assert.deepEqual(
    balanced('{ consistentHash: { httpCookie: { name: user, path: /a, ttl: 10s }, minimumRingSize: 64 } }')
      ?.kind,
    {
      $case: 'ringHash',
      value: {
        keys: [{ kind: 'cookie', name: 'user', cookieTtlMs: 10_000, cookiePath: '/a' }],
        ringSizeMin: 64,
        ringSizeMax: 8_388_608,
      },
    },
  );
  assert.deepEqual(balanced('{ consistentHash: { useSourceIp: true, maglev: { tableSize: 1009 } } }')?.kind, {
    $case: 'maglev',
    value: { keys: [{ ...key, kind: 'client-address', name: '' }], tableSize: 1009 },
  });
  assert.deepEqual(
    balanced('{ consistentHash: { httpQueryParameterName: user, ringHash: { minimumRingSize: 9 } } }')?.kind,
    {
      $case: 'ringHash',
      value: { keys: [{ ...key, kind: 'query', name: 'user' }], ringSizeMin: 9, ringSizeMax: 8_388_608 },
    },
  );
});

test('connectionPool: limits, timeouts, and the protocol of endpoints', () => {
  assert.deepEqual(
    translated(`
    connectionPool:
      tcp: { maxConnections: 3, connectTimeout: 2s, idleTimeout: 1h }
      http: { http1MaxPendingRequests: 4, http2MaxRequests: 5, maxRequestsPerConnection: 6, maxRetries: 7, h2UpgradePolicy: UPGRADE }
`),
    {
      connectionsMax: 3,
      pendingRequestsMax: 4,
      requestsMax: 5,
      requestsPerConnectionMax: 6,
      retryBudgetPercent: 0,
      retryBudgetMin: 7,
      timeouts: { connectMs: 2_000, connectionIdleMs: 3_600_000, tcpIdleMs: 3_600_000, dryRun: false },
      upstreamProtocol: 'http2',
    },
  );
  assert.deepEqual(
    translated(
      '{ connectionPool: { http: { useClientProtocol: true, idleTimeout: 9s, maxRetries: 0 }, tcp: { maxConnections: -1 } } }',
    ),
    {
      timeouts: { connectionIdleMs: 9_000, dryRun: false },
      upstreamProtocol: 'client',
    },
  );
  assert.deepEqual(translated('{ retryBudget: { percent: 12.4 } }'), {
    retryBudgetPercent: 12,
    retryBudgetMin: 3,
  });
});

test("outlierDetection has Istio's defaults, which are not all Envoy's", () => {
  assert.deepEqual(translated('{ outlierDetection: { consecutive5xxErrors: null } }'), {
    outlierDetection: {
      consecutive5xx: 5,
      consecutiveGatewayErrors: 0,
      consecutiveLocalFailures: 0,
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
    },
    locality: {
      preference: ['region', 'zone'],
      overprovisioningPercent: 140,
      panicPercent: 1,
      minEndpoints: 0,
    },
  });
  const { outlierDetection: found, locality } = translated(
    '{ outlierDetection: { consecutive5xxErrors: 0, consecutiveErrors: 9, consecutiveGatewayErrors: 2, splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3, maxEjectionPercent: 100, minHealthPercent: 40, failurePercentageThreshold: 80, baseEjectionTime: 10m } }',
  );
  assert.deepEqual(
    [
      found?.consecutive5xx,
      found?.consecutiveGatewayErrors,
      found?.consecutiveLocalFailures,
      found?.splitsLocalErrors,
    ],
    [0, 2, 3, true],
  );
  assert.deepEqual(
    [found?.ejectedPercentMax, found?.ejectionMsMax, found?.failurePercent],
    [100, 600_000, 80],
  );
  assert.equal(locality?.panicPercent, 40);
  assert.equal(translated('{ outlierDetection: { maxEjectionPercent: 100 } }').locality?.panicPercent, 0);
});

test('near endpoints are preferred as the rule says, else as the Service does, and only with outlier detection', () => {
  const preference = (localityLbSetting: string, service = '') => {
    const manifest = rule(
      `host: payment-service\ntrafficPolicy: { outlierDetection: {}, loadBalancer: { localityLbSetting: ${localityLbSetting} } }`,
    );
    const { objects, closed } = parseManifests(
      'a.yaml',
      [
        mesh.replace('selector: { app: payment }', `selector: { app: payment }${service}`),
        localityLbSetting === '' ? manifest.replace(/, loadBalancer.*\} \}/, ' }') : manifest,
      ].join('\n---\n'),
    );
    return policyOf(compile([...objects, ...closed], settings))?.locality?.preference;
  };
  assert.deepEqual(preference(''), ['region', 'zone']);
  assert.deepEqual(preference('', '\n  trafficDistribution: PreferSameNode'), []);
  assert.deepEqual(preference('{}', '\n  trafficDistribution: PreferSameNode'), ['region', 'zone']);
  assert.deepEqual(preference('{}', '\n  internalTrafficPolicy: Local'), []);
  assert.deepEqual(preference('{ enabled: false }'), []);
  assert.deepEqual(
    preference('{ failoverPriority: [topology.kubernetes.io/zone, kubernetes.io/hostname, team] }'),
    ['zone', 'node'],
  );
  assert.equal(translated('{ loadBalancer: { localityLbSetting: { enabled: true } } }').locality, undefined);
});

test('tls: the mesh is mutual TLS, SIMPLE is TLS inside of the tunnel, and what cannot be carried out is closed', () => {
  const tls = (spec: string) => translated(`{ tls: ${spec} }`);
  for (const mode of ['DISABLE', 'ISTIO_MUTUAL']) assert.deepEqual(tls(`{ mode: ${mode} }`), {});
  assert.deepEqual(tls('{ mode: SIMPLE }').endpointTls, {
    hostname: host,
    caCertificates: '',
    dnsNames: [],
    uris: [],
  });
  assert.deepEqual(
    tls('{ mode: SIMPLE, sni: a.test, caCertificates: system, subjectAltNames: [B.test, "spiffe://x/y"] }')
      .endpointTls,
    {
      hostname: 'a.test',
      caCertificates: '',
      dnsNames: ['b.test'],
      uris: ['spiffe://x/y'],
    },
  );
  assert.deepEqual(tls('{ mode: MUTUAL, credentialName: bank }').endpointTls, {
    hostname: host,
    caCertificates: '',
    dnsNames: [],
    uris: [],
    clientCertificate: 'bank',
  });
  const refused = {
    '{ mode: MUTUAL, clientCertificate: /a, privateKey: /b }': 'trafficPolicy.tls.clientCertificate',
    '{ mode: MUTUAL, credentialName: a, privateKey: /b }': 'trafficPolicy.tls.privateKey',
    '{ mode: MUTUAL }': 'trafficPolicy.tls.credentialName',
    '{ mode: MUTUAL, credentialName: ../a }': 'trafficPolicy.tls.credentialName',
    '{ mode: MUTUAL, credentialName: a, insecureSkipVerify: true }': 'trafficPolicy.tls.insecureSkipVerify',
    '{ mode: SIMPLE, clientCertificate: /a }': 'trafficPolicy.tls.clientCertificate',
    '{ mode: SIMPLE, caCertificates: /etc/ca.pem }': 'trafficPolicy.tls.caCertificates',
    '{ mode: SIMPLE, credentialName: a }': 'trafficPolicy.tls.credentialName',
    '{ mode: SIMPLE, caCertCredentialName: a }': 'trafficPolicy.tls.caCertCredentialName',
    '{ mode: SIMPLE, caCrl: a }': 'trafficPolicy.tls.caCrl',
    '{ mode: SIMPLE, insecureSkipVerify: true }': 'trafficPolicy.tls.insecureSkipVerify',
  };
  for (const [spec, field] of Object.entries(refused)) {
    const { closed, endpointTls } = tls(spec);
    assert.match(closed ?? '', new RegExp(`^DestinationRule production/rule: ${field}: `), spec);
    assert.equal(endpointTls, undefined);
    const compiler = compiled(rule(`host: payment-service\ntrafficPolicy: { tls: ${spec} }`));
    assert.match(statusOf(compiler, 'rule'), /closed: /);
  }
  assert.match(translated('{ proxyProtocol: { version: V2 } }').closed ?? '', /trafficPolicy\.proxyProtocol/);
  assert.match(
    translated('{ tunnel: { targetHost: a, targetPort: 1 } }').closed ?? '',
    /trafficPolicy\.tunnel/,
  );
});

test('TLS of a subset that cannot be carried out closes the subset alone', () => {
  const compiler = compiled(
    rule(
      'host: payment-service\nsubsets: [{ name: v1, trafficPolicy: { tls: { mode: MUTUAL } } }, { name: v2 }]',
    ),
  );
  assert.deepEqual(
    ['', 'v1', 'v2'].map((subset) => policyOf(compiler, subset)?.closed !== undefined),
    [false, true, false],
  );
});

test('a rule that cannot be read closes its Service if it may restrict; its other parts are left out', () => {
  const cases: Readonly<Record<string, string | undefined>> = {
    '{ connectionPool: { tcp: { maxConnections: many } } }': 'maxConnections',
    '{ connectionPool: { tcp: { connectTimeout: soon } } }': 'connectTimeout',
    '{ connectionPool: { tcp: { max: 1 } } }':
      'trafficPolicy.connectionPool.tcp.max: this version does not know the field',
    '{ tls: { mode: MAYBE } }': 'tls.mode',
    '[]': 'cannot be read',
    '{ loadBalancer: { newer: {} } }': undefined,
    '{ newer: {} }': 'trafficPolicy.newer',
    '{ portLevelSettings: [{ tls: { mode: SIMPLE } , port: { number: x } }] }': 'cannot be read',
    '{ loadBalancer: { consistentHash: { useSourceIp: true, maglev: { tableSize: 10 } } } }': undefined,
    '{ outlierDetection: { interval: 0s } }': undefined,
  };
  for (const [trafficPolicy, why] of Object.entries(cases)) {
    const manifest = rule(
      `host: payment-service\ntrafficPolicy: ${trafficPolicy}\nsubsets: [{ name: v1, labels: { version: v1 } }]`,
    );
    assert.notDeepEqual(errorsOf(manifest), [], trafficPolicy);
    const compiler = compiled(manifest);
    for (const subset of ['', 'v1']) {
      const { closed } = policyOf(compiler, subset) ?? {};
      if (why === undefined) assert.equal(closed, undefined, trafficPolicy);
      else assert.ok(closed?.includes(why), `${trafficPolicy}: ${closed}`);
    }
    assert.ok(services(compiler).some(({ key: name }) => name.includes('v1.subset')));
  }
  const [first = ''] = errorsOf(
    rule('host: payment-service\ntrafficPolicy: { outlierDetection: { interval: 0s } }'),
  );
  assert.match(first, /trafficPolicy\.outlierDetection\.interval: must be above 0/);
});

test('a rule for a host that is no Service, for chosen clients, or for a Service without a waypoint says so', () => {
  assert.match(
    statusOf(compiled(rule('host: nobody')), 'rule'),
    /^TargetNotFound: host: .* nobody\.production\.svc/,
  );
  assert.match(statusOf(compiled(rule('host: example.com')), 'rule'), /^TargetNotFound/);
  const chosen = compiled(
    rule('host: payment-service\nworkloadSelector: { matchLabels: { a: b } }\nsubsets: [{ name: a }]'),
  );
  assert.match(statusOf(chosen, 'rule'), /^Unsupported: workloadSelector/);
  assert.ok(!services(chosen).some(({ key: name }) => name.includes('.subset.')));
  const { objects } = parseManifests(
    'a.yaml',
    [mesh.replace(', weft.dev/waypoint: wp', ''), issue()].join('\n---\n'),
  );
  assert.match(
    statusOf(compile(objects, settings), 'payment-service'),
    /has no waypoint, so nothing is in force/,
  );
});
