/** Exports a result in the Service Mesh Performance format. Pure. */
import { Document } from 'yaml';
import type { BenchResult, Placement, Variant, Workload } from '../result/result.js';
import { finderOf, placementsOf, pointsOf, shortsOf, type Cell, type Point } from './view.js';

const smpVersion = 'v0.6.1';
/** Percentiles of the specification. It has no field for the others. */
const percentiles = ['p50', 'p90', 'p99'] as const;

type Fields = Readonly<Record<string, unknown>>;
/** `map<string, string>` of the specification. */
type Labels = Readonly<Record<string, string>>;

interface Place {
  readonly placement: Placement;
  readonly workload: Workload;
  readonly point: Point & { readonly perSecond: number };
}

const id = (...parts: readonly string[]): string => parts.filter((one) => one !== '').join('/');
const testId = ({ placement, workload, point }: Place): string => id(placement, workload.name, point.point);
const meshId = (variant: string, placement: Placement): string => id(variant, placement);
const environmentId = 'environment';

const milliseconds = (us: number): number => Number((us / 1000).toPrecision(6));
/** Settings and machine of a result, as labels. */
const labelsOf = (of: Readonly<Record<string, string | number | boolean>>): Labels =>
  Object.fromEntries(Object.entries(of).map(([name, value]) => [name, String(value)]));
const numberIn = (of: BenchResult['machine'], ...names: readonly string[]): number | undefined =>
  names.map((name) => of[name]).find((value) => typeof value === 'number');

function protocolOf({ title, about }: Workload): string | undefined {
  if (/\bgRPC\b/.test(title)) return 'PROTOCOL_GRPC';
  return /\bHTTP\//.test(`${title} ${about}`) ? 'PROTOCOL_HTTP' : undefined;
}

/** Points of workloads with a rate. */
const placesOf = (result: BenchResult): Place[] =>
  placementsOf(result).flatMap((placement) =>
    result.workloads.flatMap((workload) =>
      pointsOf(result, placement, workload.name).flatMap((point) =>
        point.perSecond === undefined
          ? []
          : [{ placement, workload, point: { ...point, perSecond: point.perSecond } }],
      ),
    ),
  );

function testOf(result: BenchResult, place: Place): Fields {
  const { placement, workload, point } = place;
  const { seconds, target } = result.settings;
  const [, connections] = /\b(\d+) connections/.exec(workload.about) ?? [];
  const protocol = protocolOf(workload);
  const fortio = result.versions['fortio'];
  return {
    smp_version: smpVersion,
    id: testId(place),
    name: id(workload.title, point.point),
    labels: { placement, workload: workload.name, point: point.point, about: workload.about },
    clients: [
      {
        internal: true,
        ...(fortio === undefined ? {} : { load_generator: `fortio ${fortio}` }),
        ...(protocol === undefined ? {} : { protocol }),
        ...(connections === undefined ? {} : { connections: Number(connections) }),
        rps: Math.round(point.perSecond),
        ...(typeof target === 'string' && target.startsWith('http://') ? { endpoint_urls: [target] } : {}),
      },
    ],
    ...(seconds === undefined ? {} : { duration: `${String(seconds)}s` }),
  };
}

const alwaysEncrypted: ReadonlySet<string> = new Set([
  'ztunnel',
  'weft-typescript',
  'weft-encrypted',
  'weft-encrypted-typescript',
  'weft-waypoint',
]);

/** Whether the traffic is encrypted. Undefined for a variant that this version does not know. */
function encrypted({ name, kind }: Variant, placement: Placement): boolean | undefined {
  if (kind === 'none' || kind === 'noise' || name === 'weft-spliced') return false;
  if (kind === 'sidecar' || alwaysEncrypted.has(name)) return true;
  if (name !== 'weft' || placement === 'own') return undefined;
  return placement === 'cross-node';
}

function meshOf({ versions }: BenchResult, variant: Variant, placement: Placement): Fields {
  const { name, title, kind, about } = variant;
  const proxy = { sidecar: 'envoy', other: name, weft: 'weft', none: '', noise: '' }[kind];
  const version = versions[proxy];
  const tls = encrypted(variant, placement);
  return {
    smp_version: smpVersion,
    id: meshId(name, placement),
    labels: { variant: name, kind, title, about, placement },
    ...(tls === undefined ? {} : { mtls_enabled: tls }),
    ...(kind === 'weft' && version !== undefined ? { mesh_build: version } : {}),
    ...(proxy !== '' && version !== undefined ? { proxy_build: `${proxy} ${version}` } : {}),
    // Proxies without their mesh have no mesh version.
    mesh_type: { ...(kind === 'weft' && version !== undefined ? { version } : {}), labels: { name: title } },
  };
}

function resultOf(result: BenchResult, place: Place, variant: Variant): Fields | undefined {
  const { placement, workload, point } = place;
  const samples = result.samples.filter(
    (one) =>
      one.placement === placement &&
      one.workload === workload.name &&
      one.point === point.point &&
      one.variant === variant.name,
  );
  if (samples.length === 0) return undefined;
  const short = shortsOf({ samples })[0];
  const find = finderOf(result.figures);
  const cell: Omit<Cell, 'metric'> = {
    placement,
    workload: workload.name,
    point: point.point,
    variant: variant.name,
  };
  const median = (metric: string): number | undefined => find({ ...cell, metric })?.values.median;
  const latency = (metric: string): number | undefined => {
    const us = short ? undefined : median(metric);
    return us === undefined ? undefined : milliseconds(us);
  };
  const latencies = percentiles.flatMap((metric) => {
    const value = latency(metric);
    return value === undefined ? [] : [[metric, value] as const];
  });
  const p999 = latency('p999');
  const reached = short ? short.perSecond : median('perSecond');
  return {
    smp_version: smpVersion,
    id: id(testId(place), variant.name),
    labels: {
      ...{ placement, variant: variant.name, workload: workload.name, point: point.point },
      rounds: String(samples.length),
      values: 'medians over rounds',
      rate: short
        ? `not reached in ${short.rounds} of ${short.roundsAll} rounds, so without latency: ${short.why}`
        : 'reached',
      ...(p999 === undefined ? {} : { p999_ms: String(p999) }),
      ...(result.interrupted ? { interrupted: 'true' } : {}),
    },
    start_time: result.startedAt,
    end_time: result.endedAt,
    ...(latencies.length > 0 ? { latencies_ms: Object.fromEntries(latencies) } : {}),
    ...(reached === undefined ? {} : { actual_qps: Number(reached.toPrecision(6)) }),
    test_id: testId(place),
    mesh_config_id: meshId(variant.name, placement),
    env_id: environmentId,
  };
}

function environmentOf({ machine, versions, where, settings }: BenchResult): Fields {
  const cores = numberIn(machine, 'cpus');
  const memory = numberIn(machine, 'memoryMegabytes', 'megabytes');
  const kubernetes = machine['kubernetes'];
  const node = {
    ...(machine['cpu'] === undefined ? {} : { type: String(machine['cpu']) }),
    ...(cores === undefined ? {} : { cores }),
    ...(memory === undefined ? {} : { mem_mb: Math.round(memory) }),
  };
  return {
    smp_version: smpVersion,
    id: environmentId,
    labels: {
      where,
      // Without a cluster all nodes share one machine, the only entry of `nodes`.
      ...(where === 'cluster' ? {} : { placed: 'nodes and pods are network namespaces of one machine' }),
      ...labelsOf(machine),
      ...Object.fromEntries(Object.entries(versions).map(([name, value]) => [`version ${name}`, value])),
      ...Object.fromEntries(Object.entries(labelsOf(settings)).map(([name, of]) => [`setting ${name}`, of])),
    },
    ...(typeof kubernetes === 'string' && kubernetes !== '' ? { kubernetes_version: kubernetes } : {}),
    ...(Object.keys(node).length > 0 ? { nodes: [node] } : {}),
  };
}

const head = ` Service Mesh Performance ${smpVersion}. The specification has messages, but none that holds several:
 environment is an EnvironmentConfig, meshes are ServiceMeshConfigs, tests PerformanceTestConfigs and results
 PerformanceTestResults, which name the others by id. Only what was measured at a fixed rate is here.`;

/**
 * YAML in the form of protos/service_mesh_performance.proto of github.com/service-mesh-performance/service-mesh-performance,
 * v0.6.1, with its names of fields and enumeration values. One entry for each variant, placement, workload and point with a rate:
 * medians over rounds, latencies in milliseconds. p99.9 is a label, since it has no field.
 *
 * Left out, because a result does not have it: minimum, average and maximum latency; `actual_qps` of a reached rate that was not
 * recorded; times of a single point (the entry has those of the run); the type in `mesh_type`, which has no value for Weft, for no
 * mesh, or for proxies without their mesh; counts, CPU and memory of sidecars and control planes (a result has them per request and
 * point, the specification per mesh, in thousandths of a CPU); cores and memory of a cluster's nodes. A rate that was not reached
 * has no latencies.
 */
export function smpExport(result: BenchResult): string {
  const places = placesOf(result);
  const results = places.flatMap((place) =>
    result.variants.flatMap((variant): Fields[] => {
      const found = resultOf(result, place, variant);
      return found ? [found] : [];
    }),
  );
  const meshes = placementsOf(result).flatMap((placement) =>
    result.variants
      .filter(({ name }) => results.some((one) => one['mesh_config_id'] === meshId(name, placement)))
      .map((variant) => meshOf(result, variant, placement)),
  );
  const document = new Document(
    {
      environment: environmentOf(result),
      meshes,
      tests: places.map((place) => testOf(result, place)),
      results,
    },
    { aliasDuplicateObjects: false },
  );
  document.commentBefore = head;
  return document.toString({ lineWidth: 0 });
}
