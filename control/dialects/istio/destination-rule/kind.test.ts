import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { compile, type Compiler } from '../../../compile/compile.js';
import { objectKey } from '../../../objects/object-key.js';
import type { MeshObject } from '../../../objects/objects.js';
import { parseManifests } from '../../../source/parse.js';
import { validatorOf } from '../../../source/validate.js';
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
  text,
  workloads,
} from '../../../../test/support/destination-rules.js';
import { resolveWaypoint, waypointsOf } from '../../../../src/state/resolve.js';
import { MeshState } from '../../../../src/state/store.js';
import { supportOf, usedFields } from '../../fields.js';
import { destinationRuleFields } from './fields.js';

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

test('a rule of another namespace whose host is written like an entry of the index changes nothing', () => {
  for (const namespace of ['production', 'weft-system', '*'])
    for (const more of ['', '\nunknown: 1']) {
      const foreign = rule(
        `host: '${namespace} ${host}'\ntrafficPolicy: { connectionPool: { tcp: { maxConnections: 1 } } }\nsubsets: [{ name: a }]${more}`,
        'rule',
        'evil',
      );
      assert.deepEqual([...compiled(foreign).all()].map(text), [...compiled().all()].map(text));
      assert.deepEqual(
        [...compiled(issue(), foreign).all()].map(text),
        [...compiled(issue()).all()].map(text),
      );
    }
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
    'trafficPolicy: that of production/c is in force, which has the same host and is older; subsets: v1 is not in force: an older rule with the same host has it, or the Service has 128 subsets',
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

test('without a waypoint, a port of a ServiceEntry for which a rule asks for TLS is closed, as the connection would be plaintext', () => {
  const entry = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: bank, namespace: production, labels: { weft.dev/waypoint: none } }
spec:
  hosts: [api.bank.example]
  addresses: [192.0.2.1]
  ports: [{ number: 80, name: http, targetPort: 443 }, { number: 443, name: tls }]
  resolution: STATIC
  endpoints: [{ address: 192.0.2.9 }]
`;
  const origination = rule(`
host: api.bank.example
trafficPolicy: { portLevelSettings: [{ port: { number: 80 }, tls: { mode: SIMPLE } }] }`);
  const compiler = compiled(entry, origination);
  const found = services(compiler).filter(({ hostname }) => hostname.includes('bank.example'));
  assert.deepEqual(
    found.map(({ hostname, addresses, ports, waypoint }) => [
      hostname,
      addresses.length,
      ports.map(({ servicePort, targetPort }) => `${servicePort} ${targetPort}`).join(),
      waypoint !== undefined,
    ]),
    [
      ['api.bank.example', 1, '443 443', false],
      ['tls-closed.api.bank.example', 0, '80 80', true],
    ],
  );
  const [endpoint] = workloads(compiler).filter(({ name }) => name === 'bank');
  const view = new MeshState();
  view.apply({ services: services(compiler), workloads: workloads(compiler) });
  assert.ok(endpoint);
  assert.equal(waypointsOf(view, endpoint, 443).length, 0);
  const [reference] = waypointsOf(view, endpoint, 80);
  assert.ok(reference, 'nor can its endpoint be dialed there');
  assert.equal(resolveWaypoint(view, reference, 0), undefined);
  assert.match(
    statusOf(compiler, 'rule'),
    /ServiceEntry production\/bank has no waypoint.*tls: closed:.* port 80/,
  );
  const step = compiled(entry);
  const [object] = parseManifests('a.yaml', origination).objects;
  assert.ok(object);
  step.apply(new Map([[objectKey(object), object]]));
  assert.deepEqual([...step.all()].map(text).sort(), [...compiler.all()].map(text).sort());
  const mutual = compiled(entry, origination.replace('SIMPLE', 'ISTIO_MUTUAL'));
  assert.ok(!services(mutual).some(({ hostname }) => hostname.startsWith('tls-closed')));
});

for (const selector of ['', 'selector: {}, '])
  test(`endpoints of EndpointSlices have no labels, and WorkloadEntries have their own, of a Service with ${selector || 'no selector'}`, () => {
    const manual = `
apiVersion: v1
kind: Service
metadata: { name: manual, namespace: production }
spec: { ${selector}clusterIP: 10.96.0.3, ports: [{ name: http, port: 80 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: manual-1, namespace: production, labels: { kubernetes.io/service-name: manual } }
addressType: IPv4
endpoints: [{ addresses: [192.0.2.1] }]
ports: [{ name: http, port: 8080 }]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: vm, namespace: production }
spec: { address: 192.0.2.2, labels: { app: payment, version: v2 } }
`;
    const subsets = rule('host: manual\nsubsets: [{ name: all }, { name: v1, labels: { version: v1 } }]');
    const compiler = compiled(manual, subsets, issue());
    const of = (ip: string): readonly string[] =>
      workloads(compiler)
        .filter(({ addresses }) => addresses.map(String).includes(ip))
        .flatMap(({ services: found }) => [...found.keys()].map((key) => key.split('/')[1] ?? ''));
    const manualHost = 'manual.production.svc.cluster.local';
    assert.deepEqual(of('192.0.2.1'), [manualHost, `all.subset.${manualHost}`]);
    assert.deepEqual(of('192.0.2.2'), [host, `v2.subset.${host}`]);
    // The rules may come later, and go.
    const step = compiled(manual);
    const later = parseManifests('a.yaml', [subsets, issue()].join('---')).objects;
    step.apply(new Map(later.map((one) => [objectKey(one), one])));
    assert.deepEqual([...step.all()].map(text).sort(), [...compiler.all()].map(text).sort());
    step.apply(new Map(later.map((one) => [objectKey(one), undefined])));
    assert.deepEqual([...step.all()].map(text).sort(), [...compiled(manual).all()].map(text).sort());
  });
