import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { parseTrustDomain } from '../../../src/model/identity.js';
import type { Service } from '../../../src/model/service.js';
import type { ServicePolicy } from '../../../src/model/service-policy.js';
import type { Workload } from '../../../src/model/workload.js';
import { compile, type Compiler } from '../../compile/compile.js';
import { objectKey } from '../../objects/object-key.js';
import type { MeshObject } from '../../objects/objects.js';
import { parseManifests } from '../../source/parse.js';
import { validatorOf } from '../../source/validate.js';
import { supportOf, usedFields } from '../fields.js';
import { destinationRuleFields } from './destination-rule-fields.js';

const settings = { trustDomain: parseTrustDomain('cluster.local'), rootsVersion: '1' };
const mesh = `
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
const issue = (version = 'v1beta1'): string => `
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
const rule = (spec: string, name = 'rule', namespace = 'production', more = ''): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: ${name}, namespace: ${namespace}${more} }
spec:
${spec.replace(/^\n/, '').replace(/^/gm, '  ')}
`;
/** Compiles manifests as files are: what cannot be read is in force in its closed form. */
function compiled(...manifests: readonly string[]): Compiler {
  const { objects, closed } = parseManifests('mesh.yaml', [mesh, ...manifests].join('\n---\n'));
  return compile([...objects, ...closed], settings);
}
const errorsOf = (manifest: string): string[] =>
  parseManifests('a.yaml', manifest).errors.map(({ field, message }) => `${field} ${message}`);

const host = 'payment-service.production.svc.cluster.local';
const policyOf = (compiler: Compiler, subset = '', port = 80): ServicePolicy | undefined =>
  [...compiler.all()].flatMap((one) =>
    one.kind === 'servicePolicy' &&
    one.value.service === `production/${subset === '' ? '' : `${subset}.subset.`}${host}` &&
    one.value.port === port
      ? [one.value]
      : [],
  )[0];
const services = (compiler: Compiler): Service[] =>
  [...compiler.all()].flatMap((one) => (one.kind === 'service' ? [one.value] : []));
const workloads = (compiler: Compiler): Workload[] =>
  [...compiler.all()].flatMap((one) => (one.kind === 'workload' ? [one.value] : []));
const statusOf = (compiler: Compiler, name: string, namespace = 'production'): string => {
  const object = { kind: 'DestinationRule', metadata: { name, namespace } } as MeshObject;
  const found = compiler.object(objectKey(object));
  assert.ok(found, name);
  const problem = compiler.problemOf(found);
  return problem ? `${problem.reason}: ${problem.message}` : (compiler.remarkOf(found) ?? 'in force');
};
const text = (value: unknown): string =>
  JSON.stringify(value, (_key, one: unknown) => (one instanceof Map ? [...one] : one));

for (const version of ['v1alpha3', 'v1beta1', 'v1'])
  test(`the rule of published guides works as it is written, in ${version}`, () => {
    const compiler = compiled(issue(version));
    assert.equal(statusOf(compiler, 'payment-service'), 'in force');
    for (const subset of ['', 'v1', 'v2']) {
      const policy = policyOf(compiler, subset);
      assert.ok(policy, subset);
      const { connectionsMax, pendingRequestsMax, requestsPerConnectionMax, outlierDetection } = policy;
      assert.deepEqual(
        { connectionsMax, pendingRequestsMax, requestsPerConnectionMax },
        { connectionsMax: 100, pendingRequestsMax: 50, requestsPerConnectionMax: 2 },
      );
      assert.equal(outlierDetection?.consecutive5xx, 5);
      assert.equal(outlierDetection.intervalMs, 30_000);
      assert.equal(outlierDetection.baseEjectionMs, 30_000);
      assert.equal(outlierDetection.ejectedPercentMax, 10);
      assert.ok(
        policy.origins.every(({ object }) => object === 'DestinationRule production/payment-service'),
      );
    }
  });

test('a subset is a Service without addresses, with the ports and the waypoint of its Service', () => {
  const compiler = compiled(issue());
  const [whole] = services(compiler).filter(({ name }) => name === 'payment-service');
  assert.ok(whole?.waypoint);
  const subsets = services(compiler).filter(({ key }) => key.includes('.subset.'));
  assert.deepEqual(
    subsets,
    ['v1', 'v2'].map((name) => ({
      ...whole,
      key: `production/${name}.subset.${host}`,
      hostname: `${name}.subset.${host}`,
      addresses: [],
    })),
  );
});

test('only pods of the Service with the labels of the subset are in it', () => {
  const compiler = compiled(issue());
  assert.deepEqual(
    workloads(compiler).map(({ name, services: of }) => [
      name,
      ...[...of.keys()].map((key) => key.split('/')[1]),
    ]),
    [
      ['pay-1', host, `v1.subset.${host}`],
      ['pay-2', host, `v2.subset.${host}`],
      ['other-1', 'other.production.svc.cluster.local'],
    ],
  );
  const all = compiled(rule('host: payment-service\nsubsets: [{ name: all }]'));
  assert.deepEqual(
    workloads(all).map(({ services: of }) => of.size),
    [2, 2, 1],
  );
});

test('a subset changes nothing but the entries of its pods', () => {
  const [without, withRule] = [
    compiled(),
    compiled(rule('host: payment-service\nsubsets: [{ name: v1, labels: { version: v1 } }]')),
  ];
  const strip = (compiler: Compiler): string[] =>
    [...compiler.all()].flatMap((one) => {
      if (one.kind === 'service' && one.value.key.includes('.subset.')) return [];
      if (one.kind !== 'workload') return [text(one)];
      const left = [...one.value.services].filter(([key]) => !key.includes('.subset.'));
      return [text({ ...one, value: { ...one.value, services: left } })];
    });
  assert.deepEqual(strip(withRule), strip(without));
});

test('a rule that comes, changes and goes gives the same as one that was there', () => {
  const step = (compiler: Compiler, manifest: string | undefined): void => {
    const name = { kind: 'DestinationRule', metadata: { name: 'payment-service', namespace: 'production' } };
    const key = objectKey(name as MeshObject);
    const object = manifest === undefined ? undefined : parseManifests('a.yaml', manifest).objects[0];
    compiler.apply(new Map([[key, object]]));
  };
  const sorted = (compiler: Compiler): string[] => [...compiler.all()].map(text).sort();
  const compiler = compiled();
  step(compiler, issue());
  assert.deepEqual(sorted(compiler), sorted(compiled(issue())));
  const changed = issue()
    .replace('labels: { version: v2 }', 'labels: { app: payment }')
    .replace('maxConnections: 100', 'maxConnections: 7');
  step(compiler, changed);
  assert.deepEqual(sorted(compiler), sorted(compiled(changed)));
  step(compiler, undefined);
  assert.deepEqual(sorted(compiler), sorted(compiled()));
});

test("a rule of another namespace than the Service's and the root's changes nothing, and says so", () => {
  const foreign = rule(
    `host: ${host}\ntrafficPolicy: { connectionPool: { tcp: { maxConnections: 1 } } }\nsubsets: [{ name: a }]`,
    'rule',
    'evil',
  );
  const wild = rule("host: '*'\ntrafficPolicy: { tls: { mode: MUTUAL } }", 'wild', 'evil');
  const compiler = compiled(foreign, wild);
  assert.deepEqual([...compiler.all()].map(text), [...compiled().all()].map(text));
  assert.match(
    statusOf(compiler, 'rule', 'evil'),
    /^NotPermitted: host: Service production\/payment-service is configured by/,
  );
});

test("the rule of the Service's namespace comes before that of the root namespace, and a name before a wildcard", () => {
  const limit = (count: number) => `trafficPolicy: { connectionPool: { tcp: { maxConnections: ${count} } } }`;
  const root = rule(`host: ${host}\n${limit(1)}`, 'root', 'weft-system');
  const rootWild = rule(`host: '*.cluster.local'\n${limit(2)}`, 'wild', 'weft-system');
  const ownWild = rule(`host: '*.production.svc.cluster.local'\n${limit(3)}`, 'wild');
  const own = rule(`host: payment-service\n${limit(4)}`, 'own');
  const max = (...rules: string[]) => policyOf(compiled(...rules))?.connectionsMax;
  assert.deepEqual(
    [max(rootWild), max(rootWild, root), max(rootWild, root, ownWild), max(rootWild, root, ownWild, own)],
    [2, 1, 3, 4],
  );
  assert.match(
    statusOf(compiled(root, own), 'root', 'weft-system'),
    /^Conflicted: production\/own is in force/,
  );
  const bound = (exportTo: string) =>
    max(rule(`host: ${host}\nexportTo: ['${exportTo}']\n${limit(9)}`, 'root', 'weft-system'));
  assert.deepEqual([bound('.'), bound('production'), bound('*')], [undefined, 9, 9]);
});

test('of several rules for one host the subsets are merged, and the oldest trafficPolicy is in force', () => {
  const made = (name: string, day: number, spec: string) =>
    rule(
      `host: payment-service\n${spec}`,
      name,
      'production',
      `, creationTimestamp: '2026-01-0${day}T00:00:00Z'`,
    );
  const compiler = compiled(
    made(
      'a',
      3,
      'trafficPolicy: { loadBalancer: { simple: RANDOM } }\nsubsets: [{ name: v1 }, { name: v2, labels: { version: v2 } }]',
    ),
    made('b', 1, 'subsets: [{ name: v1, labels: { version: v1 } }]'),
    made('c', 2, 'trafficPolicy: { loadBalancer: { simple: ROUND_ROBIN } }'),
  );
  assert.equal(policyOf(compiler)?.loadBalancing?.kind?.$case, 'roundRobin');
  assert.equal(policyOf(compiler, 'v2')?.loadBalancing?.kind?.$case, 'roundRobin');
  assert.deepEqual(
    workloads(compiler).map(({ services: of }) => of.size),
    [2, 2, 1],
  );
  assert.equal(statusOf(compiler, 'b'), 'in force');
  assert.equal(
    statusOf(compiler, 'a'),
    'trafficPolicy: that of production/c is in force, which has the same host and is older; subsets: v1 is of another rule with the same host, which is older',
  );
});

test('names of subsets that cannot be used, or that occur twice, are problems of the object', () => {
  const names = (...list: string[]) =>
    errorsOf(
      rule(`host: payment-service\nsubsets: [${list.map((name) => `{ name: '${name}' }`).join(', ')}]`),
    )[0];
  assert.match(names('a', 'a') ?? '', /subsets\[1\]\.name: a occurs twice/);
  assert.match(names('a b') ?? '', /subsets\[0\]\.name: "a b" is not a name/);
  assert.match(names('') ?? '', /subsets\[0\]\.name/);
});

test('the settings of a port take the place of all others, and those of a subset are merged by part', () => {
  const compiler = compiled(
    rule(`
host: payment-service
trafficPolicy:
  connectionPool: { tcp: { maxConnections: 10 }, http: { http1MaxPendingRequests: 5 } }
  loadBalancer: { simple: RANDOM }
  portLevelSettings: [{ port: { number: 81 }, connectionPool: { tcp: { maxConnections: 81 } } }]
subsets:
  - name: v1
    trafficPolicy: { connectionPool: { tcp: { maxConnections: 20 } } }
  - name: v2
    trafficPolicy:
      portLevelSettings: [{ port: { number: 80 }, loadBalancer: { simple: ROUND_ROBIN } }]
`),
  );
  const shown = (subset: string, port: number) => {
    const { connectionsMax, pendingRequestsMax, loadBalancing } = policyOf(compiler, subset, port) ?? {};
    return [connectionsMax, pendingRequestsMax, loadBalancing?.kind?.$case];
  };
  assert.deepEqual(shown('', 80), [10, 5, 'random']);
  assert.deepEqual(shown('', 81), [81, undefined, undefined]);
  assert.deepEqual(shown('v1', 80), [20, undefined, 'random']);
  assert.deepEqual(shown('v1', 81), [20, undefined, undefined]);
  assert.deepEqual(shown('v2', 80), [undefined, undefined, 'roundRobin']);
  assert.deepEqual(shown('v2', 81), [81, undefined, undefined]);
});

test("Weft's own TrafficPolicies win, also for subsets; annotations of the Namespace lose", () => {
  const policy = `
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: limits, namespace: production }
spec:
  targetRefs: [{ group: '', kind: Service, name: payment-service }]
  circuitBreaker: { connectionsMax: 7 }
  rateLimits: [{ name: few, requests: 5, per: 1s }]
`;
  const compiler = compiled(issue(), policy);
  for (const subset of ['', 'v1']) {
    const found = policyOf(compiler, subset);
    assert.equal(found?.connectionsMax, 7);
    assert.equal(found.pendingRequestsMax, 50);
    assert.equal(found.filters?.length, subset === '' ? 1 : undefined, 'requests are counted once');
    assert.ok(
      found.origins.some(
        ({ setting, object }) => setting === 'connectionsMax' && object === 'TrafficPolicy production/limits',
      ),
    );
  }
  const { objects, closed } = parseManifests(
    'mesh.yaml',
    [
      mesh.replace(
        'weft.dev/waypoint: wp }',
        "weft.dev/waypoint: wp }, annotations: { weft.dev/pending-requests-max: '9' }",
      ),
      issue(),
    ].join('\n---\n'),
  );
  assert.equal(policyOf(compile([...objects, ...closed], settings))?.pendingRequestsMax, 50);
});

test('timeouts of less specific objects stay beside those of a rule', () => {
  const policy = `
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: times, namespace: production }
spec:
  targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: wp }]
  timeouts: { request: 9s, connect: 8s }
`;
  const { timeouts } =
    policyOf(
      compiled(
        policy,
        rule('host: payment-service\ntrafficPolicy: { connectionPool: { tcp: { connectTimeout: 1.5s } } }'),
      ),
    ) ?? {};
  assert.deepEqual(timeouts, { requestMs: 9_000, connectMs: 1_500, dryRun: false });
});

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
  const refused = {
    '{ mode: MUTUAL, clientCertificate: /a, privateKey: /b }': 'trafficPolicy.tls.mode',
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

test('every field of the published schema is in the table', () => {
  const validate = validatorOf('DestinationRule');
  const paths: string[] = [];
  const visit = (schema: Record<string, unknown>, path: string): void => {
    const { properties, items, additionalProperties } = schema as {
      properties?: Record<string, Record<string, unknown>>;
      items?: Record<string, unknown>;
      additionalProperties?: Record<string, unknown> | boolean;
    };
    if (properties)
      for (const [name, one] of Object.entries(properties))
        visit(one, path === '' ? name : `${path}.${name}`);
    else if (items) visit(items, `${path}[]`);
    else if (typeof additionalProperties === 'object') visit(additionalProperties, `${path}{}`);
    else paths.push(path);
  };
  const { allOf } = validate?.schema as { allOf: { properties: { spec: Record<string, unknown> } }[] };
  visit(allOf[1]?.properties.spec ?? {}, '');
  assert.ok(paths.length > 200, String(paths.length));
  assert.deepEqual(
    paths.filter((path) => supportOf(destinationRuleFields, path) === undefined),
    [],
  );
  const { spec } = parse(issue()) as { spec: unknown };
  assert.deepEqual(
    usedFields(spec, destinationRuleFields).filter(
      ({ entry, support }) => entry !== 'host' && support.does !== 'works',
    ),
    [],
  );
});
