/**
 * The comparison in the user's cluster. It installs a release of bench/chart for each variant, runs Jobs one at a time, round by
 * round, and turns their reports into samples. In the end it removes everything that it installed, also after an error.
 */
import type { KubeConfig } from '@kubernetes/client-node';
import { errorText, WeftError } from '../../src/base/errors.js';
import { sleep, until } from '../../src/base/wait.js';
import { loadKubeConfig } from '../../src/kubernetes/config.js';
import { ApiError, requestJson } from '../../src/kubernetes/request.js';
import { orderOf } from '../harness/statistics.js';
import { figuresOf } from '../result/figures.js';
import { goalsOfRatios } from '../result/goals.js';
import { schemaName } from '../result/schema.js';
import type { BenchResult, Evidence, Sample } from '../result/result.js';
import { sidecarHandledTraffic, sidecarEvidence, weftEvidence } from './evidence.js';
import { installChart, uninstallChart } from './helm.js';
import { Jobs } from './jobs.js';
import { chooseNodes, find, itemsAt, lacking, servingIn, type NodeItem, type PodItem } from './objects.js';
import { ratesOf, type ClientPlan, type ClientReport } from './plan.js';
import {
  chartValues,
  chosenVariants,
  namespaceLabel,
  namespaceLabels,
  notOnClusters,
  type ClusterVariant,
  type Nodes,
} from './variants.js';
import { workloads } from './workloads.js';

export interface ClusterOptions {
  readonly rounds: number;
  /** How long each measurement takes. */
  readonly seconds: number;
  readonly variants?: readonly string[];
  readonly image: string;
  readonly clientNode?: string;
  readonly serverNode?: string;
  /** Rate of the open loops, for all variants and protocols. */
  readonly perSecond?: number;
  readonly onProgress: (text: string) => void;
  /** Called repeatedly. */
  readonly interrupted: () => boolean;
}

type Placement = 'same-node' | 'cross-node';
const placements: readonly Placement[] = ['same-node', 'cross-node'];
const installMsMax = 180_000;
/** How long pods may report a final problem: a registry may be unreachable for a moment. */
const hopelessMsMax = 20_000;
const lookMs = 300;
const removeSMax = 120;
const proofMsMax = 20_000;
/** Time of a Job besides its measurements: start of the pod, waiting for all servers, begin and end of each step. */
const jobSecondsBeside = 180;
const stepsMax = 20;

/** Placements whose server has a node, in order. */
const placementsOf = (nodes: Nodes, variant?: ClusterVariant): Placement[] =>
  placements.filter(
    (name) => name in nodes.servers && (variant === undefined || variant.placements.includes(name)),
  );

/** One variant per namespace: two variants may use the same pods. */
const perNamespace = (all: readonly ClusterVariant[]): ClusterVariant[] => [
  ...new Map([...all].reverse().map((one) => [one.namespace, one])).values(),
];

/**
 * Installs, measures, removes. If a signal ends the run, the result has the rounds that were complete. Throws WEFT_INTERRUPTED if none
 * was, WEFT_BENCH_CLUSTER_BUSY if namespaces of an earlier run exist, WEFT_BENCH_NODES, WEFT_BENCH_VARIANT, WEFT_BENCH_INSTALL,
 * ApiError.
 */
export async function runCluster(options: ClusterOptions): Promise<BenchResult> {
  const startedAt = new Date().toISOString();
  const wanted = chosenVariants(options.variants);
  const config = await loadKubeConfig();
  const items = await itemsAt<NodeItem>(config, '/api/v1/nodes');
  const nodes = chooseNodes(items, options);
  const missing: { what: string; why: string }[] = [];
  if (!('cross-node' in nodes.servers))
    missing.push({ what: 'cross-node', why: `only one node takes pods: ${nodes.client}` });
  const possible: ClusterVariant[] = [];
  for (const variant of wanted) {
    const why = await lacking(config, variant, nodes);
    if (why === undefined) possible.push(variant);
    else missing.push({ what: variant.name, why });
  }
  const run = new ClusterRun(config, options, nodes, possible, missing);
  try {
    await run.install();
    await run.try();
    await run.measure();
    await run.gather();
    return run.result(startedAt, items, wanted);
  } finally {
    options.onProgress('removing what was installed');
    await removeAll(config, run.made);
  }
}

/** Removes what an earlier run left: every namespace with the bench's label. Returns their names. */
export async function removeLeft(config: KubeConfig): Promise<string[]> {
  const left = (
    await itemsAt<{ metadata: { name: string } }>(
      config,
      `/api/v1/namespaces?labelSelector=${encodeURIComponent(namespaceLabel)}`,
    )
  ).map(({ metadata }) => metadata.name);
  await removeAll(config, left);
  return left;
}

/** Removes releases, then namespaces with everything that helm did not remove. Throws WEFT_BENCH_LEFT. */
async function removeAll(config: KubeConfig, namespaces: readonly string[]): Promise<void> {
  const failed: string[] = [];
  const remove = async (name: string): Promise<void> => {
    await uninstallChart(name, removeSMax).catch(() => undefined);
    const path = `/api/v1/namespaces/${name}`;
    await requestJson(config, 'DELETE', path, {}).catch((error: unknown) => {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
    });
    await until(`namespace ${name} is gone`, removeSMax * 1000, async () => {
      if ((await find(config, path)) === undefined) return true;
      await sleep(lookMs);
      return false;
    });
  };
  await Promise.all(
    namespaces.map((name) =>
      remove(name).catch((error: unknown) => void failed.push(`${name}: ${errorText(error)}`)),
    ),
  );
  if (failed.length > 0)
    throw new WeftError(
      'WEFT_BENCH_LEFT',
      `not all could be removed; npm run bench -- cluster --remove tries again: ${failed.join('; ')}`,
    );
}

class ClusterRun {
  /** Namespaces that this run created. */
  readonly made: string[] = [];
  readonly #samples: Sample[] = [];
  readonly #failures: BenchResult['failures'][number][] = [];
  readonly #reports: {
    readonly placement: Placement;
    readonly variant: string;
    readonly report: ClientReport;
  }[] = [];
  readonly #servers = new Map<string, { readonly service: string; readonly pod: PodItem }>();
  readonly #proxies = new Map<string, readonly string[]>();
  #evidence: Evidence[] = [];
  #versions: Readonly<Record<string, string>> = {};
  readonly #rates = new Map<Placement, ClientPlan['rates']>();
  #roundsDone = 0;
  #wasInterrupted = false;

  constructor(
    readonly config: KubeConfig,
    readonly options: ClusterOptions,
    readonly nodes: Nodes,
    /** Variants to measure. Variants that turn out not to work are removed from it. */
    private variants: readonly ClusterVariant[],
    readonly missing: { what: string; why: string }[],
  ) {}

  #check(): void {
    if (this.options.interrupted())
      throw new WeftError('WEFT_INTERRUPTED', 'interrupted before a round was done: nothing is written');
  }

  #drop(of: readonly ClusterVariant[], why: string): void {
    for (const { name } of of) this.missing.push({ what: name, why });
    this.variants = this.variants.filter((one) => !of.includes(one));
  }

  /** Checks all namespaces before it creates any, so that a conflict leaves nothing behind. */
  async install(): Promise<void> {
    const all = perNamespace(this.variants);
    for (const { namespace } of all) {
      if ((await find(this.config, `/api/v1/namespaces/${namespace}`)) !== undefined)
        throw new WeftError(
          'WEFT_BENCH_CLUSTER_BUSY',
          `namespace ${namespace} is there already: another run is under way, or was killed; npm run bench -- cluster --remove takes it away`,
        );
    }
    for (const variant of all) {
      this.#check();
      await requestJson(this.config, 'POST', '/api/v1/namespaces', {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name: variant.namespace, labels: namespaceLabels(variant) },
      });
      this.made.push(variant.namespace);
    }
    this.options.onProgress(`installing ${all.map(({ name }) => name).join(', ')}`);
    // All installations end before anything is removed.
    const ended = await Promise.allSettled(all.map((variant) => this.#installOne(variant)));
    this.#check();
    for (const [at, end] of ended.entries()) {
      if (end.status === 'rejected') throw end.reason;
      const { value: why } = end;
      const failed = all[at];
      if (why === undefined || !failed) continue;
      if (failed.kind === 'none')
        throw new WeftError(
          'WEFT_BENCH_INSTALL',
          `the servers did not start (is the image ${this.options.image} there?): ${why}`,
        );
      this.#drop(
        this.variants.filter(({ namespace }) => namespace === failed.namespace),
        `its servers did not start: ${why}`,
      );
    }
    for (const variant of this.variants) await this.#readAddresses(variant);
  }

  /** Undefined if the variant is installed; otherwise the reason. */
  async #installOne(variant: ClusterVariant): Promise<string | undefined> {
    const { namespace } = variant;
    try {
      await installChart(namespace, chartValues(variant, this.options.image, this.nodes));
      await this.#untilServing(namespace);
      if (variant.waypoint) await this.#untilProgrammed(namespace);
      return undefined;
    } catch (error) {
      const { code = '' } = error instanceof WeftError ? error : {};
      if (code === 'WEFT_HELM' || code === 'WEFT_INTERRUPTED') throw error;
      return errorText(error).slice(0, 1000);
    }
  }

  async #untilServing(namespace: string): Promise<void> {
    const end = Date.now() + installMsMax;
    for (let hopelessSinceMs: number | undefined; ; await sleep(lookMs)) {
      this.#check();
      const { serving, problem, isFinal } = await servingIn(this.config, namespace);
      if (serving) return;
      hopelessSinceMs = isFinal ? (hopelessSinceMs ?? Date.now()) : undefined;
      const gaveUp = hopelessSinceMs !== undefined && Date.now() - hopelessSinceMs > hopelessMsMax;
      if (gaveUp || Date.now() > end)
        throw new WeftError('WEFT_BENCH_INSTALL', problem || `not ready in ${installMsMax / 1000} s`);
    }
  }

  async #untilProgrammed(namespace: string): Promise<void> {
    const path = `/apis/gateway.networking.k8s.io/v1/namespaces/${namespace}/gateways/waypoint`;
    await until(`the waypoint of ${namespace} is programmed`, installMsMax, async () => {
      this.#check();
      const found = await find<{
        status?: { conditions?: readonly { readonly type: string; readonly status: string }[] };
      }>(this.config, path);
      if (found?.status?.conditions?.some(({ type, status }) => type === 'Programmed' && status === 'True'))
        return true;
      await sleep(lookMs);
      return false;
    });
  }

  /** Reads the addresses of a variant's servers and proxies. */
  async #readAddresses(variant: ClusterVariant): Promise<void> {
    const { namespace } = variant;
    const pods = `/api/v1/namespaces/${namespace}/pods?labelSelector=`;
    for (const placement of placementsOf(this.nodes)) {
      const key = `${namespace}/${placement}`;
      if (this.#servers.has(key)) continue;
      const name = `server-${placement}`;
      const service = (await requestJson(
        this.config,
        'GET',
        `/api/v1/namespaces/${namespace}/services/${name}`,
      )) as { spec: { clusterIP: string } };
      const [pod] = await itemsAt<PodItem>(this.config, `${pods}${encodeURIComponent(`app=${name}`)}`);
      if (!pod) throw new WeftError('WEFT_BENCH_INSTALL', `there is no pod of ${namespace}/${name}`);
      this.#servers.set(key, { service: service.spec.clusterIP, pod });
      if (variant.kind !== 'weft') continue;
      const waypoints = variant.waypoint
        ? await itemsAt<PodItem>(
            this.config,
            `${pods}${encodeURIComponent(`gateway.networking.k8s.io/gateway-name=waypoint`)}`,
          )
        : [];
      const agents = await itemsAt<PodItem>(this.config, '/api/v1/pods?labelSelector=app%3Dweft-agent');
      const on = [this.nodes.client, this.nodes.servers[placement]];
      this.#proxies.set(key, [
        ...agents.flatMap(({ spec, status }) =>
          on.includes(spec.nodeName) && status?.hostIP !== undefined ? [status.hostIP] : [],
        ),
        ...waypoints.flatMap(({ status }) => (status?.podIP === undefined ? [] : [status.podIP])),
      ]);
    }
  }

  async #job(
    jobs: Jobs,
    variant: ClusterVariant,
    placement: Placement,
    what: ClientPlan['what'],
    name: string,
  ): Promise<ClientReport> {
    const key = `${variant.namespace}/${placement}`;
    const { seconds } = this.options;
    const server = this.#servers.get(key);
    const plan: ClientPlan = {
      seconds,
      service: server?.service ?? '',
      serverPod: server?.pod.status?.podIP ?? '',
      proxies: this.#proxies.get(key) ?? [],
      sidecar: variant.sidecar,
      rates: this.#rates.get(placement) ?? {},
      what,
    };
    const deadlineS = Math.ceil(stepsMax * (Math.max(1, seconds) + 2)) + jobSecondsBeside;
    const report = await jobs.run(variant.namespace, name, plan, deadlineS);
    this.#reports.push({ placement, variant: variant.name, report });
    return report;
  }

  /** Checks that each variant's proxies handle its traffic, and measures the maximum load. A variant that fails is listed as missing. */
  async try(): Promise<void> {
    const jobs = await Jobs.create(this.config, this.options.interrupted);
    const trials: { readonly placement: Placement; readonly report: ClientReport }[] = [];
    for (const variant of this.variants.filter(({ kind }) => kind !== 'noise')) {
      try {
        const reports: typeof trials = [];
        for (const placement of placementsOf(this.nodes, variant)) {
          this.#check();
          this.options.onProgress(`trying ${placement} ${variant.name}`);
          const report = await this.#job(jobs, variant, placement, 'trial', `trial-${placement}`);
          const [failed] = report.failures;
          if (failed) throw new WeftError('WEFT_BENCH_JOB', `${failed.workload}: ${failed.why}`);
          reports.push({ placement, report });
        }
        await this.#proveTraffic(
          variant,
          reports.map(({ report }) => report),
        );
        trials.push(...reports);
        this.#versions = reports[0]?.report.versions ?? this.#versions;
      } catch (error) {
        if (error instanceof WeftError && error.code === 'WEFT_INTERRUPTED') this.#check();
        if (variant.kind === 'none') throw error;
        this.#drop([variant], errorText(error));
      }
    }
    for (const placement of placementsOf(this.nodes)) {
      const here = trials.filter((one) => one.placement === placement).map(({ report }) => report);
      this.#rates.set(placement, ratesOf(here, this.options.perSecond, this.options.seconds));
    }
  }

  async #proveTraffic(variant: ClusterVariant, reports: readonly ClientReport[]): Promise<void> {
    const fail = (): never => {
      throw new WeftError(
        'WEFT_BENCH_NOT_CARRIED',
        `${variant.name} carried nothing of its pods' connections: its counters stayed at zero`,
      );
    };
    if (variant.sidecar && !reports.every(sidecarHandledTraffic)) fail();
    if (variant.kind !== 'weft') return;
    // Agents and waypoints count with a delay.
    const end = Date.now() + proofMsMax;
    while ((await weftEvidence(this.config, variant)).length === 0) {
      this.#check();
      if (Date.now() > end) fail();
      await sleep(500);
    }
  }

  /** Measures all rounds, or those before a signal. */
  async measure(): Promise<void> {
    const jobs = await Jobs.create(this.config, this.options.interrupted);
    for (let round = 0; round < this.options.rounds; round++) {
      const done = await this.#round(jobs, round);
      if (!done) {
        if (this.#roundsDone === 0) this.#check();
        this.#wasInterrupted = true;
        return;
      }
      this.#samples.push(...done.samples);
      this.#failures.push(...done.failures);
      this.#roundsDone++;
    }
  }

  /** Undefined if a signal ended the round: a partial round cannot be compared. */
  async #round(
    jobs: Jobs,
    round: number,
  ): Promise<{ samples: Sample[]; failures: BenchResult['failures'][number][] } | undefined> {
    const samples: Sample[] = [];
    const failures: BenchResult['failures'][number][] = [];
    for (const placement of placementsOf(this.nodes)) {
      const here = this.variants.filter((one) => one.placements.includes(placement));
      for (const variant of orderOf(here, round)) {
        if (this.options.interrupted()) return undefined;
        this.options.onProgress(`round ${round + 1} of ${this.options.rounds}: ${placement} ${variant.name}`);
        const at = { round, placement, variant: variant.name };
        try {
          const name = `round-${round}-${placement}-${variant.kind}`;
          const report = await this.#job(jobs, variant, placement, 'all', name);
          samples.push(...report.samples.map((sample) => ({ ...at, ...sample })));
          failures.push(...report.failures.map((failure) => ({ ...at, ...failure })));
        } catch (error) {
          if (error instanceof WeftError && error.code === 'WEFT_INTERRUPTED') return undefined;
          failures.push({ ...at, workload: 'all', point: '', why: errorText(error) });
        }
      }
    }
    return { samples, failures };
  }

  /** Reads the counters of the proxies. Call before the removal. */
  async gather(): Promise<void> {
    for (const variant of this.variants) {
      if (variant.sidecar)
        this.#evidence.push(
          ...sidecarEvidence(
            variant.name,
            this.#reports.filter((one) => one.variant === variant.name),
          ),
        );
      if (variant.kind === 'weft')
        this.#evidence.push(...(await weftEvidence(this.config, variant).catch(() => [])));
    }
  }

  async result(
    startedAt: string,
    items: readonly NodeItem[],
    wanted: readonly ClusterVariant[],
  ): Promise<BenchResult> {
    const { options, nodes } = this;
    const kubernetes = (await requestJson(this.config, 'GET', '/version')) as { gitVersion?: string };
    const describe = (name: string): string => {
      const { capacity = {}, nodeInfo = {} } =
        items.find(({ metadata }) => metadata.name === name)?.status ?? {};
      return [
        `${capacity['cpu'] ?? '?'} CPUs`,
        nodeInfo.architecture,
        nodeInfo.osImage,
        `Linux ${nodeInfo.kernelVersion ?? '?'}`,
        nodeInfo.containerRuntimeVersion,
      ]
        .filter(Boolean)
        .join(', ');
    };
    const server = nodes.servers['cross-node'];
    const here = {
      variants: wanted
        .filter((one) => this.variants.includes(one))
        .map(({ name, title, kind, about }) => ({ name, title, kind, about })),
      samples: this.#samples,
    };
    return {
      schema: schemaName,
      where: 'cluster',
      startedAt,
      endedAt: new Date().toISOString(),
      interrupted: this.#wasInterrupted,
      settings: {
        rounds: options.rounds,
        seconds: options.seconds,
        image: options.image,
        called: "the Service's address",
        ...(options.perSecond === undefined ? {} : { perSecond: options.perSecond }),
      },
      machine: {
        kubernetes: kubernetes.gitVersion ?? '',
        nodes: items.length,
        clientNode: nodes.client,
        [`node ${nodes.client}`]: describe(nodes.client),
        ...(server === undefined ? {} : { serverNode: server, [`node ${server}`]: describe(server) }),
      },
      versions: { node: process.version, ...this.#versions },
      ...here,
      workloads,
      figures: figuresOf(here),
      missing: [
        ...this.missing,
        ...notOnClusters.map((what) => ({ what, why: 'the chart has no such pods: npm run bench has it' })),
        {
          what: 'the load generators by themselves',
          why: 'a pod shares its node with others, so there is no idle machine: npm run bench has it',
        },
        {
          what: 'CPU of the kernel beside the programs',
          why: "on a node that others' pods share it cannot be told whose it is",
        },
      ],
      failures: this.#failures,
      evidence: this.#evidence,
      generators: [],
      goals: goalsOfRatios(this.#samples),
    };
  }
}
