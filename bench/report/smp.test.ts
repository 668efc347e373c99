import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import type { Sample } from '../result/result.js';
import { smpExport } from './smp.js';
import { made, shortOfSidecars, variants, type Made } from './synthetic.js';

interface Result {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly latencies_ms?: Readonly<Record<string, number>>;
  readonly actual_qps?: number;
  readonly test_id: string;
  readonly mesh_config_id: string;
  readonly env_id: string;
}
type Named = Readonly<Record<string, unknown>> & { readonly id: string };
interface Exported {
  readonly environment: Named & {
    readonly labels: Readonly<Record<string, string>>;
    readonly nodes?: readonly Readonly<Record<string, unknown>>[];
  };
  readonly meshes: readonly (Named & { readonly mtls_enabled?: boolean })[];
  readonly tests: readonly (Named & { readonly clients: readonly Readonly<Record<string, unknown>>[] })[];
  readonly results: readonly Result[];
}
const exported = (options: Made = {}): Exported => parse(smpExport(made(options))) as Exported;
const find = ({ results }: Exported, id: string): Result | undefined => results.find((one) => one.id === id);

/** As protos/service_mesh_performance.proto, service_mesh.proto and metadata.proto name them, of the messages that are used. */
const fields: Readonly<Record<string, readonly string[]>> = {
  EnvironmentConfig:
    'smp_version id labels kubernetes_version nodes individual_workloads traffic_metadata'.split(' '),
  Node: ['type', 'cores', 'mem_mb'],
  ServiceMeshConfig: (
    'smp_version id labels ingress_gateway sidecar mesh_telemetry mesh_policy mesh_control_plane mesh_policy_enabled ' +
    'mesh_telemetry_enabled mtls_enabled proxy_concurrency mesh_build proxy_build exp_group_uuid exp_uuid profile ' +
    'mesh_type application_metadata'
  ).split(' '),
  ServiceMesh: ['type', 'version', 'labels', 'annotations'],
  PerformanceTestConfig: ['smp_version', 'id', 'name', 'labels', 'clients', 'duration'],
  Client: (
    'internal load_generator protocol connections rps headers cookies body content_type endpoint_urls ' +
    'ssl_certificate additional_options'
  ).split(' '),
  PerformanceTestResult:
    'smp_version id labels start_time end_time latencies_ms actual_qps details_uri test_id mesh_config_id env_id'.split(
      ' ',
    ),
  Latency: ['min', 'average', 'p50', 'p90', 'p99', 'max'],
};
const isA = (message: string, value: unknown): void => {
  assert.ok(typeof value === 'object' && value !== null, message);
  for (const name of Object.keys(value)) assert.ok(fields[message]?.includes(name), `${message}.${name}`);
  const labels: unknown = Reflect.get(value, 'labels');
  for (const label of Object.values(labels ?? {})) assert.equal(typeof label, 'string');
};

test('has no field that the specification has not, and labels are text', () => {
  for (const options of [{}, { edit: shortOfSidecars }, { over: { interrupted: true } }]) {
    const { environment, meshes, tests, results } = exported(options);
    isA('EnvironmentConfig', environment);
    environment.nodes?.forEach((node) => isA('Node', node));
    for (const mesh of meshes) {
      isA('ServiceMeshConfig', mesh);
      isA('ServiceMesh', mesh['mesh_type']);
    }
    for (const one of tests) {
      isA('PerformanceTestConfig', one);
      one.clients.forEach((client) => isA('Client', client));
    }
    for (const one of results) {
      isA('PerformanceTestResult', one);
      if (one.latencies_ms) isA('Latency', one.latencies_ms);
    }
  }
});

test('one result for each variant, placement, workload and point with a rate, and none besides', () => {
  const result = made();
  const cells = new Set(
    result.samples
      .filter(({ perSecondWanted }) => perSecondWanted !== undefined)
      .map(({ placement, workload, point, variant }) => `${placement}/${workload}/${point}/${variant}`),
  );
  const ids = exported().results.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  assert.deepEqual(new Set(ids), cells);
  assert.ok(!ids.some((id) => id.includes('/bulk/')));
});

test('every id that a result names is there once', () => {
  const { environment, meshes, tests, results } = exported();
  const once = (all: readonly Named[], id: string): void =>
    assert.equal(all.filter((one) => one.id === id).length, 1, id);
  for (const one of results) {
    once(tests, one.test_id);
    once(meshes, one.mesh_config_id);
    once([environment], one.env_id);
  }
  assert.ok(meshes.every(({ id }) => results.some((one) => one.mesh_config_id === id)));
});

test('latencies are the medians over rounds, in milliseconds', () => {
  const found = find(exported(), 'same-node/http1/50 %/kernel');
  for (const metric of ['p50', 'p90', 'p99']) {
    const [figure] = made().figures.filter(
      (one) =>
        one.placement === 'same-node' &&
        one.workload === 'http1' &&
        one.point === '50 %' &&
        one.variant === 'kernel' &&
        one.metric === metric,
    );
    assert.equal(found?.latencies_ms?.[metric], Number(((figure?.values.median ?? 0) / 1000).toPrecision(6)));
  }
  assert.ok(!('max' in (found?.latencies_ms ?? {})));
  assert.match(found?.labels['p999_ms'] ?? '', /^[\d.]+$/);
  assert.equal(found?.labels['rounds'], '5');
});

test('a rate that was not reached has no latency in any round, but what came through', () => {
  const once = (samples: Sample[]): Sample[] =>
    shortOfSidecars(samples).map((sample, at) => (sample.round === 0 ? sample : (samples[at] ?? sample)));
  for (const [edit, rounds] of [
    [shortOfSidecars, 5],
    [once, 1],
  ] as const) {
    const found = find(exported({ edit }), 'same-node/http1/90 %/sidecars');
    assert.ok(found);
    assert.equal(found.latencies_ms, undefined);
    assert.equal(found.labels['p999_ms'], undefined);
    assert.equal(found.actual_qps, 14_000);
    assert.equal(
      found.labels['rate'],
      `not reached in ${rounds} of 5 rounds, so without latency: the connections were all busy`,
    );
    assert.ok(find(exported({ edit }), 'same-node/http1/90 %/none')?.latencies_ms);
  }
});

test('a rate that was reached is given where it was written down, and not made up', () => {
  assert.equal(find(exported(), 'same-node/http1/50 %/none')?.actual_qps, undefined);
  const written = exported({
    edit: (samples) => samples.map((one) => ({ ...one, values: { ...one.values, perSecond: 9_990.5 } })),
  });
  assert.equal(find(written, 'same-node/http1/50 %/none')?.actual_qps, 9990.5);
});

test('says the load: protocol, rate, connections and generator, as far as the result has it', () => {
  const workloads = made().workloads.map((one) => ({ ...one, about: `${one.about}, 16 connections` }));
  const { tests } = exported({ workloads, over: { versions: { fortio: '1.2.3' } } });
  const client = (id: string): Readonly<Record<string, unknown>> | undefined =>
    tests.find((one) => one.id === id)?.clients[0];
  assert.deepEqual(client('same-node/http1/50 %'), {
    internal: true,
    load_generator: 'fortio 1.2.3',
    protocol: 'PROTOCOL_HTTP',
    connections: 16,
    rps: 10_000,
  });
  assert.equal(client('cross-node/grpc/10 %')?.['protocol'], 'PROTOCOL_GRPC');
  assert.deepEqual(exported().tests[0]?.clients[0], {
    internal: true,
    protocol: 'PROTOCOL_HTTP',
    rps: 2000,
  });
});

test('names the machine, the programs and what is encrypted', () => {
  const own = [
    ...variants.slice(0, 3),
    { name: 'weft', title: 'Weft', kind: 'weft', about: '' } as const,
    { name: 'later', title: 'of a later version', kind: 'weft', about: '' } as const,
  ];
  const { environment, meshes } = exported({ variants: own });
  assert.deepEqual(environment.nodes, [{ type: 'a CPU', cores: 2, mem_mb: 7800 }]);
  assert.equal(environment.labels['kernel'], '6.18.0');
  assert.equal(environment.labels['version envoy'], '1.40.0');
  const tls = (id: string): boolean | undefined => meshes.find((one) => one.id === id)?.mtls_enabled;
  assert.equal(tls('none/same-node'), false);
  assert.equal(tls('sidecars/same-node'), true);
  assert.equal(tls('weft/same-node'), false);
  assert.equal(tls('weft/cross-node'), true);
  assert.equal(tls('later/cross-node'), undefined);
  const sidecars = meshes.find(({ id }) => id === 'sidecars/same-node');
  assert.equal(sidecars?.['proxy_build'], 'envoy 1.40.0');
  assert.deepEqual(sidecars['mesh_type'], { labels: { name: 'Envoy sidecars' } });
  const type = meshes.find(({ id }) => id === 'weft/same-node')?.['mesh_type'];
  assert.deepEqual(type, { version: '0.1.0', labels: { name: 'Weft' } });
});

test('of a cluster it claims no node that it does not know', () => {
  const { environment } = exported({
    over: { where: 'cluster', machine: { kubernetes: 'v1.34.0', nodes: 2, clientNode: 'a' } },
  });
  assert.equal(environment['kubernetes_version'], 'v1.34.0');
  assert.equal(environment.nodes, undefined);
  assert.equal(environment.labels['nodes'], '2');
  assert.equal(environment.labels['placed'], undefined);
});

test('what a result says stays text, whatever it is', () => {
  const title = 'a: "b"\n- c # d \u0007 {e: f}';
  const [none] = variants;
  assert.ok(none);
  const { meshes } = exported({ variants: [{ ...none, title }] });
  assert.deepEqual(meshes[0]?.['mesh_type'], { labels: { name: title } });
});

test('a result without samples is an empty list, not an error', () => {
  const { results, tests, meshes } = exported({ rounds: 0 });
  assert.deepEqual([results, tests, meshes], [[], [], []]);
});
