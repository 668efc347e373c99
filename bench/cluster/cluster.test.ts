import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ajv } from 'ajv';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { distRoot } from '../../src/cli/run.js';
import { serverArgs, wholeRate } from '../load/fortio.js';
import { provingStats } from '../peers/sidecar.js';
import { countersOf, sidecarHandledTraffic, sidecarEvidence } from './evidence.js';
import { jobOf } from './jobs.js';
import { chooseNodes, problemOf, type NodeItem } from './objects.js';
import {
  ports,
  ratesOf,
  requestConnections,
  warmSeconds,
  type ClientPlan,
  type ClientReport,
} from './plan.js';
import { readReport } from './report.js';
import { processSecondsOf } from './spent.js';
import { chartValues, chosenVariants, namespaceLabels, notOnClusters, variants } from './variants.js';

const chart = join(distRoot, '..', 'bench', 'chart');
const read = (name: string): string => readFileSync(join(chart, name), 'utf8');
const nodes = { client: 'a', servers: { 'same-node': 'a', 'cross-node': 'b' } };
const node = (name: string, further: Partial<NodeItem> = {}): NodeItem => ({
  metadata: { name },
  status: { conditions: [{ type: 'Ready', status: 'True' }] },
  ...further,
});
const report = (further: Partial<ClientReport> = {}): ClientReport => ({
  samples: [],
  failures: [],
  counters: {},
  versions: {},
  ...further,
});
const capacity = (perSecond: number): ClientReport =>
  report({ samples: [{ workload: 'http1-max', point: '', values: { perSecond } }] });

test('client and servers go to the first two nodes that take pods', () => {
  const taint = { key: 'node-role', effect: 'NoSchedule' };
  const items = [node('c'), node('a', { spec: { taints: [taint] } }), node('b')];
  assert.deepEqual(chooseNodes(items, {}), {
    client: 'b',
    servers: { 'same-node': 'b', 'cross-node': 'c' },
  });
  assert.equal(chooseNodes(items, { serverNode: 'b' }).client, 'c');
});
test('with one node nothing is across nodes', () => {
  assert.deepEqual(chooseNodes([node('a'), node('b', { spec: { unschedulable: true } })], {}).servers, {
    'same-node': 'a',
  });
});
test('a node that is not ready, or both ends asked for on one, is refused', () => {
  const items = [node('a'), node('b', { status: {} })];
  assert.throws(() => chooseNodes(items, { clientNode: 'b' }), {
    code: 'WEFT_BENCH_NODES',
    message: /node b.*these do: a/,
  });
  assert.throws(() => chooseNodes([node('a'), node('b')], { clientNode: 'a', serverNode: 'a' }), {
    code: 'WEFT_BENCH_NODES',
  });
  assert.throws(() => chooseNodes([], {}), { code: 'WEFT_BENCH_NODES' });
});

test('no mesh is measured twice whatever is asked for, and a name that is none is refused', () => {
  assert.deepEqual(
    chosenVariants(['weft']).map(({ name }) => name),
    ['none', 'none-again', 'weft'],
  );
  assert.equal(chosenVariants(undefined).length, variants.length);
  assert.throws(() => chosenVariants(['ztunnel']), { code: 'WEFT_BENCH_VARIANT' });
  assert.throws(() => chosenVariants(['wefft']), {
    code: 'WEFT_BENCH_VARIANT',
    message: /wefft.*weft-waypoint/,
  });
});
test('a variant that no release of the chart is, is none of a cluster, and the result says so', () => {
  for (const name of notOnClusters)
    assert.throws(() => chosenVariants([name]), { code: 'WEFT_BENCH_VARIANT' });
  assert.ok(variants.every(({ kind }) => kind !== 'other'));
});
test('rates are shares of the slowest, and every connection has as many requests', () => {
  const rates = ratesOf([capacity(2000), capacity(1000)], undefined, 0.5).http1 ?? [];
  assert.deepEqual(
    rates.map(({ point }) => point),
    ['30 %', '70 %'],
  );
  for (const [at, wanted] of [300, 700].entries())
    assert.ok(Math.abs((rates[at]?.perSecond ?? 0) / wanted - 1) < 0.1, JSON.stringify(rates));
  for (let asked = 32; asked < 5000; asked += 7) {
    const rate = wholeRate(asked, requestConnections, 0.5 + warmSeconds);
    const requests = Math.floor(rate * (0.5 + warmSeconds));
    assert.equal(requests % requestConnections, 0, `${asked}: ${rate}`);
  }
});
test('a rate that is asked for is that of all protocols, and one that no trial told is not run', () => {
  assert.deepEqual(Object.keys(ratesOf([], 500, 2)), ['http1', 'http2', 'grpc']);
  assert.deepEqual(ratesOf([], undefined, 2), {});
});

test('the last line of a log is the report; anything else is an error with its words', () => {
  const said = report({ samples: [{ workload: 'churn', point: '', values: { perSecond: 3 } }] });
  assert.deepEqual(readReport(`a line\n${JSON.stringify(said)}\n`), said);
  assert.throws(() => readReport('no route to host\n'), {
    code: 'WEFT_BENCH_JOB',
    message: /no route to host/,
  });
  assert.throws(() => readReport(''), { code: 'WEFT_BENCH_JOB', message: /it said nothing/ });
  assert.throws(() => readReport('{"samples":[{"workload":1}]}'), { code: 'WEFT_BENCH_JOB' });
});
test('a Job has the plan alone in its environment, and goes with the CronJob that it is made of', () => {
  const plan: ClientPlan = {
    seconds: 1,
    service: '10.96.0.9',
    serverPod: '10.244.1.2',
    proxies: [],
    sidecar: false,
    rates: {},
    what: 'trial',
  };
  const from = {
    metadata: { name: 'client', uid: 'u1' },
    spec: {
      jobTemplate: {
        metadata: { labels: { app: 'x' } },
        spec: { backoffLimit: 0, template: { spec: { containers: [{ env: [{ name: 'BENCH_PLAN' }] }] } } },
      },
    },
  };
  const job = JSON.parse(JSON.stringify(jobOf(from, 'round-0', plan, 60))) as {
    metadata: { ownerReferences: object[]; labels: object };
    spec: {
      activeDeadlineSeconds: number;
      backoffLimit: number;
      template: { spec: { containers: { env: object[] }[] } };
    };
  };
  assert.deepEqual(job.spec.template.spec.containers[0]?.env, [
    { name: 'BENCH_PLAN', value: JSON.stringify(plan) },
  ]);
  assert.equal(job.spec.activeDeadlineSeconds, 60);
  assert.equal(job.spec.backoffLimit, 0);
  assert.deepEqual(job.metadata.ownerReferences, [
    { apiVersion: 'batch/v1', kind: 'CronJob', name: 'client', uid: 'u1' },
  ]);
});
test('of a pod that does not run its containers, its image or the scheduler say why', () => {
  const pod = (status: object): string => problemOf({ metadata: { name: 'p' }, spec: {}, status });
  assert.equal(pod({ containerStatuses: [{ name: 'c', state: { terminated: { exitCode: 0 } } }] }), '');
  assert.match(
    pod({
      containerStatuses: [{ name: 'c', state: { waiting: { reason: 'ErrImagePull', message: 'none' } } }],
    }),
    /p: c: ErrImagePull none/,
  );
  assert.match(
    pod({ conditions: [{ type: 'PodScheduled', status: 'False', message: 'Insufficient cpu' }] }),
    /Insufficient cpu/,
  );
});

test("a namespace's connections are summed by how they were secured, and no other's are", () => {
  const line = (namespace: string, policy: string, value: number): string =>
    `istio_tcp_connections_opened_total{reporter="source",destination_workload_namespace="${namespace}",connection_security_policy="${policy}"} ${value}`;
  const text = [
    line('weft-bench-weft', 'mutual_tls', 3),
    line('weft-bench-weft', 'mutual_tls', 4),
    line('weft-bench-weft', 'same_node', 5),
    line('weft-bench-weft-waypoint', 'mutual_tls', 100),
  ].join('\n');
  assert.deepEqual(
    [...countersOf(text, 'weft-bench-weft')],
    [
      ['istio_tcp_connections_opened_total, mutual_tls', 7],
      ['istio_tcp_connections_opened_total, same_node', 5],
    ],
  );
});
test("a sidecar has carried it when the server's Envoy counted everything that shows it", () => {
  const all = Object.fromEntries(provingStats.map((name) => [`server ${name}`, 1]));
  assert.ok(sidecarHandledTraffic(report({ counters: all })));
  const [first = ''] = provingStats;
  assert.ok(!sidecarHandledTraffic(report({ counters: { ...all, [`server ${first}`]: 0 } })));
  assert.ok(!sidecarHandledTraffic(report()));
});
test("counters of a client's Envoy begin anew with each Job, those of a server's go on", () => {
  const of = (client: number, server: number): { placement: string; report: ClientReport } => ({
    placement: 'same-node',
    report: report({ counters: { 'client x': client, 'server x': server } }),
  });
  assert.deepEqual(
    sidecarEvidence('sidecar', [of(2, 2), of(3, 5)]).map(({ value }) => value),
    [5, 5],
  );
});
test('CPU time of a proxy is read of its metrics, and missing where they do not say it', () => {
  assert.equal(processSecondsOf('# HELP x\nweft_process_cpu_seconds_total 1.5\n'), 1.5);
  assert.equal(processSecondsOf('process_cpu_seconds_total 1.5\n'), undefined);
});

test('values of every variant pass the schema of the chart', () => {
  const validate = new Ajv({ strict: false }).compile(JSON.parse(read('values.schema.json')) as object);
  for (const variant of variants) {
    const values = chartValues(variant, 'weft-bench:0.1.0', nodes);
    assert.ok(validate(values), `${variant.name}: ${JSON.stringify(validate.errors)}`);
  }
  const [defaults] = parseAllDocuments(read('values.yaml'));
  const sidecar = { ...(defaults?.toJS() as object), nodes, sidecar: { enabled: true } };
  assert.ok(!validate(sidecar), 'a sidecar without configuration or certificates');
});
test('pods that need no capability are in namespaces that allow none', () => {
  const levelOf = (name: string): string | undefined =>
    namespaceLabels(chosenVariants([name]).find((one) => one.name === name) as (typeof variants)[number])[
      'pod-security.kubernetes.io/enforce'
    ];
  assert.equal(levelOf('sidecar'), 'privileged');
  for (const name of ['none', 'weft', 'weft-waypoint']) assert.equal(levelOf(name), 'restricted');
});
test("two runs' keys differ, and no key is in Envoy's configuration", () => {
  const [variant] = chosenVariants(['sidecar']).filter(({ sidecar }) => sidecar);
  const of = (): { config: { client: string }; certificates: { client: Record<string, string> } } =>
    (
      chartValues(variant as (typeof variants)[number], 'x', nodes) as {
        sidecar: ReturnType<typeof of>;
      }
    ).sidecar;
  const [one, other] = [of(), of()];
  assert.notEqual(one.certificates.client['key.pem'], other.certificates.client['key.pem']);
  assert.doesNotMatch(one.config.client, /PRIVATE KEY/);
  assert.match(one.config.client, /\/etc\/bench\/certificates\/key\.pem/);
});
test("the chart's servers are those of the comparison on one machine, at the ports that are measured", () => {
  const text = read('templates/server.yaml');
  const args = serverArgs();
  for (const [flag, value] of [
    ['-http-port', String(ports.http1)],
    ['-grpc-port', String(ports.grpc)],
    ['-tcp-port', 'disabled'],
    ['-udp-port', 'disabled'],
    ['-redirect-port', 'disabled'],
  ] as const) {
    assert.equal(args[args.indexOf(flag) + 1], value);
    assert.match(text, new RegExp(`${flag}=${value}`));
  }
  for (const port of [ports.echo, ports.bulk, ports.http1, ports.http2, ports.grpc])
    assert.match(text, new RegExp(`port: ${port}, targetPort:`));
  assert.match(text, new RegExp(`containerPort: ${ports.meter} `));
});
test('what a Job runs needs no package: the image has none', () => {
  const found = new Set<string>();
  const visit = (file: string): void => {
    if (found.has(file)) return;
    found.add(file);
    for (const [, from = ''] of readFileSync(file, 'utf8').matchAll(
      /^(?:import|export|}).* from '([^']+)';$/gm,
    )) {
      if (from.startsWith('.')) visit(join(file, '..', from));
      else assert.match(from, /^node:/, `${file} imports ${from}`);
    }
  };
  for (const name of ['client', 'meter']) visit(join(distRoot, 'bench', 'cluster', `${name}.js`));
  assert.ok(found.size > 5);
});
