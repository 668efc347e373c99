/**
 * The chart's rules and dashboards, and the queries of Kiali, by a real Prometheus that scrapes a real mesh: each query parses and returns
 * series.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { parse } from 'yaml';
import { dashboards } from '../../daemonset/monitoring/dashboards.js';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { run, sh } from '../../src/cli/run.js';
import { startWaypoint, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';
import { agentProcess, type Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';
import { graphQueries, metricsOfKiali, requestLabels, tcpLabels } from '../support/kiali.js';
import type { ReceivedLog } from '../support/otlp-messages.js';
import { receivedIn } from '../support/otlp-receiver.js';
import { Prometheus } from '../support/prometheus.js';

interface RuleGroup {
  readonly name: string;
  readonly rules: readonly { readonly record?: string; readonly alert?: string; readonly expr: string }[];
}

const files = join(projectRoot, 'daemonset', 'chart', 'files');
const rulesText = readFileSync(join(files, 'prometheus-rules.yaml'), 'utf8');
const { groups } = parse(rulesText) as { readonly groups: readonly RuleGroup[] };
const token = 'a-token-of-prometheus';
const mesh = new DemoMesh('prometheus');
const waypoint: WaypointReplica = { namespace: 'shop', name: 'waypoint', node: 'node-a', workers: 2 };
const echo = 'http://10.96.0.20';
const tokenFlags = ['--metrics-token', join(mesh.manifests, 'token')];
const otlp = (signal: string): string => `http://10.88.0.254:4318/v1/${signal}`;
/** What the collector has written. */
const collected = (): string => join(mesh.state, 'otlp.txt');
// Of all programs of the testbed.
process.env['OTEL_METRIC_EXPORT_INTERVAL'] = '1000';
let testbed: Testbed;
let prometheus: Prometheus;
let isStopping = false;
let traffic: Promise<void>;

const curl = (client: string, ...args: string[]) =>
  run(`weft-${client}`, 'curl', ['-sS', '-m', '5', '--noproxy', '*', '-o', '/dev/null', ...args], 60_000);

/** Of each kind that a panel or an alert shows: successes, failures, slow and retried requests, refusals, and connections of all paths. */
async function makeTraffic(): Promise<void> {
  for (let i = 0; !isStopping; i++) {
    await curl('web', `${echo}/[1-20]`, `${echo}/status/503`, `${echo}/flaky/${i}/1`, `${echo}/slow/900`);
    await curl('web', 'http://10.96.0.10:6379/', 'http://10.96.0.10:9000/');
    await curl('intruder', `${echo}/`, 'http://10.96.0.10:6379/');
    await curl('web', 'http://10.96.0.12:6379/');
  }
}

const accessPolicy = (name: string, spec: string): string =>
  `apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: ${name}, namespace: shop }\nspec: ${spec}\n`;

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  // The rules of the documentation, and one for all other requests.
  mesh.write(
    'retry.yaml',
    `${readFileSync(join(projectRoot, 'docs/examples/waypoint/retry.yaml'), 'utf8')}    - { name: others, backendRefs: [{ name: echo, port: 80 }] }\n`,
  );
  mesh.write(
    'intruder.yaml',
    accessPolicy(
      'no-intruder',
      '{ action: DENY, rules: [{ from: [{ serviceAccounts: [shop/intruder] }] }] }',
    ),
  );
  mesh.write(
    'audited.yaml',
    accessPolicy(
      'no-web',
      '{ action: DENY, mode: audit, rules: [{ from: [{ serviceAccounts: [shop/web] }] }] }',
    ),
  );
  mesh.write(
    'limit.yaml',
    `apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: limit, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: echo }]
  rateLimits: [{ name: all, requests: 1, per: 1m, dryRun: true }]
`,
  );
  testbed = mesh.create({
    agentFlags: [
      ...tokenFlags,
      '--otlp-metrics-endpoint',
      otlp('metrics'),
      '--otlp-logs-endpoint',
      otlp('logs'),
    ],
    controlFlags: [
      '--metrics-listen',
      '0.0.0.0:15014',
      ...tokenFlags,
      '--otlp-metrics-endpoint',
      otlp('metrics'),
    ],
  });
  mesh.write('token', token);
  const receiver = join(projectRoot, 'dist', 'test', 'support', 'otlp-receiver.js');
  testbed.start('collector', 'weft-underlay', process.execPath, [receiver, '4318', collected()]);
  const server = join(projectRoot, 'dist', 'src', 'cli', 'demo', 'echo.js');
  for (const version of ['v1', 'v2'])
    testbed.start(`echo-${version}`, `weft-echo-${version}`, process.execPath, [server, version, '8080']);
  for (const port of ['6379', '9000'])
    testbed.start(`api-${port}`, 'weft-api', process.execPath, [server, 'api', port]);
  testbed.start('cache', 'weft-cache', process.execPath, [server, 'cache', '6379']);
  testbed.start('cache-2', 'weft-cache-2', process.execPath, [server, 'cache-2', '6379']);
  await testbed.up();
  await startWaypoint(testbed, {
    ...waypoint,
    flags: [
      ...tokenFlags,
      ...['--otlp-endpoint', otlp('traces'), '--trace-sampling', '1', '--access-log-mode', 'all'],
      ...['--otlp-metrics-endpoint', otlp('metrics'), '--otlp-logs-endpoint', otlp('logs')],
    ],
  });
  await listening('weft-api', 9000);
  await until('the echo Service', 30_000, async () => (await curl('web', '-f', `${echo}/`)).code === 0);
  prometheus = await Prometheus.start(testbed, {
    netns: 'weft-node-b',
    token,
    jobs: [
      {
        job: 'weft-agent',
        targets: ['10.88.0.1:15020', '10.88.0.2:15020'],
        labels: { app: 'ztunnel' },
      },
      { job: 'weft-control', targets: ['10.88.0.254:15014'] },
      { job: 'weft-waypoint', targets: ['10.244.1.200:15020'] },
    ],
    // The test does not wait for the alerts' times.
    rules: rulesText.replaceAll(/interval: 30s/g, 'interval: 1s').replaceAll(/^ +for: .*\n/gm, ''),
  });
  traffic = makeTraffic();
});
after(async () => {
  isStopping = true;
  await traffic;
  await mesh.remove();
});

test('Prometheus scrapes all programs with one configuration', async () => {
  await until('all targets are up', 60_000, async () => {
    const up = await prometheus.query('up == 1');
    return up.length === 4;
  });
});

test('each recording rule returns series', async () => {
  for (const { record } of groups.flatMap(({ rules }) => rules))
    if (record !== undefined)
      assert.ok(
        (await prometheus.returns(record)).every(({ value }) => value >= 0),
        record,
      );
});

test('shares of failed and slow requests are those of the requests that were sent', async () => {
  const of = async (record: string): Promise<number> => {
    const [one] = await prometheus.returns(
      `${record}{destination_service="echo.shop.svc.cluster.local", destination_service_namespace="shop"} > 0`,
    );
    return one?.value ?? 0;
  };
  // Of 24 requests of a round one has status 503, one 504 by the timeout, and none takes a second. The intruder's request has 403.
  const errors = await of('weft:service_errors:ratio_5m');
  assert.ok(errors > 0.02 && errors < 0.3, String(errors));
  assert.equal((await prometheus.returns('weft:service_slow_requests:ratio_5m'))[0]?.value, 0);
  assert.ok((await of('weft:service_latency_milliseconds:p99')) >= 250);
});

/** The queries that stay empty in a mesh in which nothing fails. */
const emptyAllowed: ReadonlySet<string> = new Set([
  'Features that kernels lack',
  'Limits reached',
  'Calls refused',
]);

const variables: Readonly<Record<string, string>> = {
  namespace: 'shop',
  workload: '.*',
  service: '.*',
  waypoint: '.*',
  __rate_interval: '1m',
};
const filled = (text: string): string =>
  text.replaceAll(/\$(\w+)/g, (_all, name: string) => variables[name] ?? assert.fail(name));

for (const dashboard of dashboards) {
  test(`each query of the dashboard ${dashboard.title} returns series`, async () => {
    for (const { panels } of dashboard.rows)
      for (const { title, queries } of panels)
        for (const { expr } of queries)
          if (emptyAllowed.has(title)) await prometheus.query(filled(expr));
          else await prometheus.returns(filled(expr));
    for (const { name, query } of dashboard.variables) {
      const [, metric = '', label = ''] = /^label_values\((.*), (\w+)\)$/.exec(filled(query)) ?? [];
      const values = await prometheus.api<readonly string[]>(`label/${label}/values`, { 'match[]': metric });
      assert.ok(values.length > 0, `${name}: ${query}`);
    }
  });
}

test('Kiali finds all names and labels that it reads, in metrics of agents and waypoints', async () => {
  for (const [name, { reporter, labels }] of Object.entries(metricsOfKiali)) {
    const [one] = await prometheus.returns(`${name}{reporter=~"${reporter}", source_workload="web"}`);
    assert.deepEqual(
      labels.filter((label) => one?.metric[label] === undefined || one.metric[label] === ''),
      labels.filter((label) => label === 'grpc_response_status'),
      name,
    );
  }
  assert.ok(requestLabels.length > tcpLabels.length);
});

test("Kiali's queries of a namespace's graph return its edges, which Kiali does not skip", async () => {
  for (const query of graphQueries('shop')) {
    const found = await prometheus.returns(query);
    const edges = found.filter(({ metric: of }) => {
      const isKnown = (label: string): boolean => of[label] !== 'unknown' && of[label] !== undefined;
      // The conditions by which Kiali skips a series: IsBadSourceTelemetry and IsBadDestTelemetry.
      if (isKnown('source_workload_namespace') && !isKnown('source_cluster')) return false;
      if (isKnown('destination_service_namespace') && !isKnown('destination_cluster')) return false;
      return isKnown('source_workload') && isKnown('destination_workload');
    });
    assert.ok(edges.length > 0, `${query}\n${JSON.stringify(found)}`);
  }
});

test("exemplars of the latency histogram are traces of requests, which the collector's log records name too", async () => {
  type Found = readonly {
    readonly exemplars: readonly {
      readonly labels: { readonly trace_id: string; readonly span_id: string };
    }[];
  }[];
  const found = await until('exemplars', 60_000, async () => {
    const now = Date.now() / 1000;
    const data = await prometheus.api<Found>('query_exemplars', {
      query: 'istio_request_duration_milliseconds_bucket',
      start: String(now - 300),
      end: String(now),
    });
    return data.length > 0 && data;
  });
  const traces = new Set(found.flatMap(({ exemplars }) => exemplars.map(({ labels }) => labels.trace_id)));
  for (const id of traces) assert.match(id, /^[0-9a-f]{32}$/);
  await until('log records of these traces', 60_000, () =>
    receivedIn(collected()).logs.some(({ traceId }) => traceId !== undefined && traces.has(traceId)),
  );
});

test('a collector gets metrics of all programs by OTLP, as Prometheus reads them', async () => {
  const sent = await until('metrics of all programs', 60_000, () => {
    const { metrics } = receivedIn(collected());
    const services = new Set(metrics.map(({ resource }) => String(resource['service.name'])));
    const hasRequests = metrics.some(({ name }) => name === 'istio_request_duration_milliseconds');
    const names = ['waypoint', 'weft-agent', 'weft-control'];
    return names.every((name) => services.has(name)) && hasRequests && metrics;
  });
  const [requests] = sent.filter(({ name }) => name === 'istio_request_duration_milliseconds');
  assert.equal(requests?.kind, 'histogram');
  assert.equal(requests.points[0]?.attributes['reporter'], 'waypoint');
  const nodes = sent.filter(({ name }) => name === 'istio_tcp_connections_opened_total');
  assert.deepEqual([...new Set(nodes.map(({ resource }) => resource['service.instance.id']))].sort(), [
    'node-a',
    'node-b',
  ]);
  // Gauges that are set when metrics are read are so without a Prometheus too.
  const [pods] = sent.filter(({ name, points }) => name === 'weft_pods' && points.length > 0).slice(-1);
  assert.ok(pods?.points.some(({ attributes, value = 0 }) => attributes['state'] === 'held' && value > 0));
});

test('a collector gets connections of agents and requests of waypoints as log records', async () => {
  const is = (event: string, attribute: string, value: string) => (log: ReceivedLog) =>
    log.event === event && log.attributes[attribute] === value;
  const kinds = [
    is('weft.connection', 'weft.path', 'refused'),
    // Within a node, and by the agent: a policy in audit mode keeps connections from the kernel path.
    is('weft.connection', 'weft.path', 'local'),
    is('weft.connection', 'weft.path', 'inbound-hbone'),
    is('weft.request', 'url.path', '/status/503'),
    is('weft.request', 'error.type', 'WEFT_DENIED'),
  ];
  await until('log records', 60_000, () => {
    const { logs } = receivedIn(collected());
    return kinds.every((kind) => logs.some(kind));
  }).catch(() => {
    const { logs } = receivedIn(collected());
    const found = logs.map(({ event, body, attributes }) => `${event} ${body} ${attributes['weft.path']}`);
    assert.deepEqual(
      kinds.map((kind) => logs.some(kind)),
      kinds.map(() => true),
      [...new Set(found)].slice(0, 40).join('\n'),
    );
  });
  const lost = await prometheus.query('weft_telemetry_lost_total');
  assert.deepEqual(lost, []);
});

const firing = (alert: string): string => `ALERTS{alertname="${alert}", alertstate="firing"}`;

test('alerts fire after real failures: errors, a policy in audit mode is not yet one, an agent that ends', async () => {
  await prometheus.returns(firing('WeftServiceErrorsFastBurn'));
  assert.deepEqual(await prometheus.query(firing('WeftPoliciesAuditedForLong')), []);
  assert.deepEqual(await prometheus.query(firing('WeftAgentDown')), []);
  assert.deepEqual(await prometheus.query(firing('WeftControlPlaneDisconnected')), []);
  await testbed.stop('control');
  await prometheus.returns(firing('WeftControlPlaneDown'));
  assert.ok((await prometheus.returns(firing('WeftControlPlaneDisconnected'))).length >= 1);
  isStopping = true;
  await traffic;
  await testbed.stop(agentProcess('node-a'), 'SIGKILL');
  const [down] = await prometheus.returns(firing('WeftAgentDown'));
  assert.equal(down?.metric['instance'], '10.88.0.1:15020');
});

test('each alert fires in its case of test/observe/alerts.yaml, and none in a mesh in good order', () => {
  const cases = join(projectRoot, 'test', 'observe', 'alerts.yaml');
  sh('promtool', ['test', 'rules', cases]);
  const alerts = groups.flatMap(({ rules }) => rules.flatMap(({ alert }) => alert ?? []));
  const tested = (parse(readFileSync(cases, 'utf8')) as { tests: { name: string }[] }).tests;
  assert.deepEqual(
    alerts.filter((alert) => !tested.some(({ name }) => name === alert)),
    [],
  );
});
